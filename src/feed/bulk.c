/*
 * bulk.c
 *	  Inserts the rows of a feed into their partition, many at a time, as COPY does.
 *
 * The partition was made in this transaction and has no index, trigger or constraint to check yet, so rows go in as frozen: no other
 * session can see the table before it is complete, and vacuum never has to write the rows again.
 */
#include "feed/load.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/tuptable.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* Small enough that a batch stays in the processor's cache; its memory is kept from batch to batch. */
#define BATCH_ROWS		500
#define BATCH_BYTES		((size_t) 128 * 1024)
#define BATCH_MEMORY	((size_t) 512 * 1024)

/* The columns in the order in which a row's values are made; sync.feed_item has them under these names. */
static const char *const columns[] = {
	"id", "feed_file_id", "line", "product_no", "kind", "product_key", "sku", "product", "variant", "image"
};

#define NCOLUMNS		((int) lengthof(columns))

struct FeedBulk
{
	Relation	rel;
	int64		feed_file_id;
	AttrNumber	attnums[NCOLUMNS];
	Datum		kinds[FEED_ROW_IMAGE + 1];
	int			options;
	CommandId	cid;
	BulkInsertState state;
	TupleTableSlot *slots[BATCH_ROWS];
	int			nslots;			/* made so far */
	int			nrows;			/* waiting */
	size_t		bytes;
	MemoryContext context;		/* of the waiting rows' values */
};

/* A value of the table's kind column. */
static Datum
kind_value(Oid type, const char *label)
{
	return DirectFunctionCall2(enum_in, CStringGetDatum(label), ObjectIdGetDatum(type));
}

/* Opens a table that was made in this subtransaction. */
FeedBulk *
feed_bulk_open(Oid table, int64 feed_file_id)
{
	FeedBulk   *bulk = palloc0(sizeof(FeedBulk));
	Oid			kind_type;

	bulk->rel = table_open(table, RowExclusiveLock);
	bulk->feed_file_id = feed_file_id;
	if (bulk->rel->rd_createSubid != GetCurrentSubTransactionId())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" was not created by the caller", RelationGetRelationName(bulk->rel))));
	for (int i = 0; i < NCOLUMNS; i++)
	{
		bulk->attnums[i] = get_attnum(table, columns[i]);
		if (bulk->attnums[i] == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of table \"%s\" does not exist", columns[i], RelationGetRelationName(bulk->rel))));
	}
	kind_type = TupleDescAttr(RelationGetDescr(bulk->rel), bulk->attnums[4] - 1)->atttypid;
	bulk->kinds[FEED_ROW_PRODUCT] = kind_value(kind_type, "product");
	bulk->kinds[FEED_ROW_VARIANT] = kind_value(kind_type, "variant");
	bulk->kinds[FEED_ROW_IMAGE] = kind_value(kind_type, "image");
	bulk->options = TABLE_INSERT_SKIP_FSM | TABLE_INSERT_FROZEN;
	bulk->cid = GetCurrentCommandId(true);
	bulk->state = GetBulkInsertState();
	bulk->context = AllocSetContextCreate(CurrentMemoryContext, "feed rows", 0, BATCH_MEMORY, BATCH_MEMORY * 8);
	return bulk;
}

/* Where the values of rows that are to be added live: until the batch is written. */
MemoryContext
feed_bulk_context(FeedBulk *bulk)
{
	return bulk->context;
}

static void
flush(FeedBulk *bulk)
{
	if (bulk->nrows > 0)
		table_multi_insert(bulk->rel, bulk->slots, bulk->nrows, bulk->cid, bulk->options, bulk->state);
	for (int i = 0; i < bulk->nrows; i++)
		ExecClearTuple(bulk->slots[i]);
	bulk->nrows = 0;
	bulk->bytes = 0;
	MemoryContextReset(bulk->context);
}

static void
set_value(FeedBulk *bulk, TupleTableSlot *slot, int column, Datum value, bool isnull)
{
	slot->tts_values[bulk->attnums[column] - 1] = value;
	slot->tts_isnull[bulk->attnums[column] - 1] = isnull;
}

static Datum
cell_value(const FeedCell *cell)
{
	return cell == NULL ? (Datum) 0 : PointerGetDatum(cstring_to_text_with_len(cell->text, (int) cell->len));
}

/*
 * Adds a row whose values are in feed_bulk_context() or outlive this call's batch; "bytes" is about its size.  After the call the
 * context may have been reset.
 */
void
feed_bulk_add(FeedBulk *bulk, const FeedItem *item, size_t bytes)
{
	MemoryContext caller;
	TupleTableSlot *slot;

	if (bulk->nrows == bulk->nslots)
	{
		caller = MemoryContextSwitchTo(GetMemoryChunkContext(bulk));
		bulk->slots[bulk->nslots++] = table_slot_create(bulk->rel, NULL);
		MemoryContextSwitchTo(caller);
	}
	slot = bulk->slots[bulk->nrows++];
	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, sizeof(bool) * slot->tts_tupleDescriptor->natts);
	caller = MemoryContextSwitchTo(bulk->context);
	set_value(bulk, slot, 0, Int64GetDatum(item->id), false);
	set_value(bulk, slot, 1, Int64GetDatum(bulk->feed_file_id), false);
	set_value(bulk, slot, 2, Int64GetDatum(item->line), false);
	set_value(bulk, slot, 3, Int32GetDatum(item->product_no), false);
	set_value(bulk, slot, 4, bulk->kinds[item->kind], false);
	set_value(bulk, slot, 5, cell_value(item->product_key), item->product_key == NULL);
	set_value(bulk, slot, 6, cell_value(item->sku), item->sku == NULL);
	for (int level = 0; level < FEED_LEVELS; level++)
		set_value(bulk, slot, 7 + level, PointerGetDatum(item->documents[level]), item->documents[level] == NULL);
	MemoryContextSwitchTo(caller);
	ExecStoreVirtualTuple(slot);
	bulk->bytes += bytes;
	if (bulk->nrows == BATCH_ROWS || bulk->bytes >= BATCH_BYTES)
		flush(bulk);
}

/* Writes what waits and closes the table; the lock stays to the end of the transaction. */
void
feed_bulk_close(FeedBulk *bulk)
{
	flush(bulk);
	for (int i = 0; i < bulk->nslots; i++)
		ExecDropSingleTupleTableSlot(bulk->slots[i]);
	FreeBulkInsertState(bulk->state);
	table_finish_bulk_insert(bulk->rel, bulk->options);
	table_close(bulk->rel, NoLock);
}
