-- sync_csv_parse(): what spreadsheets write is read, what is broken is named, and nothing else is lost.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS product_sync;
RESET client_min_messages;

CREATE FUNCTION pg_temp.parse(data text, options jsonb DEFAULT '{}') RETURNS TABLE (line bigint, fields text, error text)
LANGUAGE sql AS $$ SELECT p.line, array_to_json(p.fields)::text, p.error FROM sync_csv_parse(convert_to(data, 'UTF8'), options) p $$;

-- What is read
SELECT * FROM pg_temp.parse(E'a,b\r\n"c, d","e ""f"" g"\nh,\n\n,""\ri,14" Monitor\n"two\nlines",j\n\\.\nk');
SELECT * FROM pg_temp.parse(E'\uFEFF"a",b');
SELECT * FROM pg_temp.parse('');
SELECT * FROM pg_temp.parse(E'a;b|c\n', '{"delimiter": ";"}');
SELECT * FROM pg_temp.parse(E'''a,b'',"c\n', '{"quote": "''"}');
SELECT * FROM pg_temp.parse(E'"a,b\n', '{"quote": ""}');
SELECT * FROM pg_temp.parse(E'a,b\nc,d\ne\nf,g,h\ni,j\n', '{"header": true}');

-- What is broken, each by itself
SELECT * FROM pg_temp.parse(E'a,b\n"c" d,e\nf,g\n"h,i\nj,k\n', '{"header": true}');
SELECT * FROM pg_temp.parse(E'"a","b"\n"c","d\n"e","f"\n"g","h"\n', '{"header": true}');
SELECT line, fields, error FROM sync_csv_parse('a,b\012c\000,d\012e,f\012'::bytea);
SELECT line, length(fields[1]), error FROM sync_csv_parse(convert_to(E'a\n' || repeat('x', 30) || E'\n' || repeat('y', 9), 'UTF8'), '{"max_field": 20}');
SELECT line, length(fields[1]), error FROM sync_csv_parse(convert_to(E'a\n' || repeat('x', 90) || E'\n' || repeat('y', 9), 'UTF8'), '{"max_record": 80}');

-- Encodings
SELECT line, fields, error FROM sync_csv_parse('a,b\012caf\303\251,1\012caf\303(,2\012\302\256,3'::bytea);	-- damaged UTF-8 stays UTF-8
SELECT line, fields, error FROM sync_csv_parse('a,b\012caf\351,1\01214\224 Monitor\231,2'::bytea);		-- Windows-1252
SELECT line, fields, error FROM sync_csv_parse('a,b\012caf\351,1\012x\201y,2'::bytea, '{"encoding": "windows-1252"}');	-- undefined there
SELECT line, fields, error FROM sync_csv_parse('a,b\012caf\351,1'::bytea, '{"encoding": "utf-8"}');
SELECT line, fields, error FROM sync_csv_parse('\357\273\277a,b\012caf\351,1'::bytea);					-- its mark says UTF-8
SELECT line, fields, error FROM sync_csv_parse('\355\240\200\012\300\257\012\364\220\200\200\012\303\251'::bytea);

-- Options
SELECT * FROM sync_csv_parse('a', '{"separator": ";"}');
SELECT * FROM sync_csv_parse('a', '{"delimiter": ""}');
SELECT * FROM sync_csv_parse('a', '{"delimiter": ";;"}');
SELECT * FROM sync_csv_parse('a', '{"delimiter": "\""}');
SELECT * FROM sync_csv_parse('a', '{"delimiter": "\n"}');
SELECT * FROM sync_csv_parse('a', '{"delimiter": 1}');
SELECT * FROM sync_csv_parse('a', '{"quote": "é"}');
SELECT * FROM sync_csv_parse('a', '{"header": "yes"}');
SELECT * FROM sync_csv_parse('a', '{"encoding": "latin1"}');
SELECT * FROM sync_csv_parse('a', '{"max_field": -1}');
SELECT * FROM sync_csv_parse('a', '{"max_field": 1e300}');
SELECT * FROM sync_csv_parse('a', '{"max_record": [1]}');
SELECT * FROM sync_csv_parse('a', '[]');
SELECT * FROM sync_csv_parse(NULL);

-- Many broken records among many good ones
SELECT count(*) AS records, count(error) AS bad, count(*) FILTER (WHERE cardinality(fields) = 3) AS good
FROM sync_csv_parse(convert_to((SELECT 'a,b,c' || E'\n' || string_agg(CASE WHEN n % 50 = 0 THEN format('%s,"open,%s', n, n)
	WHEN n % 50 = 25 THEN format('"%s" x,"y",z', n) ELSE format('%s,"q ""%s""","two%slines"', n, n, chr(10)) END, E'\n' ORDER BY n)
	FROM generate_series(1, 20000) n), 'UTF8'), '{"header": true}');
