/*
 * csv.h
 *	  The feed's CSV parser: streaming, plain C, and built to outlive broken files.
 *
 * Input comes in pieces of any size; the result does not depend on how it was cut.  csv_space() and csv_filled() let the caller read
 * straight into the parser's buffer, csv_push() copies.  csv_next() hands out one record at a time; its fields point into the parser's
 * memory and hold until the next call of any of these functions.
 *
 * What is read: RFC 4180, and what spreadsheets really write.
 *	 - a UTF-8 byte order mark at the start is skipped; records end with LF, CR or CRLF, in any mixture; empty lines are skipped;
 *	 - a field that starts with the quote is quoted: it may hold delimiters and line ends, and "" stands for one quote;
 *	 - a quote anywhere else in a field is an ordinary character: 14" Monitor;
 *	 - nothing else is special: no backslash, no \. line.
 *
 * What is bad, each a record with an error of its own, after which reading goes on:
 *	 - text between a closing quote and the next delimiter ("14" Monitor"): the writer did not double its quotes.  The rest of the
 *	   field is passed over as if it was not quoted; where the record then has as many fields as are expected, it ends there;
 *	 - a quoted field that is never closed, that is so when the input or max_record ends first;
 *	 - a NUL byte, a field, record or number of fields beyond the limits.
 *
 * A quote that is missing must not swallow the file.  When a quoted field goes wrong after it has crossed a line end, or a record with
 * text after a closing quote does not come out at the expected number of fields, reading resumes at the line after the one on which the
 * guilty field was opened.  The pieces of the bad record that may follow there (too few fields, before the place where the error was
 * seen; or ending in a stray closing quote) are taken as part of it and not reported again.  Reading again is paid from a budget that
 * is a multiple of the input, so hostile input cannot make the time quadratic; without budget the passed-over lines are lost to the
 * bad record.
 */
#ifndef FEED_CSV_H
#define FEED_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum CsvError
{
	CSV_OK,
	CSV_TEXT_AFTER_QUOTE,
	CSV_UNTERMINATED,
	CSV_NUL,
	CSV_FIELD_TOO_LONG,
	CSV_RECORD_TOO_LONG,
	CSV_TOO_MANY_FIELDS
} CsvError;

typedef enum CsvResult
{
	CSV_RECORD,					/* *record is filled, good or bad */
	CSV_MORE,					/* give more input, or csv_finish() */
	CSV_END,					/* finished and all handed out */
	CSV_NO_MEMORY
} CsvResult;

typedef struct CsvOptions
{
	char		delimiter;
	char		quote;			/* 0: no quoting at all */
	size_t		max_field;		/* bytes of one field, quotes left out */
	size_t		max_record;		/* bytes of one record; also how far a quoted field may reach */
	uint32_t	max_fields;
} CsvOptions;

typedef struct CsvField
{
	const char *data;			/* not terminated */
	size_t		len;
	bool		quoted;
} CsvField;

typedef struct CsvRecord
{
	uint64_t	line;			/* on which it starts, from 1 */
	CsvError	error;
	uint64_t	error_line;		/* where a bad record went wrong: the line of the guilty quote, or of the record */
	uint32_t	error_field;	/* and in which field, from 1; 0 where that cannot be said */
	uint32_t	nfields;		/* 0 for a bad record */
	const CsvField *fields;
	const char *raw;			/* its bytes as they came, without the line end; the first of them if it is too long */
	size_t		raw_len;
} CsvRecord;

typedef struct CsvParser CsvParser;

extern CsvOptions csv_default_options(void);
extern CsvParser *csv_create(const CsvOptions *options);
extern void csv_free(CsvParser *parser);
extern char *csv_space(CsvParser *parser, size_t want);
extern void csv_filled(CsvParser *parser, size_t len);
extern bool csv_push(CsvParser *parser, const void *data, size_t len);
extern void csv_finish(CsvParser *parser);
extern CsvResult csv_next(CsvParser *parser, CsvRecord *record);
extern void csv_expect_fields(CsvParser *parser, uint32_t count);
extern bool csv_had_bom(const CsvParser *parser);
extern const char *csv_error_text(CsvError error);

#endif
