/*
 * csv_parser.h
 *	  The inside of the CSV parser, which csv.c (input and scanning) and csv_record.c (fields, records, errors) share.
 */
#ifndef FEED_CSV_PARSER_H
#define FEED_CSV_PARSER_H

#include "feed/csv.h"

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

extern void csv_note_error(CsvParser *p, CsvError error, uint64_t line);
extern void csv_note_quoting_error(CsvParser *p, CsvError error);
extern bool csv_end_field(CsvParser *p, size_t end, size_t next);
extern void csv_start_record(CsvParser *p, size_t at);
extern void csv_scan_from(CsvParser *p, size_t at);
extern void csv_report_bad(CsvParser *p, CsvRecord *record, size_t end);
extern bool csv_give_up_record(CsvParser *p, CsvRecord *record, size_t seen);
extern bool csv_end_record(CsvParser *p, CsvRecord *record, size_t end, size_t next, CsvResult *result);

#endif
