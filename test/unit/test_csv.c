/*
 * test_csv.c
 *	  The CSV parser on a table of odd cases, each fed in pieces of 1, 3, 7, 64 and 65536 bytes.  Prints TAP.
 *
 * Expected output, a record after another: its line, then its fields in [] with | between, or ! and the error with the line of the error.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "feed/csv.h"

typedef struct Case
{
	const char *name;
	uint32_t	expected;		/* fields, 0: unknown */
	const char *input;
	size_t		len;
	const char *output;
} Case;

#define CASE(name, expected, input, output) {name, expected, input, sizeof(input) - 1, output}

static const Case cases[] = {
	CASE("plain", 0, "a,b\nc,d\n", "1[a|b]2[c|d]"),
	CASE("no line end at the end", 0, "a,b\nc,d", "1[a|b]2[c|d]"),
	CASE("nothing", 0, "", ""),
	CASE("byte order mark", 0, "\xef\xbb\xbf\"a\",b\n", "1[a|b]"),
	CASE("only a byte order mark", 0, "\xef\xbb\xbf", ""),
	CASE("half a byte order mark is data", 0, "\xef\xbb", "1[\xef\xbb]"),
	CASE("byte order mark later is data", 0, "a\n\xef\xbb\xbf" "b\n", "1[a]2[\xef\xbb\xbf" "b]"),
	CASE("LF, CR and CRLF mixed", 0, "a\nb\rc\r\nd\n\re\r", "1[a]2[b]3[c]4[d]6[e]"),
	CASE("empty lines", 0, "\n\r\n\na,b\r\n\r\n\r\nc,d\n\n", "4[a|b]7[c|d]"),
	CASE("empty fields", 0, ",\n,,\n\"\"\n\"\",\"\"\n", "1[|]2[||]3[]4[|]"),
	CASE("quoted", 0, "\"a,b\",\"c\"\"d\",\"\"\"\"\n", "1[a,b|c\"d|\"]"),
	CASE("line ends in quotes", 0, "\"a\nb\r\nc\rd\",e\nf,g\n", "1[a\nb\r\nc\rd|e]5[f|g]"),
	CASE("inch mark", 0, "14\" Monitor,x\"y\"z,a\"\"b\n", "1[14\" Monitor|x\"y\"z|a\"\"b]"),
	CASE("quote behind a blank is data", 0, "a, \"b\",c\n", "1[a| \"b\"|c]"),
	CASE("blanks behind the closing quote", 0, "\"a\" ,\"b\"\t\n\"c\"  ", "1[a|b]2[c]"),
	CASE("lone backslash dot", 0, "a\n\\.\nb\n", "1[a]2[\\.]3[b]"),
	CASE("backslash before quote", 0, "\"a\\\",b\n", "1[a\\|b]"),
	CASE("NUL", 0, "a,b\nc\0c,d\ne,f\n", "1[a|b]2!NUL byte@23[e|f]"),
	CASE("NUL in quotes", 0, "\"a\n\0\",b\ne,f\n", "1!NUL byte@13[e|f]"),
	CASE("ragged rows are the caller's", 3, "a,b,c\nd,e\nf,g,h,i\n", "1[a|b|c]2[d|e]3[f|g|h|i]"),
	CASE("text after closing quote", 2, "a,b\n\"14\" Monitor,x\nc,d\n",
		 "1[a|b]2!text after closing quote@23[c|d]"),
	CASE("text after closing quote, then a field of two lines", 3, "a,b,c\n\"14\" Monitor,\"x\ny\",z\nc,d,e\n",
		 "1[a|b|c]2!text after closing quote@24[c|d|e]"),
	CASE("inner quotes that seem to open another field", 2, "a,b\n\"say \"hello\",\",x\nc,d\ne,f\n",
		 "1[a|b]2!text after closing quote@23[c|d]4[e|f]"),
	/* The pieces are reported too, for nothing tells them from records; what matters is that the good record is not lost. */
	CASE("inner quote in the second line of a field", 2, "a,b\n\"x\ny\" z\n\",b\nc,d\n",
		 "1[a|b]2!text after closing quote@23[y\" z]4!quoted field is not closed@45[c|d]"),
	CASE("two quoted fields run together", 1, "\"a\"\"b\"\"\n\"c\"\n\"d\" \"e\"\nf\n",
		 "1!text after closing quote@12[c]3!text after closing quote@34[f]"),
	CASE("unclosed at the end", 2, "a,b\n\"c,d\ne,f\ng,h\n", "1[a|b]2!quoted field is not closed@23[e|f]4[g|h]"),
	CASE("unclosed on the last line", 2, "a,b\n\"c,d", "1[a|b]2!quoted field is not closed@2"),
	CASE("unclosed, the next record is quoted", 2, "\"a\",\"b\"\n\"c,\"d\"\n\"e\",\"f\"\n\"g\",\"h\"\n",
		 "1[a|b]2!text after closing quote@23[e|f]4[g|h]"),
	CASE("unclosed last field, the next record is quoted", 2, "\"a\",\"b\"\n\"c\",\"d\n\"e\",\"f\"\n\"g\",\"h\"\n",
		 "1[a|b]2!text after closing quote@23[e|f]4[g|h]"),
	CASE("unclosed field of two lines", 3, "a,b,c\nd,\"x\ny,e\nf,\"x\ny\",g\nh,i,j\n",
		 "1[a|b|c]2!text after closing quote@24[f|x\ny|g]6[h|i|j]"),
	CASE("unclosed in the record's second line", 3, "a,b,c\n\"x\ny\",\"z,e\nf,g,h\ni,j,\"k\"\n",
		 "1[a|b|c]2!text after closing quote@34[f|g|h]5[i|j|k]"),
	CASE("unclosed header", 0, "\"a,b\nc,d\ne,f\n", "1!quoted field is not closed@12[c|d]3[e|f]"),
	CASE("pieces end with the first good record", 2, "a,b\n\"c,d\ne\nf,g\nh\n", "1[a|b]2!quoted field is not closed@24[f|g]5[h]"),
	CASE("CRLF after an unclosed quote", 2, "\"a,b\r\nc,d\r\ne,f\r\n", "1!quoted field is not closed@12[c|d]3[e|f]"),
	CASE("field too long", 2, "a,b\n123456789012345678901,d\ne,f\n", "1[a|b]2!field too long@23[e|f]"),
	CASE("quoted field too long", 2, "a,b\n\"1234567890\n1234567890\",d\ne,f\n", "1[a|b]2!field too long@24[e|f]"),
	CASE("field of the greatest length", 2, "12345678901234567890,d\n", "1[12345678901234567890|d]"),
	CASE("record too long", 2, "a,b\n1234567890,1234567890,1234567890,1234567890,1234567890\nc,d\n",
		 "1[a|b]2!record too long@23[c|d]"),
	CASE("record too long, no line end", 2, "1234567890,1234567890,1234567890,1234567890,1234567890", "1!record too long@1"),
	CASE("too many fields", 2, "a,b\n1,2,3,4,5,6,7,8,9\nc,d\n", "1[a|b]2!too many fields@23[c|d]"),
	CASE("unclosed beyond the longest record", 2, "a,b\n\"c,d\n12345,67890\n12345,67890\n12345,67890\n12345,67890\n",
		 "1[a|b]2!quoted field is not closed@23[12345|67890]4[12345|67890]5[12345|67890]6[12345|67890]"),
	CASE("unclosed without line end beyond the longest record", 2, "\"1234567890,1234567890,1234567890,1234567890,1234567890\nc,d\n",
		 "1!quoted field is not closed@12[c|d]"),
};

static void
append(char *out, size_t *used, const void *data, size_t len)
{
	memcpy(out + *used, data, len);
	*used += len;
	out[*used] = '\0';
}

static void
append_record(char *out, size_t *used, const CsvRecord *r)
{
	char		text[64];
	const char *error = csv_error_text(r->error);
	const char *paren = strstr(error, " (");

	append(out, used, text, (size_t) sprintf(text, "%llu", (unsigned long long) r->line));
	if (r->error != CSV_OK)
	{
		append(out, used, "!", 1);
		append(out, used, error, paren ? (size_t) (paren - error) : strlen(error));
		append(out, used, text, (size_t) sprintf(text, "@%llu", (unsigned long long) r->error_line));
		return;
	}
	append(out, used, "[", 1);
	for (uint32_t i = 0; i < r->nfields; i++)
	{
		if (i > 0)
			append(out, used, "|", 1);
		append(out, used, r->fields[i].data, r->fields[i].len);
	}
	append(out, used, "]", 1);
}

static void
parse(const Case *c, size_t piece, char *out)
{
	CsvOptions	options = {',', '"', 20, 50, 8};
	CsvParser  *p = csv_create(&options);
	CsvRecord	r;
	size_t		at = 0;
	size_t		used = 0;
	CsvResult	result;

	csv_expect_fields(p, c->expected);
	out[0] = '\0';
	while ((result = csv_next(p, &r)) != CSV_END)
	{
		if (result == CSV_RECORD)
			append_record(out, &used, &r);
		else if (at == c->len)
			csv_finish(p);
		else
		{
			size_t		n = c->len - at < piece ? c->len - at : piece;

			csv_push(p, c->input + at, n);
			at += n;
		}
	}
	csv_free(p);
}

int
main(void)
{
	static const size_t pieces[] = {1, 3, 7, 64, 65536};
	size_t		n = sizeof(cases) / sizeof(cases[0]);
	int			failed = 0;

	printf("1..%zu\n", n);
	for (size_t i = 0; i < n; i++)
	{
		char	   *out = malloc(1 << 16);
		int			ok = 1;

		for (size_t k = 0; k < sizeof(pieces) / sizeof(pieces[0]); k++)
		{
			parse(&cases[i], pieces[k], out);
			if (strcmp(out, cases[i].output) != 0)
			{
				ok = 0;
				printf("# pieces of %zu\n# got      %s\n# expected %s\n", pieces[k], out, cases[i].output);
			}
		}
		printf("%sok %zu - %s\n", ok ? "" : "not ", i + 1, cases[i].name);
		failed += !ok;
		free(out);
	}
	return failed != 0;
}
