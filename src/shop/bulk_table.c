/*
 * bulk_table.c
 *	  Rows for sync.shopify_bulk_line, many at a time, as COPY inserts them: half a million of them by INSERT would take most of the time
 *	  that a whole shop may take.
 *
 * The table is there already, has an index, and others may read it meanwhile, so rows are ordinary ones and get their index entries.  It
 * has no triggers, and its checks are kept by the code that makes the rows.
 */
#include "shop/bulk_table.h"

#include "access/heapam.h"
#include "access/hio.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "executor/executor.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "compat.h"

#define BATCH_ROWS		500
#define BATCH_MEMORY	((Size) 2 * 1024 * 1024)

/* The columns in the order in which a row's values are made. */
static const char *const columns[] = {"crawl_id", "line", "kind", "owner_id", "parent", "node"};

#define NCOLUMNS		((int) lengthof(columns))

struct BulkTable
{
	Relation	rel;
	int64		crawl_id;
	AttrNumber	attnums[NCOLUMNS];
	EState	   *estate;
	ResultRelInfo *result;
	CommandId	cid;
	BulkInsertState state;
	TupleTableSlot *slots[BATCH_ROWS];
	int			nslots;			/* made so far */
	int			nrows;			/* waiting */
	MemoryContext context;		/* of the waiting rows' values */
};

/* Opens the table for the rows of one reading. */
BulkTable *
bulk_table_open(int64 crawl_id)
{
	BulkTable  *table = palloc0(sizeof(BulkTable));
	Oid			schema = get_namespace_oid("sync", false);
	Oid			oid = get_relname_relid("shopify_bulk_line", schema);

	if (!OidIsValid(oid))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation \"sync.shopify_bulk_line\" does not exist"),
						errhint("SELECT sync_install() makes the tables.")));
	table->crawl_id = crawl_id;
	table->rel = table_open(oid, RowExclusiveLock);
	for (int i = 0; i < NCOLUMNS; i++)
	{
		table->attnums[i] = get_attnum(oid, columns[i]);
		if (table->attnums[i] == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of table \"%s\" does not exist", columns[i], RelationGetRelationName(table->rel))));
	}
	table->estate = CreateExecutorState();
	table->result = makeNode(ResultRelInfo);
	InitResultRelInfo(table->result, table->rel, 0, NULL, 0);
	ExecOpenIndices(table->result, false);
	table->cid = GetCurrentCommandId(true);
	table->state = GetBulkInsertState();
	table->context = AllocSetContextCreate(CurrentMemoryContext, "bulk lines", 0, BATCH_MEMORY / 2, BATCH_MEMORY * 8);
	return table;
}

MemoryContext
bulk_table_context(BulkTable *table)
{
	return table->context;
}

static void
flush(BulkTable *table)
{
	if (table->nrows > 0)
		table_multi_insert(table->rel, table->slots, table->nrows, table->cid, 0, table->state);
	for (int i = 0; i < table->nrows; i++)
	{
		if (table->result->ri_NumIndices > 0)
			ps_insert_index_tuples(table->result, table->slots[i], table->estate);
		ResetPerTupleExprContext(table->estate);
		ExecClearTuple(table->slots[i]);
	}
	table->nrows = 0;
	MemoryContextReset(table->context);
}

static void
set_value(BulkTable *table, TupleTableSlot *slot, int column, Datum value, bool isnull)
{
	slot->tts_values[table->attnums[column] - 1] = value;
	slot->tts_isnull[table->attnums[column] - 1] = isnull;
}

/* Adds a row whose values are in bulk_table_context(), which may have been reset afterwards. */
void
bulk_table_add(BulkTable *table, const BulkLine *line)
{
	MemoryContext caller;
	TupleTableSlot *slot;

	if (table->nrows == table->nslots)
	{
		caller = MemoryContextSwitchTo(GetMemoryChunkContext(table));
		table->slots[table->nslots++] = table_slot_create(table->rel, NULL);
		MemoryContextSwitchTo(caller);
	}
	slot = table->slots[table->nrows++];
	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, sizeof(bool) * slot->tts_tupleDescriptor->natts);
	caller = MemoryContextSwitchTo(table->context);
	set_value(table, slot, 0, Int64GetDatum(table->crawl_id), false);
	set_value(table, slot, 1, Int64GetDatum(line->line), false);
	set_value(table, slot, 2, CStringGetTextDatum(line->kind), false);
	set_value(table, slot, 3, Int64GetDatum(line->owner_id), false);
	set_value(table, slot, 4, PointerGetDatum(line->parent), line->parent == NULL);
	set_value(table, slot, 5, JsonbPGetDatum(line->node), false);
	MemoryContextSwitchTo(caller);
	ExecStoreVirtualTuple(slot);
	if (table->nrows == BATCH_ROWS)
		flush(table);
	else
		bulk_table_relieve(table);
}

/* Writes what waits where it, or what was made and not added, takes much memory. */
void
bulk_table_relieve(BulkTable *table)
{
	if (MemoryContextMemAllocated(table->context, false) >= BATCH_MEMORY)
		flush(table);
}

/* Writes what waits and closes the table; the lock stays to the end of the transaction. */
void
bulk_table_close(BulkTable *table)
{
	flush(table);
	for (int i = 0; i < table->nslots; i++)
		ExecDropSingleTupleTableSlot(table->slots[i]);
	FreeBulkInsertState(table->state);
	table_finish_bulk_insert(table->rel, 0);
	ExecCloseIndices(table->result);
	FreeExecutorState(table->estate);
	table_close(table->rel, NoLock);
}
