/*
 * product.c
 *	  sync.shopify_document(): a product as Shopify's GraphQL API gives it, in the shape of the mirror.
 *
 * Nodes come from a page of a query or from the lines of a bulk operation, whose children stand beside their parents.  A node that is
 * not as it should be makes the whole product one that cannot be read: half of it would look like a deletion of the rest.
 *
 * Amounts and weights stay decimal throughout.  What is empty is left out.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "compat.h"
#include "shop/node.h"
#include "shop/product.h"

PG_FUNCTION_INFO_V1(ps_shopify_document);
PG_FUNCTION_INFO_V1(ps_shopify_id);

#define MAX_JSON_DEPTH	16		/* of a metafield; deeper ones stay text */

/* Unit of weight: grams in it, exactly. */
static const struct
{
	const char *unit;
	const char *grams;
}			weight_units[] = {
	{"GRAMS", "1"}, {"KILOGRAMS", "1000"}, {"POUNDS", "453.59237"}, {"OUNCES", "28.349523125"}
};

/* Types of metafields whose value is JSON, beside all that begin with "list." */
static const char *const json_types[] = {
	"json", "rich_text_field", "money", "dimension", "volume", "weight", "rating", "link"
};

static bool
text_is(const JsonbValue *value, const char *word)
{
	return value->type == jbvString && (size_t) value->val.string.len == strlen(word) &&
		memcmp(value->val.string.val, word, value->val.string.len) == 0;
}

/* A text in small letters of ASCII. */
static void
lower_text(JsonbValue *value)
{
	char	   *copy = pnstrdup(value->val.string.val, value->val.string.len);

	for (int i = 0; i < value->val.string.len; i++)
		copy[i] = pg_ascii_tolower((unsigned char) copy[i]);
	value->val.string.val = copy;
}

/* Adds a text member of a node under the document's name of it. */
static bool
put_text(NodeReader *reader, JsonbParseState **state, JsonbContainer *node, const char *theirs, const char *ours)
{
	JsonbValue	value;

	if (!node_text(reader, node, theirs, &value))
		return false;
	node_push_filled(state, ours, &value);
	return true;
}

static bool
put_money(NodeReader *reader, JsonbParseState **state, JsonbContainer *node, const char *theirs, const char *ours)
{
	JsonbValue	value;

	if (!node_money(reader, node, theirs, &value))
		return false;
	node_push_filled(state, ours, &value);
	return true;
}

/* The status in our words.  An unlisted product is sold like an active one; that it is unlisted is kept as an attribute. */
static bool
put_status(NodeReader *reader, JsonbParseState **state, JsonbContainer *product, bool *unlisted)
{
	static const char *const known[] = {"active", "draft", "archived", "unlisted"};
	JsonbValue	value;
	bool		good = false;

	*unlisted = false;
	if (!node_text(reader, product, "status", &value))
		return false;
	if (value.type == jbvNull)
		return true;
	lower_text(&value);
	for (int i = 0; i < (int) lengthof(known) && !good; i++)
		good = text_is(&value, known[i]);
	if (!good)
		return node_fault(reader, "status", &value, "status that is known");
	*unlisted = text_is(&value, "unlisted");
	if (*unlisted)
	{
		value.val.string.val = "active";
		value.val.string.len = strlen("active");
	}
	node_push_value(state, "status", &value);
	return true;
}

static bool
put_attributes(NodeReader *reader, JsonbParseState **state, JsonbContainer *product, bool unlisted)
{
	JsonbContainer *seo;

	if (!node_object(reader, product, "seo", &seo))
		return false;
	node_push_key(state, "attributes", strlen("attributes"));
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	if (seo != NULL && (!put_text(reader, state, seo, "title", "seo_title") ||
						!put_text(reader, state, seo, "description", "seo_description")))
		return false;
	if (unlisted)
	{
		JsonbValue	value = {.type = jbvString,.val.string = {.len = strlen("unlisted"),.val = "unlisted"}};

		node_push_value(state, "shopify_status", &value);
	}
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
	return true;
}

static bool
put_tags(NodeReader *reader, JsonbParseState **state, JsonbContainer *product)
{
	JsonbContainer *list;

	if (!node_list(reader, product, "tags", &list))
		return false;
	if (list == NULL || JsonContainerSize(list) == 0)
		return true;
	node_push_key(state, "tags", strlen("tags"));
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (uint32 i = 0; i < JsonContainerSize(list); i++)
	{
		JsonbValue *tag = getIthJsonbValueFromContainer(list, i);

		if (tag->type != jbvString)
			return node_fault(reader, "tags", tag, "list of texts");
		pushJsonbValue(state, WJB_ELEM, tag);
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
	return true;
}

/* Images of the product's media; films and what Shopify is still working on have none. */
static bool
put_images(NodeReader *reader, JsonbParseState **state, const NodeList *media)
{
	node_push_key(state, "images", strlen("images"));
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < media->count; i++)
	{
		JsonbContainer *image;
		JsonbValue	url;
		JsonbValue	alt;

		if (!node_object(reader, media->nodes[i], "image", &image) || !node_text(reader, media->nodes[i], "alt", &alt))
			return false;
		if (image == NULL)
			continue;
		if (!node_text(reader, image, "url", &url) || (alt.type == jbvNull && !node_text(reader, image, "altText", &alt)))
			return false;
		if (url.type == jbvNull || url.val.string.len == 0)
			continue;
		pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
		node_push_value(state, "src", &url);
		node_push_filled(state, "alt", &alt);
		pushJsonbValue(state, WJB_END_OBJECT, NULL);
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
	return true;
}

/* Whether values of this type are JSON. */
static bool
is_json_type(const JsonbValue *type)
{
	if (type->type != jbvString)
		return false;
	for (int i = 0; i < (int) lengthof(json_types); i++)
		if (text_is(type, json_types[i]))
			return true;
	return type->val.string.len > 5 && memcmp(type->val.string.val, "list.", 5) == 0;
}

/* Whether a text looks like an object or a list that is not too deep; brackets in strings count too, which errs on the safe side. */
static bool
is_shallow_json(const JsonbValue *value)
{
	int			depth = 0;

	for (int i = 0; i < value->val.string.len && depth <= MAX_JSON_DEPTH; i++)
	{
		char		c = value->val.string.val[i];

		if (c == '{' || c == '[')
			depth++;
		else if (c == '}' || c == ']')
			depth--;
		else if (depth == 0 && c != ' ' && c != '\t' && c != '\n' && c != '\r')
			return false;
	}
	return depth == 0;
}

/* A metafield's value: JSON where its type says so and it is an object or a list, else its text. */
static void
push_metafield(JsonbParseState **state, JsonbValue *value, const JsonbValue *type)
{
	Jsonb	   *parsed = NULL;
	JsonbValue	item;
	char	   *utf8;
	char	   *message;

	if (is_json_type(type) && is_shallow_json(value))
	{
		utf8 = pg_server_to_any(value->val.string.val, value->val.string.len, PG_UTF8);
		parsed = shop_json_parse(utf8, utf8 == value->val.string.val ? value->val.string.len : (int) strlen(utf8), &message);
	}
	if (parsed == NULL || JB_ROOT_IS_SCALAR(parsed))
		pushJsonbValue(state, WJB_VALUE, value);
	else
	{
		JsonbToJsonbValue(parsed, &item);
		pushJsonbValue(state, WJB_VALUE, &item);
	}
}

static bool
put_metafields(NodeReader *reader, JsonbParseState **state, const NodeList *metafields)
{
	StringInfoData name;

	initStringInfo(&name);
	node_push_key(state, "metafields", strlen("metafields"));
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < metafields->count; i++)
	{
		JsonbContainer *node = metafields->nodes[i];
		JsonbValue	namespace;
		JsonbValue	key;
		JsonbValue	type;
		JsonbValue	value;

		if (!node_text(reader, node, "namespace", &namespace) || !node_text(reader, node, "key", &key) ||
			!node_text(reader, node, "type", &type) || !node_text(reader, node, "value", &value))
			return false;
		if (namespace.type == jbvNull || key.type == jbvNull || key.val.string.len == 0)
			return node_fault(reader, "key of a metafield", &key, "name");
		if (value.type == jbvNull || value.val.string.len == 0)
			continue;
		resetStringInfo(&name);
		appendBinaryStringInfo(&name, namespace.val.string.val, namespace.val.string.len);
		appendStringInfoChar(&name, '.');
		appendBinaryStringInfo(&name, key.val.string.val, key.val.string.len);
		node_push_key(state, pnstrdup(name.data, name.len), name.len);
		push_metafield(state, &value, &type);
	}
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
	return true;
}

/* A variant's options; that of a product without any is no option. */
static bool
put_options(NodeReader *reader, JsonbParseState **state, JsonbContainer *variant)
{
	JsonbContainer *list;
	uint32		count;

	if (!node_list(reader, variant, "selectedOptions", &list))
		return false;
	count = list == NULL ? 0 : JsonContainerSize(list);
	node_push_key(state, "options", strlen("options"));
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	for (uint32 i = 0; i < count; i++)
	{
		JsonbContainer *option = node_element(list, i);
		JsonbValue	name;
		JsonbValue	value;

		if (!node_text(reader, option, "name", &name) || !node_text(reader, option, "value", &value))
			return false;
		if (name.type == jbvNull)
			return node_fault(reader, "name of an option", &name, "text");
		if (value.type == jbvNull || (count == 1 && text_is(&name, "Title") && text_is(&value, "Default Title")))
			continue;
		node_push_key(state, name.val.string.val, name.val.string.len);
		pushJsonbValue(state, WJB_VALUE, &value);
	}
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
	return true;
}

static bool
is_zero(Numeric number)
{
	return DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(number), NumericGetDatum(int64_to_numeric(0))));
}

/* The weight in grams; 0 is what Shopify has where none was given. */
static bool
put_weight(NodeReader *reader, JsonbParseState **state, JsonbContainer *item)
{
	JsonbContainer *measurement;
	JsonbContainer *weight = NULL;
	JsonbValue	value;
	JsonbValue	unit;

	if (!node_object(reader, item, "measurement", &measurement) || !node_object(reader, measurement, "weight", &weight) ||
		!node_money(reader, weight, "value", &value) || !node_text(reader, weight, "unit", &unit))
		return false;
	if (value.type == jbvNull || is_zero(value.val.numeric))
		return true;
	for (int i = 0; i < (int) lengthof(weight_units); i++)
	{
		if (text_is(&unit, weight_units[i].unit))
		{
			Datum		grams = DirectFunctionCall3(numeric_in, CStringGetDatum(weight_units[i].grams), ObjectIdGetDatum(InvalidOid),
													Int32GetDatum(-1));

			grams = DirectFunctionCall2(numeric_mul, NumericGetDatum(value.val.numeric), grams);
			value.val.numeric = DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale, grams));
			node_push_value(state, "weight", &value);
			return true;
		}
	}
	return node_fault(reader, "unit of the weight", &unit, "unit that is known");
}

/* Adds a variant's document under its number. */
static bool
put_variant(NodeReader *reader, JsonbParseState **state, JsonbContainer *variant, const JsonbValue *currency)
{
	JsonbContainer *item;
	JsonbContainer *unit_cost = NULL;
	JsonbValue	cost_currency;

	if (!node_object(reader, variant, "inventoryItem", &item) || !node_object(reader, item, "unitCost", &unit_cost) ||
		!node_text(reader, unit_cost, "currencyCode", &cost_currency))
		return false;
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	if (!put_text(reader, state, variant, "sku", "sku") || !put_text(reader, state, variant, "barcode", "barcode") ||
		!put_money(reader, state, variant, "price", "price") ||
		!put_money(reader, state, variant, "compareAtPrice", "compare_at_price") ||
		!put_money(reader, state, unit_cost, "amount", "cost") || !put_weight(reader, state, item) ||
		!put_options(reader, state, variant))
		return false;
	node_push_filled(state, "currency", currency->type != jbvNull ? (JsonbValue *) currency : &cost_currency);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
	return true;
}

/* Adds what is kept of a variant beside the document. */
static bool
put_info(NodeReader *reader, JsonbParseState **state, JsonbContainer *variant)
{
	JsonbContainer *item;
	JsonbValue	tracked;
	JsonbValue	policy;
	ShopGid		gid;
	int32		position;
	bool		positioned;

	if (!node_object(reader, variant, "inventoryItem", &item) || !node_boolean(reader, item, "tracked", &tracked) ||
		!node_text(reader, variant, "inventoryPolicy", &policy) ||
		!node_integer(reader, variant, "position", &position, &positioned) ||
		(item != NULL && !node_gid(reader, item, "id", "InventoryItem", &gid)))
		return false;
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	if (!put_text(reader, state, variant, "sku", "sku"))
		return false;
	if (item != NULL)
		node_push_number(state, "inventory_item", gid.number);
	node_push_filled(state, "tracked", &tracked);
	if (policy.type != jbvNull)
		lower_text(&policy);
	node_push_filled(state, "policy", &policy);
	if (positioned)
		node_push_number(state, "position", position);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
	return true;
}

/* Adds the variants of the list, by their numbers, as document or as info.  The list may have levels of stock in it. */
static bool
put_variants(NodeReader *reader, JsonbParseState **state, const NodeList *variants, bool info, const JsonbValue *currency)
{
	const char *product = reader->where;
	bool		good = true;

	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < variants->count && good; i++)
	{
		ShopGid		gid;
		char	   *number;

		if (!node_gid(reader, variants->nodes[i], "id", NULL, &gid))
			return false;
		if (strcmp(gid.kind, "InventoryLevel") == 0)
			continue;
		if (!node_gid(reader, variants->nodes[i], "id", "ProductVariant", &gid))
			return false;
		number = psprintf(INT64_FORMAT, gid.number);
		reader->where = psprintf("variant %s of %s", number, product);
		node_push_key(state, number, strlen(number));
		good = info ? put_info(reader, state, variants->nodes[i]) : put_variant(reader, state, variants->nodes[i], currency);
	}
	reader->where = (char *) product;
	return good;
}

static Jsonb *
make_document(NodeReader *reader, const ShopNodes *nodes)
{
	static const char *const texts[][2] = {
		{"handle", "handle"}, {"title", "title"}, {"descriptionHtml", "description"}, {"vendor", "vendor"}, {"productType", "type"}
	};
	JsonbParseState *state = NULL;
	bool		unlisted;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < (int) lengthof(texts); i++)
		if (!put_text(reader, &state, nodes->product, texts[i][0], texts[i][1]))
			return NULL;
	if (!put_status(reader, &state, nodes->product, &unlisted) || !put_attributes(reader, &state, nodes->product, unlisted) ||
		!put_tags(reader, &state, nodes->product) || !put_images(reader, &state, &nodes->media) ||
		!put_metafields(reader, &state, &nodes->metafields))
		return NULL;
	node_push_key(&state, "variants", strlen("variants"));
	if (!put_variants(reader, &state, &nodes->variants, false, &nodes->currency))
		return NULL;
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static Jsonb *
make_info(NodeReader *reader, const ShopNodes *nodes)
{
	JsonbParseState *state = NULL;

	if (!put_variants(reader, &state, &nodes->variants, true, &nodes->currency))
		return NULL;
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Reads an argument of nodes.  False where one is no object. */
static bool
read_list(NodeReader *reader, FunctionCallInfo fcinfo, int argument, const char *name, NodeList *list)
{
	Datum	   *values;
	bool	   *nulls;

	list->count = 0;
	list->nodes = NULL;
	if (PG_ARGISNULL(argument))
		return true;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(argument), JSONBOID, -1, false, TYPALIGN_INT, &values, &nulls, &list->count);
	list->nodes = palloc(sizeof(JsonbContainer *) * Max(list->count, 1));
	for (int i = 0; i < list->count; i++)
	{
		Jsonb	   *node = nulls[i] ? NULL : DatumGetJsonbP(values[i]);

		if (node == NULL || !JB_ROOT_IS_OBJECT(node))
		{
			reader->error = psprintf("element %d of the %s of %s is no object", i + 1, name, reader->where);
			return false;
		}
		list->nodes[i] = &node->root;
	}
	return true;
}

/* Reads the arguments, and says in reader->where which product it is. */
static bool
read_arguments(NodeReader *reader, FunctionCallInfo fcinfo, ShopNodes *nodes)
{
	Jsonb	   *product = PG_ARGISNULL(0) ? NULL : PG_GETARG_JSONB_P(0);
	ShopGid		gid;

	reader->where = "the product";
	if (product == NULL || !JB_ROOT_IS_OBJECT(product))
	{
		reader->error = "the product is no object";
		return false;
	}
	nodes->product = &product->root;
	if (!node_gid(reader, nodes->product, "id", "Product", &gid))
		return false;
	reader->where = psprintf("product " INT64_FORMAT, gid.number);
	nodes->currency.type = jbvNull;
	if (!PG_ARGISNULL(4))
	{
		text	   *currency = PG_GETARG_TEXT_PP(4);

		nodes->currency.type = jbvString;
		nodes->currency.val.string.val = VARDATA_ANY(currency);
		nodes->currency.val.string.len = VARSIZE_ANY_EXHDR(currency);
	}
	return read_list(reader, fcinfo, 1, "variants", &nodes->variants) && read_list(reader, fcinfo, 2, "media", &nodes->media) &&
		read_list(reader, fcinfo, 3, "metafields", &nodes->metafields);
}

/* sync.shopify_document(product, variants, media, metafields, currency): document, variants, stock; or error. */
Datum
ps_shopify_document(PG_FUNCTION_ARGS)
{
	NodeReader	reader = {0};
	ShopNodes	nodes;
	TupleDesc	tupdesc;
	Jsonb	   *made[3] = {0};
	Datum		values[4];
	bool		nulls[4];

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE || tupdesc->natts != 4)
		elog(ERROR, "sync.shopify_document must return four columns");
	if (read_arguments(&reader, fcinfo, &nodes))
	{
		made[0] = make_document(&reader, &nodes);
		made[1] = made[0] == NULL ? NULL : make_info(&reader, &nodes);
		made[2] = made[1] == NULL ? NULL : shop_stock(&reader, &nodes);
	}
	for (int i = 0; i < 3; i++)
	{
		nulls[i] = reader.error != NULL;
		values[i] = nulls[i] ? (Datum) 0 : JsonbPGetDatum(made[i]);
	}
	nulls[3] = reader.error == NULL;
	values[3] = nulls[3] ? (Datum) 0 : CStringGetTextDatum(reader.error);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

/* sync.shopify_id(gid text, kind text): the number in it. */
Datum
ps_shopify_id(PG_FUNCTION_ARGS)
{
	text	   *argument = PG_GETARG_TEXT_PP(0);
	char	   *kind = text_to_cstring(PG_GETARG_TEXT_PP(1));
	ShopGid		gid;

	if (!shop_gid_parse(VARDATA_ANY(argument), VARSIZE_ANY_EXHDR(argument), &gid) || strcmp(gid.kind, kind) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is no gid of kind %s", text_to_cstring(argument), kind),
				 errhint("It looks like gid://shopify/%s/1234567890.", kind)));
	PG_RETURN_INT64(gid.number);
}
