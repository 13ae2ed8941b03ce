/*
 * merge_sql.c
 *	  SQL functions on a product's two sides: what is not agreed on, and whether two values of a field are the same.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "catalog/diff_tree.h"
#include "catalog/merge.h"
#include "compat.h"

PG_FUNCTION_INFO_V1(ps_document_merge);
PG_FUNCTION_INFO_V1(ps_value_equal);

static const DiffValue *
argument_tree(FunctionCallInfo fcinfo, int argument)
{
	return PG_ARGISNULL(argument) ? NULL : diff_tree(PG_GETARG_JSONB_P(argument));
}

/* Writes one field as a row. */
static void
emit_row(void *context, const DiffPath *path, const MergeSides *sides, MergeStatus status)
{
	ReturnSetInfo *set = context;
	Datum		values[5];
	bool		nulls[5] = {0};

	values[0] = PointerGetDatum(diff_path_text(path));
	values[1] = diff_value_datum(sides->base, &nulls[1]);
	values[2] = diff_value_datum(sides->local, &nulls[2]);
	values[3] = diff_value_datum(sides->shop, &nulls[3]);
	values[4] = CStringGetTextDatum(merge_status_name(status));
	tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
}

/* sync.document_merge(base, base_local, local, shop jsonb): the fields that are not agreed on. */
Datum
ps_document_merge(PG_FUNCTION_ARGS)
{
	MergeSides	documents;
	DiffPath	wrong = {0};
	DiffResult	result;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(2) || PG_ARGISNULL(3))
		return (Datum) 0;
	documents.base = argument_tree(fcinfo, 0);
	documents.base_local = argument_tree(fcinfo, 1);
	documents.local = argument_tree(fcinfo, 2);
	documents.shop = argument_tree(fcinfo, 3);
	result = merge_documents(&documents, emit_row, fcinfo->resultinfo, &wrong);
	diff_check(result, &wrong);
	return (Datum) 0;
}

/* sync.value_equal(field text, a jsonb, b jsonb): whether they are the same for a merge. */
Datum
ps_value_equal(PG_FUNCTION_ARGS)
{
	text	   *field;
	size_t		length;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	field = PG_GETARG_TEXT_PP(0);
	length = VARSIZE_ANY_EXHDR(field);
	PG_RETURN_BOOL(merge_equal(merge_kind_of_path(VARDATA_ANY(field), length, palloc(length + 1)),
							   PG_ARGISNULL(1) ? NULL : diff_value_tree(PG_GETARG_JSONB_P(1)),
							   PG_ARGISNULL(2) ? NULL : diff_value_tree(PG_GETARG_JSONB_P(2))));
}
