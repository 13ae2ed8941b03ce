/*
 * load.c
 *	  sync.feed_fill(): the feed's zip file into a new partition of sync.feed_item.
 *
 * One pass: a thread unpacks and hashes (reader.c), this process parses (csv.c), checks each record, builds its documents (row.c) and
 * inserts (bulk.c).  What is left of the work, indexes and attaching, is sync.work_feed_load()'s, in SQL.
 *
 * Rows of one product share product_no.  Its first row, the one with a title, comes first; rows of other variants and of further images
 * follow and are known by the grouping key, or by their place where they have none.  A row without its product row is rejected, or a
 * product would be half there.  A feed without a title column (a price list) has variants only; there each key is a product.
 *
 * libzip's and the parser's memory is malloc'd and freed by a callback of the memory context, whatever happens.
 */
#include "feed/load.h"

#include "executor/spi.h"
#include "feed/encoding.h"
#include "feed/feed_sql.h"
#include "feed/reader.h"
#include "feed/seen.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "product_sync.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/memutils.h"

#define WAIT_MS			100		/* between looks for interrupts while the reader has nothing */
#define RECORD_FIELDS	4		/* longest record, in longest fields */
#define RECORD_NO_BITS	32

PG_FUNCTION_INFO_V1(product_sync_feed_fill);

typedef struct FeedLoad
{
	int64		id;
	FeedProfile *profile;
	bool		windows1252;
	bool		undecided;		/* encoding auto, and no byte order mark: records vote (encoding.h) */
	int64		votes_utf8;
	int64		votes_windows1252;

	Archive    *archive;		/* until the reader has taken it over */
	Reader	   *reader;
	CsvParser  *csv;
	char	  **header;			/* NULL: not read yet */
	int			nheader;

	FeedRow    *row;
	FeedBulk   *bulk;
	FeedRejects *rejects;
	SeenTable  *skus;			/* SKU: line */
	SeenTable  *keys;			/* grouping key: product_no */
	uint64	   *key_entry;		/* in keys, of the record at hand */
	int64		records;
	int64		items;
	int32		products;
	int32		present;		/* product_no of the last product row, 0: it was rejected, or there was none */
	MemoryContextCallback release;
} FeedLoad;

/* Frees what is not palloc'd. */
static void
release_load(void *arg)
{
	FeedLoad   *load = arg;

	if (load->reader != NULL)
		reader_stop(load->reader);
	else
		archive_close(load->archive);
	csv_free(load->csv);
}

/* The names of the columns, from the first record. */
static void
read_header(FeedLoad *load, const CsvRecord *record)
{
	if (record->error != CSV_OK)
		ereport(ERROR,
				(errcode(ERRCODE_FEED_HEADER),
				 errmsg("header of the feed cannot be read: %s", csv_error_text(record->error)),
				 errdetail("It is on line " UINT64_FORMAT ": %s", record->line, feed_presentable(record->raw, record->raw_len, 200))));
	if (csv_had_bom(load->csv))
		load->undecided = load->windows1252 = false;
	if (utf8_valid_prefix(record->raw, record->raw_len) != record->raw_len && !load->windows1252 && !load->undecided)
		ereport(ERROR,
				(errcode(ERRCODE_FEED_HEADER),
				 errmsg("header of the feed is not valid UTF-8"),
				 errdetail("Line " UINT64_FORMAT ": %s", record->line, feed_presentable(record->raw, record->raw_len, 200))));
	load->nheader = (int) record->nfields;
	load->header = palloc(sizeof(char *) * load->nheader);
	for (int i = 0; i < load->nheader; i++)
	{
		const CsvField *field = &record->fields[i];
		char	   *name = palloc(field->len * UTF8_PER_WINDOWS1252 + 1);
		size_t		len = field->len;
		size_t		bad;

		/* While undecided, a header that is not UTF-8 can only be Windows-1252. */
		if (utf8_valid_prefix(field->data, field->len) == field->len)
			memcpy(name, field->data, len);
		else if (!windows1252_to_utf8(field->data, field->len, name, &len, &bad))
			ereport(ERROR,
					(errcode(ERRCODE_FEED_HEADER),
					 errmsg("header of the feed is neither valid UTF-8 nor Windows-1252"),
					 errdetail("Column %d: %s", i + 1, feed_presentable(field->data, field->len, 200))));
		name[len] = '\0';
		load->header[i] = name;
	}
	feed_profile_apply(load->profile, load->header, load->nheader);
	csv_expect_fields(load->csv, load->nheader);
	load->row = feed_row_create(load->profile);
}

/* Fills a fault with what the parser found. */
static void
parser_fault(const FeedLoad *load, const CsvRecord *record, FeedFault *fault)
{
	memset(fault, 0, sizeof(*fault));
	if (record->error_field > 0 && record->error_field <= (uint32_t) load->nheader)
		fault->header = load->header[record->error_field - 1];
	fault->reason = csv_error_text(record->error);
	if (record->error_line != record->line)
		fault->reason = psprintf("%s, opened on line " UINT64_FORMAT, fault->reason, record->error_line);
}

/* Whether a record is in the feed's encoding, as far as UTF-8 goes; records that are not ASCII vote. */
static bool
check_encoding(FeedLoad *load, const CsvRecord *record, FeedFault *fault)
{
	size_t		good;

	if (load->windows1252 || text_is_ascii(record->raw, record->raw_len))
		return true;
	good = utf8_valid_prefix(record->raw, record->raw_len);
	if (good == record->raw_len)
	{
		load->votes_utf8++;
		return true;
	}
	if (windows1252_plausible(record->raw, record->raw_len))
		load->votes_windows1252++;
	else
		load->votes_utf8++;
	memset(fault, 0, sizeof(*fault));
	for (uint32_t i = 0; i < record->nfields; i++)
	{
		const CsvField *field = &record->fields[i];

		if (utf8_valid_prefix(field->data, field->len) != field->len)
		{
			fault->header = i < (uint32_t) load->nheader ? load->header[i] : NULL;
			fault->value = field->data;
			fault->value_len = field->len;
			break;
		}
	}
	fault->reason = psprintf("not valid UTF-8: byte 0x%02x at offset %zu of the record", (unsigned char) record->raw[good], good);
	return false;
}

/* The cell of a slot, NULL when it is empty or not in the header. */
static const FeedCell *
cell_of(const FeedLoad *load, int slot)
{
	return slot >= 0 && load->row->cells[slot].len > 0 ? &load->row->cells[slot] : NULL;
}

static bool
fail(FeedFault *fault, const FeedLoad *load, int slot, const char *reason)
{
	const FeedCell *cell = cell_of(load, slot);

	memset(fault, 0, sizeof(*fault));
	for (int i = 0; i < load->nheader && fault->header == NULL; i++)
	{
		if (slot >= 0 && load->profile->columns[i].slot == slot)
			fault->header = load->header[cell != NULL ? cell->column : i];
	}
	if (cell != NULL)
	{
		fault->value = cell->text;
		fault->value_len = cell->len;
	}
	fault->reason = reason;
	return false;
}

/* Says what kind of row it is and which product it belongs to; product_no 0: a new one.  False with *fault when it belongs nowhere. */
static bool
classify(FeedLoad *load, FeedItem *item, FeedFault *fault)
{
	const FeedProfile *profile = load->profile;
	bool		titled = cell_of(load, profile->title) != NULL;
	bool		found;

	item->product_key = cell_of(load, profile->group);
	item->sku = cell_of(load, profile->sku);
	item->kind = titled ? FEED_ROW_PRODUCT : item->sku != NULL ? FEED_ROW_VARIANT : FEED_ROW_IMAGE;
	if (titled && item->sku == NULL)
		return fail(fault, load, profile->sku, "missing SKU");
	if (item->product_key != NULL)
	{
		load->key_entry = seen_lookup(load->keys, item->product_key->text, item->product_key->len, &found);
		item->product_no = (int32) *load->key_entry;
	}
	else if (!titled && profile->title >= 0)
		item->product_no = load->present;
	if (titled && item->product_no != 0)
		item->kind = FEED_ROW_VARIANT;	/* a feed that repeats the title for each variant */
	if (item->product_no == 0 && !titled && (item->kind == FEED_ROW_IMAGE || profile->title >= 0))
		return fail(fault, load, profile->group, "no product row before it has this key, or that row was rejected");
	return true;
}

/* Whether a record says something of its product beside the key. */
static bool
has_product_cells(const FeedLoad *load)
{
	for (int i = 0; i < load->profile->nslots; i++)
	{
		if (load->profile->slots[i].level == FEED_PRODUCT && i != load->profile->group && load->row->cells[i].len > 0)
			return true;
	}
	return false;
}

/* Makes the documents of a row.  False with *fault when a value is wrong. */
static bool
make_documents(FeedLoad *load, FeedItem *item, FeedFault *fault)
{
	FeedRow    *row = load->row;

	if (item->kind == FEED_ROW_PRODUCT || item->product_no == 0 || item->product_no != load->present)
		feed_row_keep_options(row);
	if (item->kind != FEED_ROW_IMAGE && (item->kind == FEED_ROW_PRODUCT || has_product_cells(load)) &&
		!feed_row_document(row, FEED_PRODUCT, &item->documents[FEED_PRODUCT], fault))
		return false;
	if (item->kind != FEED_ROW_IMAGE && !feed_row_document(row, FEED_VARIANT, &item->documents[FEED_VARIANT], fault))
		return false;
	if (!feed_row_document(row, FEED_IMAGE, &item->documents[FEED_IMAGE], fault))
		return false;
	if (item->kind == FEED_ROW_IMAGE && item->documents[FEED_IMAGE] == NULL)
		return fail(fault, load, -1, "neither title, SKU nor image");
	return true;
}

/* Gives a good row its numbers.  False with *fault when its SKU is there already. */
static bool
number_row(FeedLoad *load, FeedItem *item, FeedFault *fault)
{
	bool		found;

	if (item->sku != NULL)
	{
		uint64	   *line = seen_lookup(load->skus, item->sku->text, item->sku->len, &found);

		if (*line != 0)
			return fail(fault, load, load->profile->sku, psprintf("duplicate SKU, first on line " UINT64_FORMAT, *line));
		*line = (uint64) item->line;
	}
	if (item->product_no == 0)
	{
		if (load->products == PG_INT32_MAX)
			ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("the feed has too many products")));
		item->product_no = ++load->products;
		if (item->product_key != NULL)
			*load->key_entry = (uint64) item->product_no;
	}
	return true;
}

/* A record after the header: into the table or to the rejects. */
static void
take_record(FeedLoad *load, const CsvRecord *record)
{
	MemoryContext caller = MemoryContextSwitchTo(feed_bulk_context(load->bulk));
	FeedItem	item = {0};
	FeedFault	fault;
	bool		read = false;
	bool		good = false;

	if (++load->records >= (INT64CONST(1) << RECORD_NO_BITS))
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("the feed has too many records")));
	item.id = (load->id << RECORD_NO_BITS) + load->records;
	item.line = (int64) record->line;
	if (record->error != CSV_OK)
		parser_fault(load, record, &fault);
	else if (check_encoding(load, record, &fault))
	{
		good = read = feed_row_read(load->row, record, load->windows1252, &fault);
		if (good && load->row->blank)
		{
			load->records--;	/* a line of nothing but delimiters, as spreadsheets leave them */
			MemoryContextSwitchTo(caller);
			return;
		}
		good = good && classify(load, &item, &fault) && make_documents(load, &item, &fault) && number_row(load, &item, &fault);
	}
	MemoryContextSwitchTo(caller);
	if (good)
	{
		if (item.kind != FEED_ROW_IMAGE)
			load->present = item.product_no;
		load->items++;
		feed_bulk_add(load->bulk, &item, record->raw_len);
		return;
	}
	/* Rows that follow without a key belong to nothing now, unless this was but an image. */
	if (!read || item.kind != FEED_ROW_IMAGE)
		load->present = 0;
	feed_rejects_add(load->rejects, record, read ? cell_of(load, load->profile->sku) : NULL, &fault);
}

/* Takes all records that the parser has; true at the end of input. */
static bool
take_records(FeedLoad *load)
{
	CsvRecord	record;
	CsvResult	result;

	while ((result = csv_next(load->csv, &record)) == CSV_RECORD)
	{
		if (load->header == NULL)
			read_header(load, &record);
		else
			take_record(load, &record);
	}
	if (result == CSV_NO_MEMORY)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"), errdetail("Failed while parsing a feed.")));
	return result == CSV_END;
}

/* Raises an error for a CSV in UTF-16, which would look like NUL bytes throughout. */
static void
check_not_utf16(const char *data, size_t len)
{
	if (len >= 2 && (memcmp(data, "\xff\xfe", 2) == 0 || memcmp(data, "\xfe\xff", 2) == 0))
		ereport(ERROR,
				(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
				 errmsg("the feed's CSV is in UTF-16"),
				 errhint("The supplier has to write it in UTF-8 or Windows-1252.")));
}

/* Moves everything from the reader through the parser into the table. */
static void
pump(FeedLoad *load)
{
	bool		first = true;

	for (;;)
	{
		const char *data;
		size_t		len;
		ReaderResult result = reader_take(load->reader, &data, &len, WAIT_MS);

		CHECK_FOR_INTERRUPTS();
		if (result == READER_WAIT)
			continue;
		if (result == READER_ERROR)
			feed_archive_error(reader_error(load->reader), load->id);
		if (result == READER_END)
			break;
		if (first)
			check_not_utf16(data, len);
		first = false;
		if (!csv_push(load->csv, data, len))
			ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"), errdetail("Failed while parsing a feed.")));
		reader_release(load->reader);
		take_records(load);
		ps_progress_set((uint64) load->records);
	}
	csv_finish(load->csv);
	if (!take_records(load))
		elog(ERROR, "the feed's parser did not come to an end");
	if (load->header == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEED_HEADER),
				 errmsg("the feed's CSV is empty"),
				 errdetail("It has no header.")));
}

/* Opens archive, thread and parser. */
static void
open_load(FeedLoad *load)
{
	CsvOptions	options = csv_default_options();

	options.delimiter = load->profile->delimiter;
	options.max_field = (size_t) ps_feed_max_field_kilobytes * 1024;
	options.max_record = options.max_field * RECORD_FIELDS;
	load->release.func = release_load;
	load->release.arg = load;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &load->release);
	load->csv = csv_create(&options);
	if (load->csv == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("feed profile \"%s\" has a delimiter that cannot be used", load->profile->name)));
	load->archive = feed_archive_open(load->id);
	load->reader = reader_start(load->archive);
	if (load->reader == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start a thread to unpack the feed")));
}

/* What came out, for sync.work_feed_load(). */
static Datum
describe(const FeedLoad *load)
{
	StringInfoData out;
	const unsigned char *hash = reader_hash(load->reader);
	uint64		size;
	uint32		crc;
	bool		again = load->undecided && load->votes_windows1252 > load->votes_utf8;

	initStringInfo(&out);
	appendStringInfo(&out, "{\"again\": %s, \"encoding\": \"%s\", \"records\": " INT64_FORMAT ", \"items\": " INT64_FORMAT
					 ", \"products\": %d, \"rejected\": " INT64_FORMAT ", \"sha256\": \"",
					 again ? "true" : "false", again || load->windows1252 ? "windows-1252" : "utf-8",
					 load->records, load->items, load->products, feed_rejects_count(load->rejects));
	for (int i = 0; i < ARCHIVE_HASH_BYTES; i++)
		appendStringInfo(&out, "%02x", hash[i]);
	appendStringInfoString(&out, "\", \"member\": ");
	escape_json(&out, archive_member(load->archive));
	if (archive_claims(load->archive, &size, &crc))
		appendStringInfo(&out, ", \"size\": " UINT64_FORMAT ", \"crc\": %u", size, crc);
	appendStringInfoString(&out, ", \"header\": [");
	for (int i = 0; i < load->nheader; i++)
	{
		if (i > 0)
			appendStringInfoString(&out, ", ");
		escape_json(&out, load->header[i]);
	}
	appendStringInfoString(&out, "], \"mapped\": [");
	for (int i = 0; i < load->profile->nslots; i++)
	{
		if (i > 0)
			appendStringInfoString(&out, ", ");
		escape_json(&out, load->profile->slots[i].target);
	}
	appendStringInfoString(&out, "]}");
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(out.data));
}

/*
 * sync.feed_fill(feed_file_id bigint, target regclass, profile text, encoding text) returns jsonb: counts, hash, member and header.
 * "again": the records say that the encoding is another, "encoding"; the target is to be made anew and filled with that.
 */
Datum
product_sync_feed_fill(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(caller, "feed load", ALLOCSET_DEFAULT_SIZES);
	FeedLoad   *load;
	const char *encoding;
	Datum		result;

	feed_check_database_encoding();
	SPI_connect();
	MemoryContextSwitchTo(work);
	load = palloc0(sizeof(FeedLoad));
	load->id = PG_GETARG_INT64(0);
	load->profile = feed_profile_read(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	encoding = text_to_cstring(PG_GETARG_TEXT_PP(3));
	load->windows1252 = strcmp(encoding, "windows-1252") == 0;
	load->undecided = strcmp(encoding, "auto") == 0;
	load->skus = seen_create();
	load->keys = seen_create();
	load->rejects = feed_rejects_create(load->id);
	load->bulk = feed_bulk_open(PG_GETARG_OID(1), load->id);
	open_load(load);
	pump(load);
	feed_bulk_close(load->bulk);
	feed_rejects_flush(load->rejects);
	MemoryContextSwitchTo(caller);
	result = describe(load);
	MemoryContextDelete(work);
	SPI_finish();
	return result;
}
