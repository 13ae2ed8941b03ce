/*
 * match_item.c
 *	  An item that the caller gives as jsonb.
 */
#include "match/match_pg.h"

#include <math.h>
#include <stdlib.h>

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

typedef struct ItemKey
{
	const char *name;
	size_t		offset;			/* of its MatchText in MatchFields, or SIZE_MAX */
} ItemKey;

static const ItemKey item_keys[] = {
	{"id", offsetof(MatchFields, id)},
	{"sku", offsetof(MatchFields, sku)},
	{"gtin", offsetof(MatchFields, gtin)},
	{"brand", offsetof(MatchFields, brand)},
	{"mpn", offsetof(MatchFields, mpn)},
	{"title", offsetof(MatchFields, title)},
	{"description", offsetof(MatchFields, description)},
	{"price", SIZE_MAX},
	{"category", SIZE_MAX},
};

/* The text of a string or number; other values are refused by the caller. */
static MatchText
value_text(const JsonbValue *value)
{
	MatchText	text = {NULL, 0};

	if (value->type == jbvString)
	{
		text.data = value->val.string.val;
		text.length = (size_t) value->val.string.len;
	}
	else if (value->type == jbvNumeric)
	{
		text.data = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		text.length = strlen(text.data);
	}
	return text;
}

static const ItemKey *
find_key(const JsonbValue *key)
{
	size_t		i;

	for (i = 0; i < lengthof(item_keys); i++)
		if (key->val.string.len == (int) strlen(item_keys[i].name) &&
			memcmp(item_keys[i].name, key->val.string.val, (size_t) key->val.string.len) == 0)
			return &item_keys[i];
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the item has an unknown key \"%.*s\"", key->val.string.len, key->val.string.val),
			 errhint("Keys are id, sku, gtin, brand, mpn, title, description, price and category.")));
	return NULL;
}

/* Reads an item from an object of field names and strings or numbers.  The fields point into it or into the current memory context. */
void
match_read_json(Jsonb *item, MatchFields *fields)
{
	JsonbIterator *it;
	JsonbValue	key;
	JsonbValue	value;

	memset(fields, 0, sizeof(MatchFields));
	if (!JB_ROOT_IS_OBJECT(item))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the item must be a JSON object"),
				 errhint("For example {\"title\": \"Sony DSC-W150 camera\", \"brand\": \"Sony\"}.")));
	it = JsonbIteratorInit(&item->root);
	JsonbIteratorNext(&it, &key, true);
	while (JsonbIteratorNext(&it, &key, true) == WJB_KEY)
	{
		const ItemKey *found = find_key(&key);
		MatchText	text;

		JsonbIteratorNext(&it, &value, true);
		if (value.type != jbvString && value.type != jbvNumeric && value.type != jbvNull)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"%s\" of the item must be a string, a number or null", found->name)));
		text = value_text(&value);
		if (found->offset != SIZE_MAX)
			*(MatchText *) ((char *) fields + found->offset) = found->offset == offsetof(MatchFields, id) ? text : match_utf8(text);
		else if (text.data != NULL && strcmp(found->name, "price") == 0)
			fields->price = match_read_price(text);
	}
}
