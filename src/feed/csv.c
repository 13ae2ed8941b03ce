/*
 * csv.c
 *	  The feed's CSV parser; csv.h says what it reads.
 *
 * How it works: 64 bytes at a time are compared with the delimiter, the quote and the two line ends, which gives one bit mask for
 * delimiters and one for the rest.  A small state machine then looks at the set bits only, never at the bytes between them, and never
 * ahead: what a quote inside a quoted field means is decided when the next set bit comes, by its distance.  So nothing depends on where
 * a piece of input ends, and one pass is enough.  Fields are kept as offsets until their record is complete; doubled quotes are then
 * taken out into a scratch buffer, which leaves the record's own bytes as they came.
 *
 * Relies on malloc only; no PostgreSQL header.
 */
#include "feed/csv.h"

#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define BLOCK			64		/* bytes looked at together; the buffer has as many to spare */
#define RESCAN_FREE		(UINT64_C(64) << 20)	/* bytes that may be read again whatever the size of the input */
#define RESCAN_FACTOR	2		/* and further ones for each byte of input */

typedef enum CsvState
{
	PLAIN,						/* at the start of a field, or in one without quotes */
	QUOTED,						/* behind an opening quote */
	CLOSING,					/* behind a quote in a quoted field: its end, or the first of a pair */
	SKIPPING					/* the rest of a line is passed over */
} CsvState;

typedef struct CsvSpan
{
	size_t		start;			/* from the start of the record */
	size_t		len;
	bool		quoted;
	bool		doubled;		/* holds doubled quotes */
} CsvSpan;

struct CsvParser
{
	CsvOptions	options;
	char	   *buf;
	size_t		cap;
	size_t		end;			/* bytes in buf */
	uint64_t	base;			/* bytes of input that have left buf */
	bool		finished;
	bool		started;		/* the byte order mark has been looked for */
	bool		bom;

	size_t		scanned;		/* bytes whose masks have been made */
	size_t		block;			/* offset of bit 0 of the masks */
	uint64_t	delimiters;		/* set bits that are still to be looked at */
	uint64_t	others;			/* the same for quotes and line ends */

	CsvState	state;
	size_t		record;			/* start of the present record */
	size_t		field;			/* start of the present field, behind its quote */
	size_t		closing;		/* CLOSING: where the quote is */
	bool		quoted;			/* the present field has an opening quote */
	bool		doubled;
	bool		skip_lf;		/* the last record ended with CR: a LF at once belongs to it */
	uint64_t	line;			/* on which the present record starts */
	uint64_t	here;			/* present line */
	uint64_t	field_line;		/* on which the present field was opened */

	CsvError	error;			/* first error of the present record */
	uint32_t	error_field;
	uint64_t	error_line;
	size_t		guilty;			/* offset of the opening quote of the field with a quoting error */

	uint32_t	expected;
	bool		resync;			/* pieces of a bad record may follow */
	uint64_t	resync_line;	/* line on which its error was seen */
	uint64_t	rescanned;		/* bytes read again so far */

	CsvSpan    *spans;
	CsvField   *fields;
	uint32_t	nfields;
	uint32_t	span_cap;
	char	   *scratch;
	size_t		scratch_cap;
};

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

/* Notes the first error of a record. */
static void
note_error(CsvParser *p, CsvError error, uint64_t line)
{
	if (p->error != CSV_OK)
		return;
	p->error = error;
	p->error_line = line;
	p->error_field = p->nfields + 1;
}

/* Notes a quoting error of the present field, unless one came before it: that one is the guilty one. */
static void
note_quoting_error(CsvParser *p, CsvError error)
{
	if (p->error == CSV_TEXT_AFTER_QUOTE)
		return;
	p->error = CSV_OK;
	note_error(p, error, p->field_line);
	p->guilty = p->field - 1;
}

/* Ends the present field before offset "end" and starts the next at "next"; false when memory is short. */
static bool
end_field(CsvParser *p, size_t end, size_t next)
{
	if (end - p->field > p->options.max_field)
		note_error(p, CSV_FIELD_TOO_LONG, p->field_line);
	if (p->nfields >= p->options.max_fields)
		note_error(p, CSV_TOO_MANY_FIELDS, p->field_line);
	else
	{
		CsvSpan    *span;

		if (p->nfields == p->span_cap)
		{
			uint32_t	cap = p->span_cap == 0 ? 64 : p->span_cap * 2;
			CsvSpan    *spans = realloc(p->spans, cap * sizeof(CsvSpan));
			CsvField   *fields;

			if (spans == NULL)
				return false;
			p->spans = spans;
			fields = realloc(p->fields, cap * sizeof(CsvField));
			if (fields == NULL)
				return false;
			p->fields = fields;
			p->span_cap = cap;
		}
		span = &p->spans[p->nfields++];
		span->start = p->field - p->record;
		span->len = end - p->field;
		span->quoted = p->quoted;
		span->doubled = p->doubled;
	}
	p->field = next;
	p->field_line = p->here;
	p->quoted = p->doubled = false;
	p->state = PLAIN;
	return true;
}

/* Starts a new record at an offset. */
static void
start_record(CsvParser *p, size_t at)
{
	p->record = p->field = at;
	p->line = p->field_line = p->here;
	p->quoted = p->doubled = false;
	p->nfields = 0;
	p->error = CSV_OK;
	p->error_field = 0;
	p->state = PLAIN;
}

/* Throws the masks away: reading goes on at an offset. */
static void
scan_from(CsvParser *p, size_t at)
{
	p->scanned = at;
	p->block = at;
	p->delimiters = p->others = 0;
}

/* Fills the caller's record with the present one, bad, which ends at an offset. */
static void
report_bad(CsvParser *p, CsvRecord *record, size_t end)
{
	record->line = p->line;
	record->error = p->error;
	record->error_line = p->error_line;
	record->error_field = p->error_field;
	record->nfields = 0;
	record->fields = NULL;
	record->raw = p->buf + p->record;
	record->raw_len = end - p->record;
}

/*
 * Ends a record with a quoting error that was seen at offset "seen" and resumes at the line after the guilty quote's.  Without such a
 * line yet, or without budget to read it again, the rest of the present line is passed over.  False when the record is itself a piece of
 * a bad one, thus not to be handed out.
 */
static bool
give_up_record(CsvParser *p, CsvRecord *record, size_t seen)
{
	bool		piece = p->resync && p->expected != 0 && p->line < p->resync_line;
	size_t		at = p->guilty;
	uint64_t	budget = RESCAN_FREE + RESCAN_FACTOR * (p->base + seen);

	while (at < seen && p->buf[at] != '\n' && p->buf[at] != '\r')
		at++;
	if (at < seen && p->rescanned + (seen - at) <= budget)
	{
		p->rescanned += seen - at;
		report_bad(p, record, at);
		p->resync = true;
		if (!piece)
			p->resync_line = p->here;
		p->here = p->error_line + 1;
		p->skip_lf = p->buf[at] == '\r';
		scan_from(p, at + 1);
		start_record(p, at + 1);
		return !piece;
	}
	report_bad(p, record, seen);
	scan_from(p, seen);
	start_record(p, seen);
	p->skip_lf = p->buf[seen - 1] == '\r';
	if (p->buf[seen - 1] != '\n' && !p->skip_lf)
		p->state = SKIPPING;
	return !piece;
}

/* Whether a field without quotes ends in one: the end of a quoted field whose start was lost. */
static bool
has_stray_quote(const CsvParser *p)
{
	for (uint32_t i = 0; i < p->nfields; i++)
	{
		const CsvSpan *span = &p->spans[i];

		if (!span->quoted && span->len > 0 && p->buf[p->record + span->start + span->len - 1] == p->options.quote)
			return true;
	}
	return false;
}

/* Whether the complete record is a piece of the bad one before it (csv.h). */
static bool
is_piece_of_bad(CsvParser *p)
{
	bool		stray;

	if (!p->resync)
		return false;
	if (p->expected != 0 && (p->error != CSV_OK || p->nfields < p->expected))
	{
		stray = p->error == CSV_OK && has_stray_quote(p);
		if (stray)
			p->resync = false;
		if (stray || p->line < p->resync_line)
			return true;
	}
	p->resync = false;
	return false;
}

/* Takes doubled quotes out of the fields and turns offsets into pointers; false when memory is short. */
static bool
make_fields(CsvParser *p, size_t record_len)
{
	size_t		used = 0;

	for (uint32_t i = 0; i < p->nfields; i++)
	{
		const CsvSpan *span = &p->spans[i];
		CsvField   *field = &p->fields[i];
		const char *from = p->buf + p->record + span->start;

		field->data = from;
		field->len = span->len;
		field->quoted = span->quoted;
		if (span->doubled)
		{
			const char *stop = from + span->len;
			char	   *to;

			if (p->scratch_cap < record_len)
			{
				/* Once for the record, before the first of its fields points into it. */
				free(p->scratch);
				p->scratch_cap = 0;
				p->scratch = malloc(record_len * 2);
				if (p->scratch == NULL)
					return false;
				p->scratch_cap = record_len * 2;
			}
			field->data = to = p->scratch + used;
			while (from < stop)
			{
				const char *q = memchr(from, p->options.quote, (size_t) (stop - from));
				size_t		n = (size_t) ((q == NULL ? stop : q + 1) - from);

				memcpy(to, from, n);
				to += n;
				from += q == NULL ? n : n + 1;
			}
			field->len = (size_t) (to - field->data);
			used += field->len;
		}
	}
	return true;
}

/*
 * Ends the record whose last byte is before offset "end"; the next starts at "next".  True when *record is to be handed out, false
 * when there is nothing to report: an empty line, or a piece of a bad record.  Sets *result.
 */
static bool
end_record(CsvParser *p, CsvRecord *record, size_t end, size_t next, CsvResult *result)
{
	*result = CSV_RECORD;
	if (!end_field(p, p->state == CLOSING ? p->closing : end, next))
	{
		*result = CSV_NO_MEMORY;
		return true;
	}
	p->here++;
	if (p->nfields == 1 && end == p->record)
	{
		start_record(p, next);
		return false;
	}
	if (p->error == CSV_OK && memchr(p->buf + p->record, 0, end - p->record) != NULL)
	{
		p->error_field = 0;
		p->error_line = p->line;
		p->error = CSV_NUL;
	}
	if (p->error == CSV_TEXT_AFTER_QUOTE && p->expected != 0 && p->nfields != p->expected)
		return give_up_record(p, record, next);
	if (is_piece_of_bad(p))
	{
		start_record(p, next);
		return false;
	}
	if (p->error != CSV_OK)
		report_bad(p, record, end);
	else
	{
		if (!make_fields(p, end - p->record))
		{
			*result = CSV_NO_MEMORY;
			return true;
		}
		record->line = p->line;
		record->error = CSV_OK;
		record->error_line = 0;
		record->error_field = 0;
		record->nfields = p->nfields;
		record->fields = p->fields;
		record->raw = p->buf + p->record;
		record->raw_len = end - p->record;
	}
	start_record(p, next);
	return true;
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
	scan_from(p, n);
	start_record(p, n);
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
	note_quoting_error(p, CSV_TEXT_AFTER_QUOTE);
	if (p->here == p->error_line)
	{
		p->state = PLAIN;
		return false;
	}
	*report = give_up_record(p, record, i);
	return true;
}

/* All input has been scanned and no more comes: ends what is open.  Result as of end_record(). */
static bool
end_input(CsvParser *p, CsvRecord *record, CsvResult *result)
{
	*result = CSV_END;
	if (p->state == SKIPPING || p->record == p->end)
		return true;
	if (p->state == QUOTED)
	{
		*result = CSV_RECORD;
		note_quoting_error(p, CSV_UNTERMINATED);
		return give_up_record(p, record, p->end);
	}
	if (p->state == CLOSING && !only_blanks(p, p->end))
	{
		bool		report;

		*result = CSV_RECORD;
		if (take_text_after_quote(p, p->end, record, &report))
			return report;
	}
	return end_record(p, record, p->end, p->end, result);
}

/* The present record has reached max_record without an end.  Result as of end_record(). */
static bool
end_too_long(CsvParser *p, CsvRecord *record)
{
	if (p->state == QUOTED || p->state == CLOSING)
	{
		note_quoting_error(p, CSV_UNTERMINATED);
		return give_up_record(p, record, p->scanned);
	}
	note_error(p, CSV_RECORD_TOO_LONG, p->line);
	report_bad(p, record, p->scanned);
	start_record(p, p->scanned);
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
			start_record(p, i + 1);
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
		if (!end_field(p, p->state == CLOSING ? p->closing : i, i + 1))
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
			start_record(p, i + 1);
		else
			return end_record(p, record, i, i + 1, result);
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
