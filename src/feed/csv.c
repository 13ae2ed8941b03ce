/*
 * csv.c
 *	  The feed's CSV parser; csv.h says what it reads.
 *
 * How it works: 64 bytes at a time are compared with the delimiter, the quote and the two line ends, which gives one bit mask for
 * delimiters and one for the rest.  A small state machine then looks at the set bits only, never at the bytes between them, and never
 * ahead: what a quote inside a quoted field means is decided when the next set bit comes, by its distance.  So nothing depends on where
 * a piece of input ends, and one pass is enough.  Fields are kept as offsets until their record is complete; doubled quotes are then
 * taken out into a scratch buffer, which leaves the record's own bytes as they came (csv_record.c).
 *
 * Relies on malloc only; no PostgreSQL header.
 */
#include "feed/csv_parser.h"

#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define BLOCK			64		/* bytes looked at together; the buffer has as many to spare */

/* What a feed is read with unless its profile says otherwise. */
CsvOptions
csv_default_options(void)
{
	CsvOptions	options = {',', '"', (size_t) 1 << 20, (size_t) 4 << 20, 16384};

	return options;
}

/* A parser, or NULL when memory is short or the options make no sense. */
CsvParser *
csv_create(const CsvOptions *options)
{
	CsvParser  *p;

	if (options->delimiter == options->quote || options->max_fields == 0 || options->max_record == 0 ||
		strchr("\r\n", options->delimiter) != NULL || (options->quote != 0 && strchr("\r\n", options->quote) != NULL))
		return NULL;
	p = calloc(1, sizeof(CsvParser));
	if (p == NULL)
		return NULL;
	p->options = *options;
	p->line = p->here = p->field_line = 1;
	return p;
}

void
csv_free(CsvParser *p)
{
	if (p == NULL)
		return;
	free(p->buf);
	free(p->spans);
	free(p->fields);
	free(p->scratch);
	free(p);
}

/* Lets go of what lies before the present record. */
static void
compact(CsvParser *p)
{
	size_t		gone = p->record;

	if (gone == 0)
		return;
	memmove(p->buf, p->buf + gone, p->end - gone);
	p->base += gone;
	p->end -= gone;
	p->scanned -= gone;
	p->block -= gone;			/* may wrap around; its sums with bit numbers come out right */
	p->field -= gone;
	p->closing -= gone;
	p->guilty -= gone;
	p->record = 0;
}

/*
 * Room for "want" bytes of input, to be confirmed by csv_filled(); NULL when memory is short.  Input is taken in while csv_next() has
 * returned CSV_MORE or was not called yet, otherwise unread records pile up.
 */
char *
csv_space(CsvParser *p, size_t want)
{
	compact(p);
	if (p->cap < p->end + want + BLOCK)
	{
		size_t		cap = p->end + want + BLOCK;
		char	   *buf;

		if (p->cap != 0 && cap < p->cap + p->cap / 2)
			cap = p->cap + p->cap / 2;
		buf = realloc(p->buf, cap);
		if (buf == NULL)
			return NULL;
		p->buf = buf;
		p->cap = cap;
	}
	return p->buf + p->end;
}

/* Takes over "len" bytes that the caller wrote to csv_space(). */
void
csv_filled(CsvParser *p, size_t len)
{
	p->end += len;
}

/* Copies a piece of input; false when memory is short. */
bool
csv_push(CsvParser *p, const void *data, size_t len)
{
	char	   *space = csv_space(p, len);

	if (space == NULL)
		return false;
	if (len > 0)
		memcpy(space, data, len);
	csv_filled(p, len);
	return true;
}

/* No more input comes. */
void
csv_finish(CsvParser *p)
{
	p->finished = true;
}

/* Tells how many fields a record should have, which helps to find the next record after a bad one; 0: unknown. */
void
csv_expect_fields(CsvParser *p, uint32_t count)
{
	p->expected = count;
}

/* Whether the input started with a UTF-8 byte order mark; known with the first record. */
bool
csv_had_bom(const CsvParser *p)
{
	return p->bom;
}

/* What a person is told about a bad record. */
const char *
csv_error_text(CsvError error)
{
	switch (error)
	{
		case CSV_OK:
			return "";
		case CSV_TEXT_AFTER_QUOTE:
			return "text after closing quote (a quote inside a quoted field must be doubled)";
		case CSV_UNTERMINATED:
			return "quoted field is not closed";
		case CSV_NUL:
			return "NUL byte";
		case CSV_FIELD_TOO_LONG:
			return "field too long";
		case CSV_RECORD_TOO_LONG:
			return "record too long";
		case CSV_TOO_MANY_FIELDS:
			return "too many fields";
	}
	return "unknown error";
}

/* Makes the masks of the next n bytes, n <= BLOCK. */
static void
load_block(CsvParser *p, size_t n)
{
	const unsigned char *s = (const unsigned char *) p->buf + p->scanned;
	unsigned char delimiter = (unsigned char) p->options.delimiter;
	unsigned char quote = p->options.quote != 0 ? (unsigned char) p->options.quote : '\n';
	uint64_t	delimiters = 0;
	uint64_t	others = 0;

#ifdef __SSE2__
	__m128i		d = _mm_set1_epi8((char) delimiter);
	__m128i		q = _mm_set1_epi8((char) quote);
	__m128i		lf = _mm_set1_epi8('\n');
	__m128i		cr = _mm_set1_epi8('\r');

	/* Reads up to BLOCK - 1 bytes behind the input, which the buffer has to spare. */
	for (int i = 0; i < BLOCK; i += 16)
	{
		__m128i		x = _mm_loadu_si128((const __m128i *) (s + i));
		__m128i		o = _mm_or_si128(_mm_cmpeq_epi8(x, q), _mm_or_si128(_mm_cmpeq_epi8(x, lf), _mm_cmpeq_epi8(x, cr)));

		delimiters |= (uint64_t) (unsigned) _mm_movemask_epi8(_mm_cmpeq_epi8(x, d)) << i;
		others |= (uint64_t) (unsigned) _mm_movemask_epi8(o) << i;
	}
	if (n < BLOCK)
	{
		delimiters &= (UINT64_C(1) << n) - 1;
		others &= (UINT64_C(1) << n) - 1;
	}
#else
	for (size_t i = 0; i < n; i++)
	{
		delimiters |= (uint64_t) (s[i] == delimiter) << i;
		others |= (uint64_t) (s[i] == quote || s[i] == '\n' || s[i] == '\r') << i;
	}
#endif
	p->block = p->scanned;
	p->scanned += n;
	p->delimiters = delimiters;
	p->others = others;
}

/* Looks for the byte order mark; false when more input is needed for that. */
static bool
skip_bom(CsvParser *p)
{
	static const char mark[3] = {'\xef', '\xbb', '\xbf'};
	size_t		n = p->end < sizeof(mark) ? p->end : sizeof(mark);

	if (n > 0 && memcmp(p->buf, mark, n) != 0)
		n = 0;
	else if (n < sizeof(mark))
	{
		if (!p->finished)
			return false;
		n = 0;
	}
	p->started = true;
	p->bom = n != 0;
	csv_scan_from(p, n);
	csv_start_record(p, n);
	return true;
}

/* Only blanks between a closing quote and offset i. */
static bool
only_blanks(const CsvParser *p, size_t i)
{
	for (size_t k = p->closing + 1; k < i; k++)
	{
		if (p->buf[k] != ' ' && p->buf[k] != '\t')
			return false;
	}
	return true;
}

/*
 * Text follows a closing quote before offset i.  True when the record is given up at once, its field having crossed a line end, and is to
 * be handed out or not as *report says; otherwise the field goes on as if it was not quoted.
 */
static bool
take_text_after_quote(CsvParser *p, size_t i, CsvRecord *record, bool *report)
{
	csv_note_quoting_error(p, CSV_TEXT_AFTER_QUOTE);
	if (p->here == p->error_line)
	{
		p->state = PLAIN;
		return false;
	}
	*report = csv_give_up_record(p, record, i);
	return true;
}

/* All input has been scanned and no more comes: ends what is open.  Result as of csv_end_record(). */
static bool
end_input(CsvParser *p, CsvRecord *record, CsvResult *result)
{
	*result = CSV_END;
	if (p->state == SKIPPING || p->record == p->end)
		return true;
	if (p->state == QUOTED)
	{
		*result = CSV_RECORD;
		csv_note_quoting_error(p, CSV_UNTERMINATED);
		return csv_give_up_record(p, record, p->end);
	}
	if (p->state == CLOSING && !only_blanks(p, p->end))
	{
		bool		report;

		*result = CSV_RECORD;
		if (take_text_after_quote(p, p->end, record, &report))
			return report;
	}
	return csv_end_record(p, record, p->end, p->end, result);
}

/* The present record has reached max_record without an end.  Result as of csv_end_record(). */
static bool
end_too_long(CsvParser *p, CsvRecord *record)
{
	if (p->state == QUOTED || p->state == CLOSING)
	{
		csv_note_quoting_error(p, CSV_UNTERMINATED);
		return csv_give_up_record(p, record, p->scanned);
	}
	csv_note_error(p, CSV_RECORD_TOO_LONG, p->line);
	csv_report_bad(p, record, p->scanned);
	csv_start_record(p, p->scanned);
	p->state = SKIPPING;
	return true;
}

/*
 * Looks at the quote, delimiter or line end at offset i.  True when *record is to be handed out, or *result is an error.
 */
static bool
take_special(CsvParser *p, size_t i, CsvRecord *record, CsvResult *result)
{
	char		c = p->buf[i];
	bool		line_end = c == '\n' || c == '\r';

	if (p->state == QUOTED)
	{
		if (line_end)
			p->here += c == '\r' || p->buf[i - 1] != '\r';
		else
		{
			p->state = CLOSING;
			p->closing = i;
		}
		return false;
	}
	if (p->state == SKIPPING)
	{
		if (line_end)
		{
			p->here++;
			p->skip_lf = c == '\r';
			csv_start_record(p, i + 1);
		}
		return false;
	}
	if (p->state == CLOSING)
	{
		if (c == p->options.quote && i == p->closing + 1)
		{
			p->doubled = true;
			p->state = QUOTED;
			return false;
		}
		if (c == p->options.quote || !only_blanks(p, i))
		{
			bool		report;

			*result = CSV_RECORD;
			if (take_text_after_quote(p, i, record, &report))
				return report;
		}
	}
	if (c == p->options.delimiter)
	{
		if (!csv_end_field(p, p->state == CLOSING ? p->closing : i, i + 1))
		{
			*result = CSV_NO_MEMORY;
			return true;
		}
	}
	else if (line_end)
	{
		bool		second = c == '\n' && p->skip_lf && i == p->record;

		p->skip_lf = c == '\r';
		if (second)
			csv_start_record(p, i + 1);
		else
			return csv_end_record(p, record, i, i + 1, result);
	}
	else if (i == p->field && p->state == PLAIN)
	{
		p->quoted = true;
		p->field = i + 1;
		p->state = QUOTED;
	}
	return false;
}

/*
 * The next record, good or bad (CSV_RECORD); CSV_MORE when the input so far holds no further complete one; CSV_END after csv_finish()
 * when all are handed out.
 */
CsvResult
csv_next(CsvParser *p, CsvRecord *record)
{
	CsvResult	result;

	if (!p->started && !skip_bom(p))
		return CSV_MORE;
	for (;;)
	{
		uint64_t	bits;
		size_t		n;

		while ((bits = p->others | (p->state == QUOTED ? 0 : p->delimiters)) != 0)
		{
			int			bit = __builtin_ctzll(bits);
			uint64_t	rest = ~((UINT64_C(2) << bit) - 1);

			p->others &= rest;
			p->delimiters &= rest;
			if (take_special(p, p->block + (size_t) bit, record, &result))
				return result;
		}

		n = p->end - p->scanned;
		if (n > BLOCK)
			n = BLOCK;
		if (p->state == SKIPPING)
			p->record = p->field = p->scanned;
		else if (p->scanned - p->record + n > p->options.max_record)
		{
			n = p->record + p->options.max_record - p->scanned;
			if (n == 0)
			{
				if (end_too_long(p, record))
					return CSV_RECORD;
				continue;
			}
		}
		if (n > 0)
			load_block(p, n);
		else if (!p->finished)
			return CSV_MORE;
		else if (end_input(p, record, &result))
			return result;
	}
}
