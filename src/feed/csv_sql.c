/*
 * csv_sql.c
 *	  sync_csv_parse(): the feed's CSV parser from SQL.
 */
#include "feed/csv.h"
#include "feed/encoding.h"
#include "feed/feed_sql.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#if __has_include("varatt.h")
#include "varatt.h"				/* apart from postgres.h since 16 */
#endif

#define LARGEST_LIMIT	(100 * 1024 * 1024)

PG_FUNCTION_INFO_V1(product_sync_csv_parse);

typedef struct ParseOptions
{
	CsvOptions	csv;
	bool		header;
	bool		undecided;
	bool		windows1252;
} ParseOptions;

typedef struct CsvParse
{
	ParseOptions options;
	CsvParser  *csv;
	MemoryContextCallback release;
	ReturnSetInfo *result;
	bool		header_read;
	int			nheader;
} CsvParse;

static void
bad_option(const char *name, const char *wanted)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("option \"%s\" of sync_csv_parse must be %s", name, wanted)));
}

/* An option that is one ASCII character, or empty where that is allowed. */
static char
option_char(const char *name, const JsonbValue *value, bool may_be_empty)
{
	if (value->type == jbvString && value->val.string.len == 0 && may_be_empty)
		return 0;
	if (value->type != jbvString || value->val.string.len != 1 || (value->val.string.val[0] & 0x80) != 0 ||
		strchr("\r\n", value->val.string.val[0]) != NULL)
		bad_option(name, may_be_empty ? "one ASCII character, or \"\" for none" : "one ASCII character");
	return value->val.string.val[0];
}

/* An option that is a number of bytes. */
static size_t
option_size(const char *name, const JsonbValue *value)
{
	Datum		number;

	if (value->type == jbvNumeric)
	{
		number = DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value->val.numeric));
		if (DatumGetFloat8(number) >= 1 && DatumGetFloat8(number) <= LARGEST_LIMIT)
			return (size_t) DatumGetFloat8(number);
	}
	bad_option(name, psprintf("a number of bytes from 1 to %d", LARGEST_LIMIT));
	return 0;
}

static void
set_option(ParseOptions *options, const char *name, const JsonbValue *value)
{
	if (strcmp(name, "delimiter") == 0)
		options->csv.delimiter = option_char(name, value, false);
	else if (strcmp(name, "quote") == 0)
		options->csv.quote = option_char(name, value, true);
	else if (strcmp(name, "max_field") == 0)
		options->csv.max_field = option_size(name, value);
	else if (strcmp(name, "max_record") == 0)
		options->csv.max_record = option_size(name, value);
	else if (strcmp(name, "header") == 0)
	{
		if (value->type != jbvBool)
			bad_option(name, "true or false");
		options->header = value->val.boolean;
	}
	else if (strcmp(name, "encoding") == 0)
	{
		char	   *encoding = value->type == jbvString ? pnstrdup(value->val.string.val, value->val.string.len) : "";

		options->undecided = strcmp(encoding, "auto") == 0;
		options->windows1252 = strcmp(encoding, "windows-1252") == 0;
		if (!options->undecided && !options->windows1252 && strcmp(encoding, "utf-8") != 0)
			bad_option(name, "\"auto\", \"utf-8\" or \"windows-1252\"");
	}
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sync_csv_parse has no option \"%s\"", name),
				 errhint("Options are delimiter, quote, header, encoding, max_field and max_record.")));
}

/* Reads the options; error 22023 for one that is unknown or wrong. */
static ParseOptions
read_options(Jsonb *jsonb)
{
	ParseOptions options = {.csv = csv_default_options(),.undecided = true};
	JsonbIterator *it = JsonbIteratorInit(&jsonb->root);
	JsonbValue	key;
	JsonbValue	value;
	JsonbIteratorToken token;

	if (!JB_ROOT_IS_OBJECT(jsonb))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options of sync_csv_parse must be a JSON object")));
	while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		JsonbIteratorNext(&it, &value, true);
		set_option(&options, pnstrdup(key.val.string.val, key.val.string.len), &value);
	}
	if (options.csv.delimiter == options.csv.quote)
		bad_option("delimiter", "another character than the quote");
	return options;
}

static void
release_parser(void *arg)
{
	csv_free(((CsvParse *) arg)->csv);
}

/* A fresh parser that has been given all data. */
static void
start_parser(CsvParse *state, bytea *data)
{
	csv_free(state->csv);
	state->csv = csv_create(&state->options.csv);
	if (state->csv == NULL || !csv_push(state->csv, VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data)))
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"), errdetail("Failed while parsing CSV.")));
	csv_finish(state->csv);
}

static bool
next_record(CsvParse *state, CsvRecord *record)
{
	CsvResult	result = csv_next(state->csv, record);

	CHECK_FOR_INTERRUPTS();
	if (result == CSV_NO_MEMORY)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"), errdetail("Failed while parsing CSV.")));
	return result == CSV_RECORD;
}

/* Lets the records vote on the encoding (encoding.h). */
static void
decide_encoding(CsvParse *state, bytea *data)
{
	CsvRecord	record;
	int64		utf8 = 0;
	int64		windows1252 = 0;

	start_parser(state, data);
	while (next_record(state, &record))
	{
		if (record.error != CSV_OK || text_is_ascii(record.raw, record.raw_len))
			continue;
		if (utf8_valid_prefix(record.raw, record.raw_len) != record.raw_len && windows1252_plausible(record.raw, record.raw_len))
			windows1252++;
		else
			utf8++;
	}
	state->options.windows1252 = !csv_had_bom(state->csv) && windows1252 > utf8;
}

/* A field as text; false when it has a byte that is undefined in Windows-1252. */
static bool
field_text(const CsvParse *state, const CsvField *field, Datum *text, size_t *bad)
{
	char	   *out;
	size_t		len;

	if (!state->options.windows1252 || text_is_ascii(field->data, field->len))
	{
		*text = PointerGetDatum(cstring_to_text_with_len(field->data, (int) field->len));
		return true;
	}
	out = palloc(field->len * UTF8_PER_WINDOWS1252);
	if (!windows1252_to_utf8(field->data, field->len, out, &len, bad))
		return false;
	*text = PointerGetDatum(cstring_to_text_with_len(out, (int) len));
	return true;
}

/* The fields of a good record, 0 when they cannot be read; *error is then the reason. */
static Datum
record_fields(const CsvParse *state, const CsvRecord *record, char **error)
{
	Datum	   *texts;
	size_t		bad = utf8_valid_prefix(record->raw, record->raw_len);

	if (!state->options.windows1252 && bad != record->raw_len)
	{
		*error = psprintf("not valid UTF-8: byte 0x%02x at offset %zu of the record", (unsigned char) record->raw[bad], bad);
		return (Datum) 0;
	}
	texts = palloc(sizeof(Datum) * record->nfields);
	for (uint32_t i = 0; i < record->nfields; i++)
	{
		if (!field_text(state, &record->fields[i], &texts[i], &bad))
		{
			*error = psprintf("field %u: byte 0x%02x, number %zu of the value, is not defined in Windows-1252",
							  i + 1, (unsigned char) record->fields[i].data[bad], bad + 1);
			return (Datum) 0;
		}
	}
	return PointerGetDatum(construct_array(texts, (int) record->nfields, TEXTOID, -1, false, TYPALIGN_INT));
}

/* Adds the row of a record to the result; the header gives none. */
static void
put_record(CsvParse *state, const CsvRecord *record)
{
	Datum		values[3] = {Int64GetDatum((int64) record->line)};
	bool		nulls[3] = {false, true, true};
	char	   *error = NULL;

	if (record->error != CSV_OK)
	{
		error = pstrdup(csv_error_text(record->error));
		if (record->error_line != record->line)
			error = psprintf("%s, opened on line " UINT64_FORMAT, error, record->error_line);
	}
	else
	{
		values[1] = record_fields(state, record, &error);
		nulls[1] = error != NULL;
	}
	if (state->options.header && !state->header_read)
	{
		state->header_read = true;
		if (error == NULL)
		{
			state->nheader = (int) record->nfields;
			csv_expect_fields(state->csv, record->nfields);
			return;
		}
		error = psprintf("header: %s", error);
	}
	else if (error == NULL && state->nheader > 0 && (int) record->nfields != state->nheader)
		error = psprintf("%u field%s where the header has %d", record->nfields, record->nfields == 1 ? "" : "s", state->nheader);
	if (error != NULL)
	{
		values[2] = CStringGetTextDatum(error);
		nulls[2] = false;
	}
	tuplestore_putvalues(state->result->setResult, state->result->setDesc, values, nulls);
}

/* sync_csv_parse(data bytea, options jsonb) returns table (line bigint, fields text[], error text). */
Datum
product_sync_csv_parse(PG_FUNCTION_ARGS)
{
	bytea	   *data = PG_GETARG_BYTEA_PP(0);
	MemoryContext work;
	MemoryContext row;
	MemoryContext caller;
	CsvParse *state;
	CsvRecord	record;

	feed_check_database_encoding();
	InitMaterializedSRF(fcinfo, 0);
	work = AllocSetContextCreate(CurrentMemoryContext, "CSV parser", ALLOCSET_DEFAULT_SIZES);
	row = AllocSetContextCreate(work, "CSV record", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(work);
	state = palloc0(sizeof(CsvParse));
	state->release.func = release_parser;
	state->release.arg = state;
	MemoryContextRegisterResetCallback(work, &state->release);
	state->result = (ReturnSetInfo *) fcinfo->resultinfo;
	state->options = read_options(PG_GETARG_JSONB_P(1));
	if (state->options.undecided)
		decide_encoding(state, data);
	start_parser(state, data);
	MemoryContextSwitchTo(row);
	while (next_record(state, &record))
	{
		put_record(state, &record);
		MemoryContextReset(row);
	}
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(work);
	return (Datum) 0;
}
