# Input that is broken or meant to harm costs the matcher no more than its size: time is bounded against that of ordinary rows in the same
# run, memory by what the session's process ever held, and the answer holds no nonsense.  A cancel is answered soon and leaves nothing.
# HOSTILE_ROWS (default 200000) is the number of equal titles on both sides.
use strict;
use warnings;
use FindBin qw($RealBin);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use ProductSync::Cluster;

my $many = $ENV{HOSTILE_ROWS} // 200000;
my $ordinary = 5000;
my $node = ProductSync::Cluster->start_new('main');
$node->safe_psql('postgres', slurp_file("$RealBin/../lib/match/figures.sql"));

# Ordinary rows, for comparison.
sub ordinary_sql
{
	my ($incoming, $existing, $rows) = @_;
	my $select = "SELECT i::text AS id, (4006381000000 + i)::text AS gtin, 'brand' || i % 50 AS brand, 'AB-' || i AS mpn, "
		. "concat_ws(' ', 'brand' || i % 50, 'AB-' || i, (ARRAY['steel','oak','paper','wireless','travel'])[1 + i % 5], "
		. "(ARRAY['lamp','desk','mouse','case','drill','kettle','binder'])[1 + i % 7], i % 64 || ' gb') AS title, '12.50' AS price FROM generate_series(1, $rows) i";
	return "CREATE TABLE $existing AS $select; CREATE TABLE $incoming AS $select;";
}
$node->safe_psql('postgres', ordinary_sql('ordinary_incoming', 'ordinary_existing', $ordinary));

# Matches the tables that $sql makes, in a session that has matched ordinary ones before.  Limits: times (so many times what ordinary rows
# of that number, and reading the tables, take), megabytes (that the session grows by), at_most and at_least (rows).
sub bounded
{
	my ($name, $sql, %limit) = @_;
	$limit{times} //= 20;
	$limit{megabytes} //= 64;
	$node->safe_psql('postgres', "DROP TABLE IF EXISTS incoming, existing; $sql; ANALYZE incoming, existing");
	my ($status, $out, $error) = $node->psql('postgres', <<"END");
CREATE TEMP TABLE result (incoming_id text, existing_id text, confidence double precision, method text, evidence jsonb);
SELECT figures.seconds('INSERT INTO result SELECT * FROM sync_match(''ordinary_incoming'', ''ordinary_existing'')') AS ordinary \\gset
SELECT count(*) FROM result; TRUNCATE result;
SELECT figures.seconds('SELECT sum(octet_length(r::text)) FROM (SELECT i::text AS r FROM incoming i UNION ALL SELECT e::text FROM existing e) t') AS read \\gset
SELECT figures.peak_memory() AS before \\gset
SELECT figures.seconds('INSERT INTO result SELECT * FROM sync_match(''incoming'', ''existing'')') AS hostile \\gset
SELECT figures.peak_memory() AS after \\gset
SELECT :ordinary, :read, :hostile, :after - :before, (SELECT count(*) FROM incoming), (SELECT count(*) FROM existing),
	count(*), count(*) FILTER (WHERE confidence IS NULL OR NOT confidence BETWEEN 0 AND 1 OR evidence IS NULL OR method IS NULL) FROM result;
END
	is($error, '', "$name: no error") or return;
	my ($ordinary_found, $line) = split /\n/, $out;
	my ($normal, $read, $took, $grown, $incoming, $existing, $rows, $nonsense) = split /\|/, $line;
	my $size = $incoming + $existing > 2 * $ordinary ? ($incoming + $existing) / 2 / $ordinary : 1;
	my $times = $took / ($normal * $size + $read);

	is($ordinary_found, $ordinary, "$name: ordinary rows are found before");
	cmp_ok($times, '<=', $limit{times}, sprintf '%s: %.1f times what ordinary rows take', $name, $times);
	cmp_ok($grown, '<=', $limit{megabytes}, sprintf '%s: %.0f MB more memory', $name, $grown);
	cmp_ok($rows, '<=', $limit{at_most} // $incoming, "$name: $rows rows");
	cmp_ok($rows, '>=', $limit{at_least}, "$name: at least $limit{at_least} rows") if defined $limit{at_least};
	is($nonsense, 0, "$name: no nonsense");
	return;
}

# The same rows on both sides.
sub both { return "CREATE TABLE existing AS $_[0]; CREATE TABLE incoming AS SELECT * FROM existing" }

bounded('titles of 10 MB', both(<<'END'), at_least => 8);
SELECT i::text AS id, (SELECT string_agg(md5(i || '-' || j), ' ') FROM generate_series(1, 320000) j) AS title FROM generate_series(1, 8) i
END
bounded('titles and all else of 10 MB', both(<<'END'));
SELECT i::text AS id, t AS title, t AS brand, t AS mpn, t AS sku, t AS gtin, t AS price, t AS description FROM generate_series(1, 4) i, repeat('9', 10000000) t
END
bounded('titles of 100,000 words', both(<<'END'), at_least => 40);
SELECT i::text AS id, (SELECT string_agg('w' || (i * j) % 9973, ' ') FROM generate_series(1, 100000) j) AS title FROM generate_series(1, 40) i
END
bounded('no word at all', both("SELECT i::text AS id, (ARRAY['', ' ', '!!! --- ...', '()[]{}', E'\\t\\n', '™®©'])[1 + i % 6] AS title FROM generate_series(1, 5000) i"), at_most => 0);
bounded('one word of 100,000 letters', both("SELECT i::text AS id, repeat('x', 100000) || i AS title FROM generate_series(1, 200) i"));
bounded("$many equal titles on both sides", both("SELECT i::text AS id, 'Black steel desk lamp 40 W'::text AS title FROM generate_series(1, $many) i"), megabytes => 300 * $many / 200000);
bounded('equal titles and codes', both("SELECT i::text AS id, '4006381333931'::text AS gtin, 'Stabilo'::text AS brand, '88/40'::text AS mpn, 'S1'::text AS sku, 'Stabilo point 88'::text AS title FROM generate_series(1, 20000) i"));
bounded('NULLs everywhere', both('SELECT i::text AS id, NULL::text AS sku, NULL::text AS gtin, NULL::text AS brand, NULL::text AS mpn, NULL::text AS title, NULL::text AS description, NULL::text AS price FROM generate_series(1, 5000) i'), at_most => 0);
bounded('NULL ids', both("SELECT NULL::text AS id, 'desk lamp ' || i AS title FROM generate_series(1, 5000) i"), at_most => 0);
bounded('emoji, right to left, combining marks', both(<<'END'));
SELECT i::text AS id, (ARRAY['👨‍👩‍👧‍👦🏳️‍🌈', 'مصباح مكتب', 'מנורת שולחן', E'e\u0301'  || repeat(E'\u0301', 400), E'\u202E\u200F\u200Babc', 'デスクランプ', 'Ｆｕｌｌ', 'ß', 'İı', E'\uFEFF'])[1 + i % 10] || ' ' || i AS title
FROM generate_series(1, 5000) i
END
bounded('codes and prices that are none', both(<<'END'));
SELECT i::text AS id, (ARRAY['0000000000000', '99999999999999', '٠١٢٣٤٥٦٧٨٩٠١٢', '1e309', '1.23456E+99', '-1', 'NaN', repeat('7', 200), '', ' ', '4006381333932', '2.0E+13', E'\u2460'])[1 + i % 13] AS gtin,
	(ARRAY['1e308', 'NaN', '-5', 'Infinity', '1e999', '$1,2.3.4', '', '0', '0.000000000000000000001', repeat('9', 400), '1e-400', '12,50 €'])[1 + i % 12] AS price,
	(ARRAY['', '-', '#', repeat('A', 5000), '0'])[1 + i % 5] AS mpn, 'desk lamp ' || i % 100 AS title FROM generate_series(1, 5000) i
END
bounded('one GTIN for all', both("SELECT i::text AS id, '4006381333931'::text AS gtin, 'pen ' || i AS title FROM generate_series(1, 20000) i"));
bounded('identical ids', both("SELECT '1'::text AS id, 'desk lamp ' || i AS title FROM generate_series(1, 5000) i"));
bounded('ids of 1 MB', both("SELECT repeat(md5(i::text), 32768) AS id, 'desk lamp L-' || i AS title FROM generate_series(1, 40) i"), at_least => 30, megabytes => 400);
my $lamp = "SELECT 1::text AS id, 'desk lamp'::text AS title";
bounded('nothing existing', "CREATE TABLE existing AS $lamp LIMIT 0; CREATE TABLE incoming AS $lamp", at_most => 0);
bounded('nothing incoming', "CREATE TABLE existing AS $lamp; CREATE TABLE incoming AS $lamp LIMIT 0", at_most => 0);
bounded('nothing on either side', "CREATE TABLE existing AS $lamp LIMIT 0; CREATE TABLE incoming AS $lamp LIMIT 0", at_most => 0);

# What a person types.
$node->safe_psql('postgres', "INSERT INTO sync.product (id, handle, title, vendor) SELECT i, 'p' || i, title, brand FROM ordinary_existing, LATERAL (SELECT id::bigint AS i) n;
	INSERT INTO sync.variant (product_id, sku, mpn) SELECT i, 'V' || i, mpn FROM ordinary_existing, LATERAL (SELECT id::bigint AS i) n; SELECT sync.catalogue_changed()");
for my $item ("jsonb_build_object('title', repeat('lamp desk ', 1000000))", "jsonb_build_object('title', repeat('👨‍👩‍👧‍👦', 100000))", "'{}'", "jsonb_build_object('title', '')",
	"jsonb_build_object('price', 'NaN')", "jsonb_build_object('gtin', repeat('9', 100000), 'mpn', repeat('x', 100000), 'brand', repeat('y', 100000), 'title', null)")
{
	my ($status, $out, $error) = $node->psql('postgres', "SELECT count(*) <= 5, coalesce(bool_and(confidence BETWEEN 0 AND 1), true) FROM sync_match_one($item)");
	ok($error =~ /^psql:[^\n]*ERROR:  \S/ || $out eq 't|t', "sync_match_one($item) is answered or refused") or diag "$out $error";
}

# A cancel, wherever it comes.
$node->safe_psql('postgres', 'DROP TABLE incoming, existing;' . ordinary_sql('incoming', 'existing', $many));
sub leftovers
{
	my $dir = $node->data_dir;
	return grep { -e } glob("$dir/base/pgsql_tmp/* $dir/product_sync/*/*.tmp $dir/product_sync/*.tmp");
}
# After a change of the table, when its index is to be built first, and when it is there already.
my $change = q(UPDATE existing SET price = price || '0' WHERE id = '1');
my $join = q(SELECT figures.seconds('SELECT count(*) FROM sync_match(''incoming'', ''existing'')'));
my %whole;
$whole{$_} = $node->value($join) for qw(cold warm);
my $answered = 0;
for (map { my $share = $_; (['cold', $share], ['warm', $share]) } 0.1, 0.3, 0.5, 0.7, 0.9)
{
	my ($index, $share) = @$_;
	my $whole = $whole{$index};
	$node->safe_psql('postgres', $change) if $index eq 'cold';
	$node->value($join) if $index eq 'warm';
	my $timeout = int(1000 * $whole * $share) + 1;
	my ($status, $out, $error) = $node->psql('postgres', <<"END", on_error_stop => 0);
SELECT count(*) FROM sync_match('ordinary_incoming', 'ordinary_existing');
SELECT figures.peak_memory();
SELECT clock_timestamp() AS began \\gset
SET statement_timeout = $timeout;
SELECT count(*) > 0 AS finished FROM sync_match('incoming', 'existing');
RESET statement_timeout;
SELECT extract(epoch FROM clock_timestamp() - :'began'::timestamptz);
SELECT count(*) FROM sync_match('ordinary_incoming', 'ordinary_existing');
SELECT substring(pg_read_file('/proc/self/status') FROM 'VmRSS:\\s*([0-9]+)')::double precision / 1024;
END
	my @line = split /\n/, $out;
	if (grep { $_ eq 't' } @line)
	{
		note "$index: a cancel at $share of the time came too late";
		next;
	}
	like($error, qr/canceling statement due to statement timeout/, "$index: a cancel at $share of the time is answered");
	$answered++;
	my ($before, $peak, $took, $after, $held) = @line;
	my $late = $took - $timeout / 1000;
	cmp_ok($late, '<=', $whole > 3 ? $whole / 3 : 1.5, sprintf 'within %.2f s', $late);
	is($after, $ordinary, 'the session goes on');
	cmp_ok($held - $peak, '<=', 128, sprintf 'and holds %.0f MB more than before', $held - $peak);
	is(join(' ', leftovers()), '', 'no file is left');
}
cmp_ok($answered, '>=', 4, 'most cancels came in time');

# Memory that runs out: backends that start from now on get little more than they need to start.
SKIP:
{
	my ($pid) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
	my $limit = 1024 * (24 * 1024 + $node->value("SELECT substring(pg_read_file('/proc/self/status') FROM 'VmPeak:\\s*([0-9]+)')::bigint"));
	skip 'there is no prlimit here', 1 if system("prlimit --pid $pid --as=$limit: >/dev/null 2>&1");
	my ($status, $out, $error) = $node->psql('postgres', "SELECT count(*) FROM sync_match('incoming', 'existing');\nSELECT 'goes on';\nSELECT count(*) FROM sync_match('ordinary_incoming', 'ordinary_existing')", on_error_stop => 0);
	like($error, qr/out of memory/, 'memory that runs out is an error');
	like($out, qr/^goes on$/m, 'and the session goes on');
	system("prlimit --pid $pid --as=unlimited: >/dev/null 2>&1");
	is($node->value("SELECT count(*) FROM sync_match('ordinary_incoming', 'ordinary_existing')"), $ordinary, 'as does the server');
}

# Databases of other encodings, and of none.
foreach (['LATIN1', q(U&'\\00DCbel\\00E9 G\\00FCrtel'), 'ubele gurtel'], ['EUC_JP', q(U&'\\65E5\\672C\\8A9E\\96FB\\6C17'), '日本語電気'], ['SQL_ASCII', q('ubele gurtel'), 'Ubele Gurtel'])
{
	my ($encoding, $incoming, $existing) = @$_;
	my $database = lc $encoding;
	$node->safe_psql('postgres', "CREATE DATABASE $database ENCODING $encoding TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
	my ($status, $out, $error) = $node->psql($database, <<"END");
SET client_min_messages = warning;
CREATE EXTENSION product_sync;
SET client_encoding = @{[$encoding eq 'SQL_ASCII' ? 'SQL_ASCII' : 'UTF8']};
CREATE TABLE incoming AS SELECT 1 AS id, $incoming AS title;
CREATE TABLE existing AS SELECT i AS id, CASE i WHEN 7 THEN '$existing' ELSE 'other thing ' || i END AS title FROM generate_series(1, 50) i;
SELECT existing_id FROM sync_match('incoming', 'existing') WHERE confidence > 0.5;
END
	is("$out$error", '7', "titles are read in a database of $encoding");
}

is($node->log_lines(qr/PANIC|TRAP|terminated by signal|was terminated/), 0, 'nothing crashed');
$node->stop;
done_testing();
