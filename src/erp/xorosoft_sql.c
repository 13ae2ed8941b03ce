/*
 * xorosoft_sql.c
 *	  The reader of Xorosoft's answers, for SQL.
 *
 * sync.xorosoft_envelope(body) says what kind of answer a body is; sync.xorosoft_items(body) and sync.xorosoft_stock_rows(body) give
 * its rows.  jansson's tree is malloc'ed, so it hangs on a callback of the memory context of the call: an error anywhere frees it.
 */
#include "postgres.h"

#include "erp/xorosoft.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(sync_xorosoft_envelope);
PG_FUNCTION_INFO_V1(sync_xorosoft_items);
PG_FUNCTION_INFO_V1(sync_xorosoft_stock_rows);

/* Frees a page when its memory context goes. */
static void
page_release(void *page)
{
	xorosoft_page_free((XorosoftPage *) page);
}

/* Reads the body in argument 0, NULL as an empty one.  The page lives as long as the current memory context. */
static XorosoftPage *
page_from_argument(FunctionCallInfo fcinfo)
{
	XorosoftPage *page = palloc0(sizeof(XorosoftPage));
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));
	bytea	   *body = PG_ARGISNULL(0) ? NULL : PG_GETARG_BYTEA_PP(0);

	callback->func = page_release;
	callback->arg = page;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);

	xorosoft_page_read(body ? VARDATA_ANY(body) : "", body ? VARSIZE_ANY_EXHDR(body) : 0, page);
	if (page->status == XOROSOFT_NO_MEMORY)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("Failed while reading an answer of Xorosoft of %zu bytes.",
						   body ? (size_t) VARSIZE_ANY_EXHDR(body) : (size_t) 0)));
	return page;
}

/* The text in the server's encoding; fails where that has no such character. */
static char *
server_text(const char *utf8)
{
	return pg_any_to_server(utf8, strlen(utf8), PG_UTF8);
}

/*
 * sync.xorosoft_envelope(body bytea) -> (status, message, page, total_pages, row_count).  Fails for want of memory only.
 */
Datum
sync_xorosoft_envelope(PG_FUNCTION_ARGS)
{
	XorosoftPage *page = page_from_argument(fcinfo);
	TupleDesc	tupdesc;
	Datum		values[5];
	bool		nulls[5];

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE || tupdesc->natts != 5)
		elog(ERROR, "sync.xorosoft_envelope must return five columns");
	values[0] = CStringGetTextDatum(xorosoft_status_name(page->status));
	nulls[0] = false;
	nulls[1] = page->message[0] == '\0';
	values[1] = nulls[1] ? (Datum) 0 : CStringGetTextDatum(server_text(page->message));
	nulls[2] = page->page < 0;
	values[2] = Int32GetDatum(page->page);
	nulls[3] = page->total_pages < 0;
	values[3] = Int32GetDatum(page->total_pages);
	nulls[4] = page->rows < 0;
	values[4] = Int32GetDatum((int32) page->rows);
	xorosoft_page_free(page);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

/* Puts the rows of a body of one shape into the result: row_no, the shape's columns, error; then status and total_pages of the page. */
static Datum
return_rows(FunctionCallInfo fcinfo, const XorosoftShape *shape)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	XorosoftPage *page = page_from_argument(fcinfo);
	XorosoftRow *row = palloc(sizeof(XorosoftRow));
	char	   *values[XOROSOFT_MAX_COLUMNS + 4];
	MemoryContext row_context;
	AttInMetadata *metadata;

	InitMaterializedSRF(fcinfo, 0);
	if (rsinfo->setDesc->natts != shape->ncolumns + 4)
		elog(ERROR, "the function for rows of kind \"%s\" must return %d columns", shape->name, shape->ncolumns + 4);
	metadata = TupleDescGetAttInMetadata(rsinfo->setDesc);
	row_context = AllocSetContextCreate(CurrentMemoryContext, "row of Xorosoft", ALLOCSET_SMALL_SIZES);

	for (long i = 0; i < page->rows; i++)
	{
		MemoryContext caller_context = MemoryContextSwitchTo(row_context);

		CHECK_FOR_INTERRUPTS();
		xorosoft_row_read(page, shape, i, row);
		values[0] = psprintf("%ld", i + 1);
		for (int c = 0; c < shape->ncolumns; c++)
			values[c + 1] = row->value[c] ? server_text(row->value[c]) : NULL;
		values[shape->ncolumns + 1] = row->error[0] ? row->error : NULL;
		values[shape->ncolumns + 2] = pstrdup(xorosoft_status_name(page->status));
		values[shape->ncolumns + 3] = page->total_pages < 0 ? NULL : psprintf("%d", page->total_pages);
		tuplestore_puttuple(rsinfo->setResult, BuildTupleFromCStrings(metadata, values));
		MemoryContextSwitchTo(caller_context);
		MemoryContextReset(row_context);
	}
	xorosoft_page_free(page);
	return (Datum) 0;
}

/* sync.xorosoft_items(body bytea): the rows of an answer as items.  Fails for want of memory only. */
Datum
sync_xorosoft_items(PG_FUNCTION_ARGS)
{
	return return_rows(fcinfo, &xorosoft_item_shape);
}

/* sync.xorosoft_stock_rows(body bytea): the rows of an answer as stock, item by store.  Fails for want of memory only. */
Datum
sync_xorosoft_stock_rows(PG_FUNCTION_ARGS)
{
	return return_rows(fcinfo, &xorosoft_stock_shape);
}
