/*
 * fuzz_csv.c
 *	  libFuzzer: whatever the bytes, the CSV parser ends, gives the same records however the input is cut, and loses no line silently.
 *	  clang -g -O1 -fsanitize=fuzzer,address,undefined -Isrc test/fuzz/fuzz_csv.c src/feed/csv.c src/feed/encoding.c
 *
 * The first byte picks options, the second the size of the pieces.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "feed/csv.h"
#include "feed/encoding.h"

typedef struct Digest
{
	uint64_t	hash;
	uint64_t	records;
	uint64_t	last_line;
} Digest;

static void
mix(Digest *d, const void *data, size_t len)
{
	const unsigned char *s = data;

	for (size_t i = 0; i < len; i++)
		d->hash = (d->hash ^ s[i]) * UINT64_C(1099511628211);
	d->hash = (d->hash ^ len) * UINT64_C(1099511628211);
}

#define MUST(condition) do { if (!(condition)) { fprintf(stderr, "%s\n", #condition); abort(); } } while (0)

static Digest
parse(const CsvOptions *options, uint32_t expected, const uint8_t *data, size_t len, size_t piece)
{
	CsvParser  *p = csv_create(options);
	Digest		d = {0};
	CsvRecord	r;
	CsvResult	result;
	size_t		at = 0;

	MUST(p != NULL);
	csv_expect_fields(p, expected);
	while ((result = csv_next(p, &r)) != CSV_END)
	{
		if (result == CSV_MORE)
		{
			size_t		n = len - at < piece ? len - at : piece;

			if (at == len)
				csv_finish(p);
			MUST(csv_push(p, data + at, n));
			at += n;
			continue;
		}
		MUST(result == CSV_RECORD);
		MUST(r.line > d.last_line);
		MUST(r.raw_len <= options->max_record);
		d.last_line = r.line;
		d.records++;
		mix(&d, &r.line, sizeof(r.line));
		mix(&d, &r.error, sizeof(r.error));
		mix(&d, &r.error_line, sizeof(r.error_line));
		mix(&d, &r.error_field, sizeof(r.error_field));
		mix(&d, r.raw, r.raw_len);
		if (r.error != CSV_OK)
		{
			MUST(r.nfields == 0 && r.error_line >= r.line);
			continue;
		}
		MUST(r.nfields > 0 && r.nfields <= options->max_fields);
		MUST(memchr(r.raw, 0, r.raw_len) == NULL);
		for (uint32_t i = 0; i < r.nfields; i++)
		{
			char		out[8192];
			size_t		out_len;
			size_t		bad;

			MUST(r.fields[i].len <= options->max_field);
			MUST(r.fields[i].quoted || memchr(r.fields[i].data, options->delimiter, r.fields[i].len) == NULL);
			mix(&d, r.fields[i].data, r.fields[i].len);
			if (r.fields[i].len * UTF8_PER_WINDOWS1252 <= sizeof(out) &&
				windows1252_to_utf8(r.fields[i].data, r.fields[i].len, out, &out_len, &bad))
				MUST(utf8_valid_prefix(out, out_len) == out_len);
		}
	}
	csv_free(p);
	return d;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CsvOptions	options = {',', '"', 40, 100, 12};
	uint32_t	expected;
	size_t		piece;
	Digest		whole;
	Digest		cut;

	if (size < 2)
		return 0;
	expected = data[0] & 7;
	if (data[0] & 8)
		options.quote = '\0';
	if (data[0] & 16)
		options.delimiter = '\t';
	if (data[0] & 32)
	{
		options.max_field = 2000;
		options.max_record = 4000;
	}
	piece = data[1] % 100 + 1;
	whole = parse(&options, expected, data + 2, size - 2, size);
	cut = parse(&options, expected, data + 2, size - 2, piece);
	MUST(whole.hash == cut.hash && whole.records == cut.records);
	return 0;
}
