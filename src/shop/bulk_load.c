/*
 * bulk_load.c
 *	  sync.shopify_bulk_load(): the result of a bulk operation, a JSON object a line, into sync.shopify_bulk_line.
 *
 * A line names its parent, which may itself be a child: levels of stock belong to variants or inventory items.  So a table in memory
 * tells for each product, variant and inventory item which product it is of, and each row has the number of its product.  That is
 * 24 bytes an entry and about three entries a product with one variant.
 *
 * A line that cannot be read is counted and left out; what hangs on it is then left out too.  Only its place and reason are kept, of the
 * first one.  Where the file ends within a line, it is not all there, and the caller is told.
 */
#include "postgres.h"

#include <ctype.h>

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "compat.h"
#include "feed/feed_sql.h"
#include "product_sync.h"
#include "shop/bulk_table.h"
#include "shop/line_reader.h"
#include "shop/node.h"

PG_FUNCTION_INFO_V1(sync_shopify_bulk_load);

#define LONGEST_LINE	((size_t) 16 * 1024 * 1024)
#define SHOWN_BYTES		60		/* of a line in a message */
#define PROGRESS_LINES	1000

/* Which product something is of. */
typedef struct OwnerEntry
{
	uint64		key;			/* kind and number, see owner_key() */
	int64		product;
	char		status;
} OwnerEntry;

#define SH_PREFIX		owners
#define SH_ELEMENT_TYPE	OwnerEntry
#define SH_KEY_TYPE		uint64
#define SH_KEY			key
#define SH_HASH_KEY(tb, key)	((uint32) ((key) * UINT64CONST(0x9E3779B97F4A7C15) >> 32))
#define SH_EQUAL(tb, a, b)	((a) == (b))
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct BulkLoad
{
	BulkTable  *table;
	owners_hash *owners;
	int64		line;			/* number of the line at hand */
	int64		lines;			/* that are not empty */
	int64		products;
	int64		variants;
	int64		rejected;
	bool		truncated;
	char	   *first_reject;
	MemoryContext context;		/* of all this */
} BulkLoad;

/* The word for what a line is, by its gid. */
static const char *
line_kind(const ShopGid *gid)
{
	static const char *const kinds[][2] = {
		{"Product", "product"}, {"ProductVariant", "variant"}, {"InventoryItem", "item"}, {"InventoryLevel", "level"},
		{"Metafield", "metafield"}, {"MediaImage", "media"}, {"Video", "media"}, {"ExternalVideo", "media"}, {"Model3d", "media"}
	};

	for (int i = 0; i < (int) lengthof(kinds); i++)
		if (strcmp(gid->kind, kinds[i][0]) == 0)
			return kinds[i][1];
	return "other";
}

/* The key of something that can be a parent; 0 where it cannot. */
static uint64
owner_key(const ShopGid *gid)
{
	static const char *const kinds[] = {NULL, "Product", "ProductVariant", "InventoryItem"};

	for (int i = 1; i < (int) lengthof(kinds); i++)
		if (strcmp(gid->kind, kinds[i]) == 0)
			return (uint64) gid->number << 2 | i;
	return 0;
}

/* Notes whose child something is; false where that is known already. */
static bool
remember(BulkLoad *load, const ShopGid *gid, int64 product)
{
	OwnerEntry *entry;
	bool		found;

	entry = owners_insert(load->owners, owner_key(gid), &found);
	if (!found)
		entry->product = product;
	return !found;
}

/* Counts a line that is left out. */
static void
reject(BulkLoad *load, const char *line, size_t length, const char *reason)
{
	load->rejected++;
	if (load->first_reject == NULL)
	{
		MemoryContext caller = MemoryContextSwitchTo(load->context);

		load->first_reject = psprintf("line " INT64_FORMAT ": %s: %s", load->line, reason, feed_presentable(line, length, SHOWN_BYTES));
		MemoryContextSwitchTo(caller);
	}
}

/* Finds the product that a line belongs to.  False with *reason where it belongs to none. */
static bool
find_owner(BulkLoad *load, JsonbContainer *node, const ShopGid *gid, BulkLine *row, char **reason)
{
	NodeReader	reader = {.where = "the line"};
	JsonbValue	value;
	ShopGid		parent;
	OwnerEntry *entry = NULL;

	if (node_member(node, "__parentId", &value) == NULL)
	{
		row->owner_id = gid->number;
		*reason = strcmp(gid->kind, "Product") != 0 ? "neither a product nor a part of one" :
			!remember(load, gid, gid->number) ? "the product was there already" : NULL;
		return *reason == NULL;
	}
	if (!node_gid(&reader, node, "__parentId", NULL, &parent))
	{
		*reason = reader.error;
		return false;
	}
	if (owner_key(&parent) != 0)
		entry = owners_lookup(load->owners, owner_key(&parent));
	if (entry == NULL)
	{
		*reason = psprintf("no %s " INT64_FORMAT " before it, or that line was rejected", parent.kind, parent.number);
		return false;
	}
	row->owner_id = entry->product;
	row->parent = cstring_to_text_with_len(value.val.string.val, value.val.string.len);
	if (owner_key(gid) != 0)
		remember(load, gid, row->owner_id);
	return true;
}

/* Notes the inventory item of a variant, since levels of stock may name it as their parent. */
static void
remember_item(BulkLoad *load, JsonbContainer *variant, int64 product)
{
	NodeReader	reader = {.where = "the line"};
	JsonbContainer *item;
	ShopGid		gid;

	if (node_object(&reader, variant, "inventoryItem", &item) && item != NULL && node_gid(&reader, item, "id", "InventoryItem", &gid))
		remember(load, &gid, product);
}

/* Takes one line; false with *reason where it is left out. */
static bool
take_line(BulkLoad *load, const char *line, size_t length, char **reason)
{
	NodeReader	reader = {.where = "the line"};
	BulkLine	row = {.line = load->line};
	ShopGid		gid;

	row.node = shop_json_parse(line, (int) length, reason);
	if (row.node == NULL)
		return false;
	*reason = "no JSON object";
	if (!JB_ROOT_IS_OBJECT(row.node))
		return false;
	if (!node_gid(&reader, &row.node->root, "id", NULL, &gid))
	{
		*reason = reader.error;
		return false;
	}
	if (!find_owner(load, &row.node->root, &gid, &row, reason))
		return false;
	if (strcmp(gid.kind, "ProductVariant") == 0)
		remember_item(load, &row.node->root, row.owner_id);
	load->products += row.parent == NULL;
	load->variants += strcmp(gid.kind, "ProductVariant") == 0;
	row.kind = line_kind(&gid);
	bulk_table_add(load->table, &row);
	return true;
}

static bool
is_blank(const char *line, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (!isspace((unsigned char) line[i]))
			return false;
	return true;
}

/* Takes all lines. */
static void
take_lines(BulkLoad *load, LineReader *reader)
{
	LineResult	result;
	char	   *line;
	size_t		length;

	while ((result = line_reader_next(reader, &line, &length)) != LINE_END)
	{
		MemoryContext caller;
		char	   *reason = "longer than 16 MB";
		bool		good = false;

		load->line++;
		if (load->line == 1 && length >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0)
		{
			line += 3;
			length -= 3;
		}
		if (result != LINE_TOO_LONG && is_blank(line, length))
			continue;
		load->lines++;
		caller = MemoryContextSwitchTo(bulk_table_context(load->table));
		if (result != LINE_TOO_LONG)
			good = take_line(load, line, length, &reason);
		MemoryContextSwitchTo(caller);
		if (!good)
		{
			load->truncated |= result == LINE_UNENDED;
			reject(load, line, result == LINE_TOO_LONG ? 0 : length, reason);
			bulk_table_relieve(load->table);
		}
		if (load->line % PROGRESS_LINES == 0)
			ps_progress_set((uint64) load->products);
	}
}

/* The path of a file in the spool folder; raises an error for what is no plain name. */
static char *
spool_file(text *argument)
{
	char	   *name = text_to_cstring(argument);

	if (name[0] == '.' || name[0] == '\0' || strlen(name) > 200 ||
		strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != strlen(name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s\" is not the name of a file in the spool folder", name)));
	return ps_spool_path(name);
}

/* Fills the columns of the function's result by their names. */
static Datum
describe(FunctionCallInfo fcinfo, const BulkLoad *load, uint64 bytes)
{
	const struct
	{
		const char *name;
		Datum		value;
		bool		isnull;
	}			results[] = {
		{"lines", Int64GetDatum(load->lines), false}, {"products", Int64GetDatum(load->products), false},
		{"variants", Int64GetDatum(load->variants), false}, {"rejected", Int64GetDatum(load->rejected), false},
		{"bytes", Int64GetDatum((int64) bytes), false}, {"truncated", BoolGetDatum(load->truncated), false},
		{"first_reject", load->first_reject == NULL ? (Datum) 0 : CStringGetTextDatum(load->first_reject), load->first_reject == NULL}
	};
	TupleDesc	tupdesc;
	Datum		values[lengthof(results)];
	bool		nulls[lengthof(results)];

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE || tupdesc->natts != (int) lengthof(results))
		elog(ERROR, "sync.shopify_bulk_load must return %d columns", (int) lengthof(results));
	for (int i = 0; i < (int) lengthof(results); i++)
	{
		if (strcmp(NameStr(TupleDescAttr(tupdesc, i)->attname), results[i].name) != 0)
			elog(ERROR, "column %d of sync.shopify_bulk_load must be \"%s\"", i + 1, results[i].name);
		values[i] = results[i].value;
		nulls[i] = results[i].isnull;
	}
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls));
}

/* sync.shopify_bulk_load(crawl_id bigint, file text): counts of what was read. */
Datum
sync_shopify_bulk_load(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext work = AllocSetContextCreate(caller, "bulk load", ALLOCSET_DEFAULT_SIZES);
	BulkLoad   *load;
	LineReader *reader;
	Datum		result;

	MemoryContextSwitchTo(work);
	load = palloc0(sizeof(BulkLoad));
	load->context = work;
	reader = line_reader_open(spool_file(PG_GETARG_TEXT_PP(1)), LONGEST_LINE);
	load->owners = owners_create(work, 1024, NULL);
	load->table = bulk_table_open(PG_GETARG_INT64(0));
	take_lines(load, reader);
	ps_progress_set((uint64) load->products);
	bulk_table_close(load->table);
	line_reader_close(reader);
	MemoryContextSwitchTo(caller);
	result = describe(fcinfo, load, reader->bytes);
	MemoryContextDelete(work);
	return result;
}
