/*
 * match_sql.c
 *	  sync_gtin(), sync_match() and sync.match_candidates().
 *
 * sync_match() needs an index of the existing table, kept or built.  Then it reads the incoming one in batches, searches, and keeps the
 * best of each row.  Only when all are known can it say which rows claim the same existing item.  Both tables are read by the caller's own
 * rights.
 */
#include "match/match_pg.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(product_sync_gtin);
PG_FUNCTION_INFO_V1(product_sync_match);
PG_FUNCTION_INFO_V1(product_sync_match_candidates);

/* sync_gtin(text): fourteen digits, or NULL. */
Datum
product_sync_gtin(PG_FUNCTION_ARGS)
{
	text	   *code = PG_GETARG_TEXT_PP(0);
	char		digits[GTIN_DIGITS + 1];
	uint64_t	gtin;

	if (!gtin_parse(VARDATA_ANY(code), VARSIZE_ANY_EXHDR(code), &gtin))
		PG_RETURN_NULL();
	gtin_format(gtin, digits);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(digits, GTIN_DIGITS));
}

/* A MatchReceiver: keeps what was found until all is. */
static void
keep_outcome(void *arg, const MatchOwner *owner, const MatchBatch *batch, int item)
{
	(void) owner;
	outcomes_add(arg, &batch->fields[item].id, 0, batch->found + (size_t) item * (size_t) batch->want, batch->n_found[item]);
}

/* Puts the outcomes into the function's result. */
static void
emit_outcomes(ReturnSetInfo *result, const MatchIndex *index, const MatchOutcomes *outcomes, const MatchCalibration *calibration)
{
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext, "match row", ALLOCSET_DEFAULT_SIZES);
	size_t		i;

	for (i = 0; i < outcomes->n; i++)
	{
		const MatchRow *row = &outcomes->rows[i];
		const MatchRowId *row_id = &outcomes->row_ids[i];
		const MatchFound *found = &row->found[row->chosen < 0 ? 0 : row->chosen];
		MemoryContext old;
		Datum		values[5];
		bool		nulls[5] = {false};
		const char *id;
		size_t		length;

		if (!outcome_worth(row))
			continue;
		old = MemoryContextSwitchTo(row_context);
		id = mindex_item_id(index, found->item, &length);
		values[0] = PointerGetDatum(cstring_to_text_with_len(outcomes->ids + row_id->start, (int) row_id->length));
		values[1] = PointerGetDatum(cstring_to_text_with_len(id, (int) length));
		values[2] = Float8GetDatum((double) row->confidence);
		values[3] = CStringGetTextDatum(match_method_name(found));
		values[4] = JsonbPGetDatum(match_evidence(found, outcomes->shares.shift, row->log_odds, calibration, row->shared));
		MemoryContextSwitchTo(old);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		MemoryContextReset(row_context);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextDelete(row_context);
}

/*
 * Lets scans begin at a table's first page, not where another scan happens to be: which of equals is taken follows from the order of
 * the rows, and two runs shall give the same.  Returns what AtEOXact_GUC() takes to undo it.
 */
static int
scan_in_order(void)
{
	int			level = NewGUCNestLevel();

	(void) set_config_option("synchronize_seqscans", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return level;
}

/* Makes an owner with the index of the existing table, and searches it for each row of the incoming one.  SPI is connected. */
static MatchOwner *
match_tables(FunctionCallInfo fcinfo, int want, MatchReceiver receive, void *arg)
{
	MatchOwner *owner = match_owner_create(CurrentMemoryContext);
	Jsonb	   *columns = PG_GETARG_JSONB_P(2);
	MatchSource incoming;
	MatchSource existing;
	int			settings = scan_in_order();
	Portal		portal;

	match_columns_read(&incoming, PG_GETARG_OID(0), true, columns);
	match_columns_read(&existing, PG_GETARG_OID(1), false, columns);
	match_existing_index(owner, &existing);
	portal = SPI_cursor_open_with_args(NULL, incoming.query, 0, NULL, NULL, NULL, true, 0);
	match_search_rows(owner, portal, 1, want, receive, arg);
	SPI_cursor_close(portal);
	AtEOXact_GUC(true, settings);
	return owner;
}

/* sync_match(incoming, existing, columns) */
Datum
product_sync_match(PG_FUNCTION_ARGS)
{
	MatchOwner *owner;
	MatchOutcomes outcomes = {0};
	MatchCalibration calibration;

	InitMaterializedSRF(fcinfo, 0);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	owner = match_tables(fcinfo, MATCH_KEPT, keep_outcome, &outcomes);
	calibration = match_supplier_calibration(match_columns_supplier(PG_GETARG_JSONB_P(2)));
	outcomes_settle(&outcomes, true, &calibration);
	emit_outcomes((ReturnSetInfo *) fcinfo->resultinfo, owner->index, &outcomes, &calibration);
	SPI_finish();				/* and with it the context, and what the owner has */
	return (Datum) 0;
}

/* A MatchReceiver: puts what was found into the function's result. */
static void
emit_candidates(void *arg, const MatchOwner *owner, const MatchBatch *batch, int item)
{
	ReturnSetInfo *result = arg;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "match row", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	const MatchText *row_id = &batch->fields[item].id;
	Datum		values[5];
	bool		nulls[5] = {false};
	int			i;

	values[0] = PointerGetDatum(cstring_to_text_with_len(row_id->data, (int) row_id->length));
	for (i = 0; i < batch->n_found[item]; i++)
	{
		const MatchFound *found = &batch->found[item * batch->want + i];
		size_t		length;
		const char *id = mindex_item_id(owner->index, found->item, &length);

		values[1] = PointerGetDatum(cstring_to_text_with_len(id, (int) length));
		values[2] = Int32GetDatum(i + 1);
		values[3] = Float8GetDatum((double) found->score);
		values[4] = CStringGetTextDatum(match_method_name(found));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* sync.match_candidates(incoming, existing, columns, candidates) */
Datum
product_sync_match_candidates(PG_FUNCTION_ARGS)
{
	int32		candidates = PG_GETARG_INT32(3);

	if (candidates < 1 || candidates > MATCH_CANDIDATES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("candidates must be from 1 to %d, not %d", MATCH_CANDIDATES, candidates)));
	InitMaterializedSRF(fcinfo, 0);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	(void) match_tables(fcinfo, candidates, emit_candidates, fcinfo->resultinfo);
	SPI_finish();
	return (Datum) 0;
}
