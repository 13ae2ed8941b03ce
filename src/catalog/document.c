/*
 * document.c
 *	  sync.document_from_rows(): a product of the catalogue as a document (docs/architecture.md §5), from its row and its variants' rows.
 *
 * Every merge and every version reads products this way, thousands in a statement, and what jsonb_build_object() needs for the same is
 * some ten times as long.  The tables are the user's: columns are found by their names, whatever their order, and one whose type is
 * another is refused.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/typcache.h"

#include "compat.h"

PG_FUNCTION_INFO_V1(ps_document_from_rows);

#define MAX_COLUMNS		10

typedef struct Column
{
	const char *name;
	Oid			type;			/* InvalidOid: an enum */
} Column;

/* Which columns a document is made of, and where they are in the rows of this query. */
typedef struct Shape
{
	const Column *columns;
	int			ncolumns;
	const char *key;			/* of a map of these: the column that is its key */
	TupleDesc	desc;			/* NULL: no row was seen yet */
	uint64		version;		/* of the row type: ALTER TABLE makes another one of it */
	int			places[MAX_COLUMNS];	/* from 0 on */
	int			key_place;
	FmgrInfo	enum_out;
	Datum	   *values;			/* of the row at hand */
	bool	   *isnull;
} Shape;

static const Column product_columns[] = {
	{"handle", TEXTOID}, {"title", TEXTOID}, {"description", TEXTOID}, {"vendor", TEXTOID}, {"type", TEXTOID}, {"status", InvalidOid},
	{"tags", TEXTARRAYOID}, {"images", JSONBOID}, {"metafields", JSONBOID}, {"attributes", JSONBOID}
};

static const Column variant_columns[] = {
	{"barcode", TEXTOID}, {"mpn", TEXTOID}, {"price", NUMERICOID}, {"compare_at_price", NUMERICOID}, {"cost", NUMERICOID},
	{"currency", TEXTOID}, {"weight", NUMERICOID}, {"options", JSONBOID}, {"attributes", JSONBOID}
};

typedef struct Shapes
{
	Shape		product;
	Shape		variant;
} Shapes;

/* The place of a column, whose type must be as given. */
static int
find_column(TupleDesc desc, const char *name, Oid type)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (attribute->attisdropped || strcmp(NameStr(attribute->attname), name) != 0)
			continue;
		if (OidIsValid(type) ? attribute->atttypid != type : !type_is_enum(attribute->atttypid))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of a product or variant is of type %s", name, format_type_be(attribute->atttypid)),
					 errhint("It has to be as sync_install() made it.")));
		return i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("a product or variant has no column \"%s\"", name),
			 errhint("It has to be as sync_install() made it.")));
}

/* Learns where the columns are in rows of this type. */
static void
learn_shape(Shape *shape, Oid type, int32 typmod, MemoryContext context)
{
	MemoryContext caller = MemoryContextSwitchTo(context);
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(type, typmod);

	shape->desc = NULL;			/* until all is known */
	for (int i = 0; i < shape->ncolumns; i++)
	{
		const Column *column = &shape->columns[i];
		Oid			output;
		bool		varlena;

		shape->places[i] = find_column(desc, column->name, column->type);
		if (OidIsValid(column->type))
			continue;
		getTypeOutputInfo(TupleDescAttr(desc, shape->places[i])->atttypid, &output, &varlena);
		fmgr_info_cxt(output, &shape->enum_out, context);
	}
	if (shape->key != NULL)
		shape->key_place = find_column(desc, shape->key, TEXTOID);
	shape->values = palloc(sizeof(Datum) * desc->natts);
	shape->isnull = palloc(sizeof(bool) * desc->natts);
	shape->version = assign_record_type_identifier(type, typmod);
	shape->desc = desc;
	MemoryContextSwitchTo(caller);
}

/* Takes a row apart. */
static void
open_row(Shape *shape, Datum row, MemoryContext context)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(row);
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(header),.t_data = header};
	Oid			type = HeapTupleHeaderGetTypeId(header);
	int32		typmod = HeapTupleHeaderGetTypMod(header);

	ItemPointerSetInvalid(&tuple.t_self);
	if (shape->desc == NULL || shape->version != assign_record_type_identifier(type, typmod))
		learn_shape(shape, type, typmod, context);
	heap_deform_tuple(&tuple, shape->desc, shape->values, shape->isnull);
}

static JsonbValue
text_value(Datum datum)
{
	text	   *value = DatumGetTextPP(datum);

	return (JsonbValue) {.type = jbvString,.val.string = {.len = (int) VARSIZE_ANY_EXHDR(value),.val = VARDATA_ANY(value)}};
}

static JsonbValue
word_value(char *word)
{
	return (JsonbValue) {.type = jbvString,.val.string = {.len = (int) strlen(word),.val = word}};
}

/* A number without the zeros at its end.  What is no number in JSON is a text. */
static JsonbValue
number_value(Datum datum)
{
	Numeric		value = DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale, datum));

	if (numeric_is_nan(value) || numeric_is_inf(value))
		return word_value(DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value))));
	return (JsonbValue) {.type = jbvNumeric,.val.numeric = value};
}

static void
push_tags(JsonbParseState **state, Datum datum)
{
	Datum	   *tags;
	bool	   *isnull;
	int			count;

	deconstruct_array(DatumGetArrayTypeP(datum), TEXTOID, -1, false, TYPALIGN_INT, &tags, &isnull, &count);
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < count; i++)
	{
		JsonbValue	tag = isnull[i] ? (JsonbValue) {.type = jbvNull} : text_value(tags[i]);

		pushJsonbValue(state, WJB_ELEM, &tag);
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

/* Adds the fields of the row at hand, those that are null left out. */
static void
push_fields(JsonbParseState **state, Shape *shape)
{
	for (int i = 0; i < shape->ncolumns; i++)
	{
		const Column *column = &shape->columns[i];
		Datum		datum = shape->values[shape->places[i]];
		JsonbValue	value;

		if (shape->isnull[shape->places[i]])
			continue;
		value = word_value(unconstify(char *, column->name));
		pushJsonbValue(state, WJB_KEY, &value);
		if (column->type == TEXTARRAYOID)
		{
			push_tags(state, datum);
			continue;
		}
		if (column->type == TEXTOID)
			value = text_value(datum);
		else if (column->type == NUMERICOID)
			value = number_value(datum);
		else if (column->type == JSONBOID)
		{
			Jsonb	   *jsonb = DatumGetJsonbP(datum);

			value = (JsonbValue) {.type = jbvBinary,.val.binary = {.len = (int) (VARSIZE(jsonb) - VARHDRSZ),.data = &jsonb->root}};
		}
		else
			value = word_value(OutputFunctionCall(&shape->enum_out, datum));
		pushJsonbValue(state, WJB_VALUE, &value);
	}
}

/* Adds the map of variants, by SKU. */
static void
push_variants(JsonbParseState **state, Shape *shape, ArrayType *variants, MemoryContext context)
{
	JsonbValue	name = word_value("variants");
	Datum	   *rows;
	bool	   *isnull;
	int			count = 0;

	if (variants != NULL)
		deconstruct_array(variants, ARR_ELEMTYPE(variants), -1, false, TYPALIGN_DOUBLE, &rows, &isnull, &count);
	pushJsonbValue(state, WJB_KEY, &name);
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < count; i++)
	{
		JsonbValue	sku;

		if (isnull[i])
			continue;
		open_row(shape, rows[i], context);
		if (shape->isnull[shape->key_place])
			continue;
		sku = text_value(shape->values[shape->key_place]);
		pushJsonbValue(state, WJB_KEY, &sku);
		pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
		push_fields(state, shape);
		pushJsonbValue(state, WJB_END_OBJECT, NULL);
	}
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* sync.document_from_rows(product record, variants anyarray): the document; NULL without a product. */
Datum
ps_document_from_rows(PG_FUNCTION_ARGS)
{
	MemoryContext context = fcinfo->flinfo->fn_mcxt;
	Shapes	   *shapes = fcinfo->flinfo->fn_extra;
	JsonbParseState *state = NULL;
	ArrayType  *variants = PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1);

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (variants != NULL && !type_is_rowtype(ARR_ELEMTYPE(variants)))
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH), errmsg("variants must be an array of rows, not of type %s",
																  format_type_be(ARR_ELEMTYPE(variants)))));
	if (shapes == NULL)
	{
		shapes = MemoryContextAllocZero(context, sizeof(Shapes));
		shapes->product = (Shape) {.columns = product_columns,.ncolumns = lengthof(product_columns)};
		shapes->variant = (Shape) {.columns = variant_columns,.ncolumns = lengthof(variant_columns),.key = "sku"};
		fcinfo->flinfo->fn_extra = shapes;
	}
	open_row(&shapes->product, PG_GETARG_DATUM(0), context);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_fields(&state, &shapes->product);
	push_variants(&state, &shapes->variant, variants, context);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}
