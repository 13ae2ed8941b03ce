/*
 * diff_sql.c
 *	  SQL functions on product documents: what differs, one field's value, a document with fields changed.
 *
 * A jsonb is laid out as the tree that diff.h reads.  Strings stay where they are in the jsonb; only nodes and the digits of numbers are
 * allocated, in the caller's memory context.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "catalog/diff_tree.h"

PG_FUNCTION_INFO_V1(ps_document_diff);
PG_FUNCTION_INFO_V1(ps_document_path);
PG_FUNCTION_INFO_V1(ps_path_label);
PG_FUNCTION_INFO_V1(ps_path_target);
PG_FUNCTION_INFO_V1(ps_stock_path);
PG_FUNCTION_INFO_V1(ps_document_get);
PG_FUNCTION_INFO_V1(ps_document_patch);
PG_FUNCTION_INFO_V1(ps_document_patch_all);

static void value_from_container(DiffValue *value, JsonbContainer *container, int depth);

/* Lays out one value of a jsonb; origin stays with the node, so it must live as long. */
static void
value_from_jsonb(DiffValue *value, const JsonbValue *origin, int depth)
{
	value->origin = origin;
	switch (origin->type)
	{
		case jbvNull:
			value->type = DIFF_NULL;
			break;
		case jbvBool:
			value->type = DIFF_BOOLEAN;
			value->boolean = origin->val.boolean;
			break;
		case jbvNumeric:
			value->type = DIFF_NUMBER;
			value->text.data = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(origin->val.numeric)));
			value->text.length = strlen(value->text.data);
			break;
		case jbvString:
			value->type = DIFF_STRING;
			value->text.data = origin->val.string.val;
			value->text.length = origin->val.string.len;
			break;
		case jbvBinary:
			value_from_container(value, origin->val.binary.data, depth);
			break;
		default:
			elog(ERROR, "unexpected jsonb value of type %d", (int) origin->type);
	}
}

/* Lays out an array or object with all that is in it. */
static void
value_from_container(DiffValue *value, JsonbContainer *container, int depth)
{
	JsonbIterator *iterator = JsonbIteratorInit(container);
	JsonbIteratorToken token;
	JsonbValue	head;
	JsonbValue *origins;
	DiffValue  *items;
	DiffText   *keys = NULL;
	size_t		count = JsonContainerSize(container);
	size_t		n = 0;

	check_stack_depth();
	if (depth > DIFF_MAX_DEPTH)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("product document is nested more than %d levels deep", DIFF_MAX_DEPTH)));
	token = JsonbIteratorNext(&iterator, &head, true);
	value->type = token == WJB_BEGIN_OBJECT ? DIFF_OBJECT : DIFF_ARRAY;
	origins = palloc(sizeof(JsonbValue) * (count + 1));	/* the iterator may write behind the last one */
	items = palloc0(sizeof(DiffValue) * Max(count, 1));
	if (value->type == DIFF_OBJECT)
		keys = palloc(sizeof(DiffText) * Max(count, 1));

	while ((token = JsonbIteratorNext(&iterator, &origins[n], true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			keys[n].data = origins[n].val.string.val;
			keys[n].length = origins[n].val.string.len;
		}
		else if (token == WJB_VALUE || token == WJB_ELEM)
		{
			value_from_jsonb(&items[n], &origins[n], depth + 1);
			n++;
		}
		else
			break;
	}
	value->count = count;
	value->keys = keys;
	value->items = items;
}

/* A document as the kernels read it; null where it is no object.  It points into the jsonb. */
DiffValue *
diff_tree(Jsonb *document)
{
	DiffValue  *tree = palloc0(sizeof(DiffValue));

	if (JB_ROOT_IS_OBJECT(document))
		value_from_container(tree, &document->root, 1);
	else
		tree->type = DIFF_NULL;
	return tree;
}

/* Any value as the kernels read it. */
DiffValue *
diff_value_tree(Jsonb *value)
{
	DiffValue  *tree = palloc0(sizeof(DiffValue));
	JsonbValue *scalar = palloc(sizeof(JsonbValue));

	if (!JB_ROOT_IS_SCALAR(value))
		value_from_container(tree, &value->root, 1);
	else if (JsonbExtractScalar(&value->root, scalar))
		value_from_jsonb(tree, scalar, 1);
	return tree;
}

/* A path's name. */
text *
diff_path_text(const DiffPath *path)
{
	size_t		length = diff_path_format(path, NULL, 0);
	text	   *result = palloc(VARHDRSZ + length);

	SET_VARSIZE(result, VARHDRSZ + length);
	diff_path_format(path, VARDATA(result), length);
	return result;
}

/* Reads a path or fails.  The keys point into name, or into memory of their own. */
static void
path_from_text(text *name, DiffPath *path)
{
	size_t		length = VARSIZE_ANY_EXHDR(name);

	if (!diff_path_parse(VARDATA_ANY(name), length, path, palloc(length + 1)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is no path of a product document", text_to_cstring(name)),
				 errhint("Paths look like title, metafields.custom.color, variants[SKU] or variants[SKU].price.")));
}

typedef struct DiffRows
{
	ReturnSetInfo *set;
} DiffRows;

/* A value as jsonb; null where there is none. */
Datum
diff_value_datum(const DiffValue *value, bool *isnull)
{
	*isnull = value == NULL || value->type == DIFF_NULL;
	return *isnull ? (Datum) 0 : JsonbPGetDatum(JsonbValueToJsonb((JsonbValue *) value->origin));
}

/* Writes one difference as a row. */
static void
emit_row(void *context, const DiffPath *path, const DiffValue *old_value, const DiffValue *new_value)
{
	DiffRows   *rows = context;
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	values[0] = PointerGetDatum(diff_path_text(path));
	values[1] = diff_value_datum(old_value, &nulls[1]);
	values[2] = diff_value_datum(new_value, &nulls[2]);
	tuplestore_putvalues(rows->set->setResult, rows->set->setDesc, values, nulls);
}

/* Raises an error for a tree that is not shaped like a document. */
void
diff_check(DiffResult result, const DiffPath *wrong)
{
	if (result == DIFF_NOT_OBJECT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 wrong->count == 0 ? errmsg("product document is not a JSON object") :
				 errmsg("\"%s\" of a product document is not a JSON object", text_to_cstring(diff_path_text(wrong)))));
	if (result == DIFF_BAD_NAME)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("product document has a field \"%s\"", text_to_cstring(diff_path_text(wrong))),
				 errdetail("Names of fields are of small letters, digits and underscores."),
				 errhint("Other names belong into metafields or attributes.")));
}

/* sync.document_diff(old jsonb, new jsonb): the fields at which new differs from old. */
Datum
ps_document_diff(PG_FUNCTION_ARGS)
{
	DiffRows	rows;
	DiffPath	wrong = {0};
	DiffValue  *old_tree = diff_tree(PG_GETARG_JSONB_P(0));
	DiffValue  *new_tree = diff_tree(PG_GETARG_JSONB_P(1));
	DiffResult	result;

	InitMaterializedSRF(fcinfo, 0);
	rows.set = (ReturnSetInfo *) fcinfo->resultinfo;
	result = diff_documents(old_tree, new_tree, emit_row, &rows, &wrong);
	diff_check(result, &wrong);
	return (Datum) 0;
}
/* sync.document_path(path text): its keys. */
Datum
ps_document_path(PG_FUNCTION_ARGS)
{
	DiffPath	path;
	Datum		keys[DIFF_PATH_KEYS];

	path_from_text(PG_GETARG_TEXT_PP(0), &path);
	for (int i = 0; i < path.count; i++)
		keys[i] = PointerGetDatum(cstring_to_text_with_len(path.keys[i].data, (int) path.keys[i].length));
	PG_RETURN_ARRAYTYPE_P(construct_array(keys, path.count, TEXTOID, -1, false, TYPALIGN_INT));
}

static void
append_key(StringInfo out, const DiffPath *path, int key)
{
	appendBinaryStringInfo(out, path->keys[key].data, (int) path->keys[key].length);
}

/* sync.path_label(path text, with_sku boolean): where it leads, in a few words; a variant is named only with_sku. */
Datum
ps_path_label(PG_FUNCTION_ARGS)
{
	DiffPath	path;
	StringInfoData out;

	path_from_text(PG_GETARG_TEXT_PP(0), &path);
	initStringInfo(&out);
	if (path.count == 2 && diff_text_is(path.keys[0], "variants"))
		appendStringInfoString(&out, "variant ");
	append_key(&out, &path, path.count - 1);
	if (path.count > 2 && PG_GETARG_BOOL(1))
	{
		appendStringInfoString(&out, " of ");
		append_key(&out, &path, 1);
	}
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}

/* sync.path_target(path text): the target of a feed's profile that sets this field. */
Datum
ps_path_target(PG_FUNCTION_ARGS)
{
	DiffPath	path;
	StringInfoData out;
	int			first;

	path_from_text(PG_GETARG_TEXT_PP(0), &path);
	initStringInfo(&out);
	first = diff_text_is(path.keys[0], "variants") ? 2 : 0;
	if (path.count == 1 && diff_text_is(path.keys[0], "images"))
		appendStringInfoString(&out, "image.src");
	else
		appendStringInfoString(&out, first == 2 ? "variant" : "product");
	for (int i = first; i < path.count && out.data[0] != 'i'; i++)
	{
		appendStringInfoChar(&out, '.');
		append_key(&out, &path, i);
	}
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}

/* sync.stock_path(sku text, location_id bigint): how the stock of a variant at a location is named. */
Datum
ps_stock_path(PG_FUNCTION_ARGS)
{
	text	   *sku = PG_GETARG_TEXT_PP(0);
	DiffPath	path = {.count = 2, .keys = {{"variants", strlen("variants")}, {VARDATA_ANY(sku), VARSIZE_ANY_EXHDR(sku)}}};
	text	   *variant = diff_path_text(&path);

	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%.*s.stock[" INT64_FORMAT "]", (int) VARSIZE_ANY_EXHDR(variant), VARDATA_ANY(variant),
											  PG_GETARG_INT64(1))));
}

/* sync.document_get(document jsonb, path text): the value there; null where there is none. */
Datum
ps_document_get(PG_FUNCTION_ARGS)
{
	Jsonb	   *document = PG_GETARG_JSONB_P(0);
	JsonbContainer *container = &document->root;
	JsonbValue	found;
	DiffPath	path;

	path_from_text(PG_GETARG_TEXT_PP(1), &path);
	for (int i = 0; i < path.count; i++)
	{
		if (!JsonContainerIsObject(container) ||
			getKeyJsonValueFromContainer(container, path.keys[i].data, (int) path.keys[i].length, &found) == NULL)
			PG_RETURN_NULL();
		if (i + 1 < path.count)
		{
			if (found.type != jbvBinary)
				PG_RETURN_NULL();
			container = found.val.binary.data;
		}
	}
	if (found.type == jbvNull)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(JsonbValueToJsonb(&found));
}

/* Adds a whole value, which may be a container. */
static void
push_value(JsonbParseState **state, Jsonb *value)
{
	JsonbValue	item;

	if (!JB_ROOT_IS_SCALAR(value))
		JsonbToJsonbValue(value, &item);
	else if (!JsonbExtractScalar(&value->root, &item))
		elog(ERROR, "could not read a scalar jsonb");
	pushJsonbValue(state, WJB_VALUE, &item);
}

/*
 * Adds the object in container (empty where NULL) with the value at keys replaced, or its key taken out where value is NULL.  Objects
 * on the way that are missing, or something else, are made.
 */
static JsonbValue *
push_patched(JsonbParseState **state, JsonbContainer *container, const DiffText *keys, int count, Jsonb *value)
{
	JsonbValue	item;
	bool		seen = false;

	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	if (container != NULL && JsonContainerIsObject(container))
	{
		JsonbIterator *iterator = JsonbIteratorInit(container);
		JsonbIteratorToken token;

		JsonbIteratorNext(&iterator, &item, true);
		while ((token = JsonbIteratorNext(&iterator, &item, true)) == WJB_KEY)
		{
			JsonbValue	key = item;
			bool		here = !seen && (size_t) key.val.string.len == keys[0].length &&
				memcmp(key.val.string.val, keys[0].data, keys[0].length) == 0;

			JsonbIteratorNext(&iterator, &item, true);
			seen |= here;
			if (here && count == 1 && value == NULL)
				continue;
			pushJsonbValue(state, WJB_KEY, &key);
			if (!here)
				pushJsonbValue(state, WJB_VALUE, &item);
			else if (count == 1)
				push_value(state, value);
			else
				push_patched(state, item.type == jbvBinary ? item.val.binary.data : NULL, keys + 1, count - 1, value);
		}
	}
	if (!seen && value != NULL)
	{
		item.type = jbvString;
		item.val.string.val = (char *) keys[0].data;
		item.val.string.len = (int) keys[0].length;
		pushJsonbValue(state, WJB_KEY, &item);
		if (count == 1)
			push_value(state, value);
		else
			push_patched(state, NULL, keys + 1, count - 1, value);
	}
	return pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* A value to be set; NULL where it says that the field is to go. */
static Jsonb *
wanted_value(Jsonb *value)
{
	JsonbValue	scalar;

	if (JB_ROOT_IS_SCALAR(value) && JsonbExtractScalar(&value->root, &scalar) && scalar.type == jbvNull)
		return NULL;
	return value;
}

static Jsonb *
patch(Jsonb *document, text *name, Jsonb *value)
{
	JsonbParseState *state = NULL;
	DiffPath	path;

	if (!JB_ROOT_IS_OBJECT(document))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("product document is not a JSON object")));
	path_from_text(name, &path);
	return JsonbValueToJsonb(push_patched(&state, &document->root, path.keys, path.count, value));
}

/* sync.document_patch(document jsonb, path text, value jsonb): the document with this value there; a null takes the field out. */
Datum
ps_document_patch(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(patch(PG_GETARG_JSONB_P(0), PG_GETARG_TEXT_PP(1),
							PG_ARGISNULL(2) ? NULL : wanted_value(PG_GETARG_JSONB_P(2))));
}

/* sync.document_patch_all(document jsonb, paths text[], new_values jsonb[]): all of them, one after another. */
Datum
ps_document_patch_all(PG_FUNCTION_ARGS)
{
	Jsonb	   *document = PG_GETARG_JSONB_P(0);
	Datum	   *paths;
	Datum	   *values;
	bool	   *path_nulls;
	bool	   *value_nulls;
	int			path_count;
	int			value_count;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &paths, &path_nulls, &path_count);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(2), JSONBOID, -1, false, TYPALIGN_INT, &values, &value_nulls, &value_count);
	if (path_count != value_count)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("%d paths but %d values", path_count, value_count)));
	for (int i = 0; i < path_count; i++)
	{
		if (path_nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("path %d is null", i + 1)));
		document = patch(document, DatumGetTextPP(paths[i]),
						 value_nulls[i] ? NULL : wanted_value(DatumGetJsonbP(values[i])));
	}
	PG_RETURN_JSONB_P(document);
}
