/*
 * csv_record.c
 *	  The CSV parser's fields and records: where they end, what is wrong with them, and where reading resumes after a bad one (csv.h).
 */
#include "feed/csv_parser.h"

#include <stdlib.h>
#include <string.h>

#define RESCAN_FREE		(UINT64_C(64) << 20)	/* bytes that may be read again whatever the size of the input */
#define RESCAN_FACTOR	2		/* and further ones for each byte of input */

/* Notes the first error of a record. */
void
csv_note_error(CsvParser *p, CsvError error, uint64_t line)
{
	if (p->error != CSV_OK)
		return;
	p->error = error;
	p->error_line = line;
	p->error_field = p->nfields + 1;
}

/* Notes a quoting error of the present field, unless one came before it: that one is the guilty one. */
void
csv_note_quoting_error(CsvParser *p, CsvError error)
{
	if (p->error == CSV_TEXT_AFTER_QUOTE)
		return;
	p->error = CSV_OK;
	csv_note_error(p, error, p->field_line);
	p->guilty = p->field - 1;
}

/* Ends the present field before offset "end" and starts the next at "next"; false when memory is short. */
bool
csv_end_field(CsvParser *p, size_t end, size_t next)
{
	if (end - p->field > p->options.max_field)
		csv_note_error(p, CSV_FIELD_TOO_LONG, p->field_line);
	if (p->nfields >= p->options.max_fields)
		csv_note_error(p, CSV_TOO_MANY_FIELDS, p->field_line);
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
void
csv_start_record(CsvParser *p, size_t at)
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
void
csv_scan_from(CsvParser *p, size_t at)
{
	p->scanned = at;
	p->block = at;
	p->delimiters = p->others = 0;
}

/* Fills the caller's record with the present one, bad, which ends at an offset. */
void
csv_report_bad(CsvParser *p, CsvRecord *record, size_t end)
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
bool
csv_give_up_record(CsvParser *p, CsvRecord *record, size_t seen)
{
	bool		piece = p->resync && p->expected != 0 && p->line < p->resync_line;
	size_t		at = p->guilty;
	uint64_t	budget = RESCAN_FREE + RESCAN_FACTOR * (p->base + seen);

	while (at < seen && p->buf[at] != '\n' && p->buf[at] != '\r')
		at++;
	if (at < seen && p->rescanned + (seen - at) <= budget)
	{
		p->rescanned += seen - at;
		csv_report_bad(p, record, at);
		p->resync = true;
		if (!piece)
			p->resync_line = p->here;
		p->here = p->error_line + 1;
		p->skip_lf = p->buf[at] == '\r';
		csv_scan_from(p, at + 1);
		csv_start_record(p, at + 1);
		return !piece;
	}
	csv_report_bad(p, record, seen);
	csv_scan_from(p, seen);
	csv_start_record(p, seen);
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
bool
csv_end_record(CsvParser *p, CsvRecord *record, size_t end, size_t next, CsvResult *result)
{
	*result = CSV_RECORD;
	if (!csv_end_field(p, p->state == CLOSING ? p->closing : end, next))
	{
		*result = CSV_NO_MEMORY;
		return true;
	}
	p->here++;
	if (p->nfields == 1 && end == p->record)
	{
		csv_start_record(p, next);
		return false;
	}
	if (p->error == CSV_OK && memchr(p->buf + p->record, 0, end - p->record) != NULL)
	{
		p->error_field = 0;
		p->error_line = p->line;
		p->error = CSV_NUL;
	}
	if (p->error == CSV_TEXT_AFTER_QUOTE && p->expected != 0 && p->nfields != p->expected)
		return csv_give_up_record(p, record, next);
	if (is_piece_of_bad(p))
	{
		csv_start_record(p, next);
		return false;
	}
	if (p->error != CSV_OK)
		csv_report_bad(p, record, end);
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
	csv_start_record(p, next);
	return true;
}
