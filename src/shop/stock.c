/*
 * stock.c
 *	  The stock of a product's variants, from the levels that stand within their inventory items or, as lines of a bulk operation, beside
 *	  them: {"ITEM": {"LOCATION": {"available": n, "updated_at": time}}}.
 *
 * An item is in it with all its levels, or not at all: not where the levels were not asked for.  A line of a bulk operation has its
 * parent's gid in "__parentId", the variant's or the item's.
 */
#include "shop/product.h"

#include "utils/builtins.h"

/* A level and the item that it is of, or an item alone. */
typedef struct Level
{
	int64		item;
	JsonbContainer *node;		/* NULL: says only that all levels of the item are there */
} Level;

typedef struct Levels
{
	Level	   *levels;
	int			count;
	int			room;
} Levels;

static void
add(Levels *levels, int64 item, JsonbContainer *node)
{
	if (levels->count == levels->room)
	{
		levels->room *= 2;
		levels->levels = repalloc(levels->levels, sizeof(Level) * levels->room);
	}
	levels->levels[levels->count++] = (Level) {item, node};
}

static int
by_item(const void *a, const void *b)
{
	int64		x = ((const Level *) a)->item;
	int64		y = ((const Level *) b)->item;

	return x < y ? -1 : x > y;
}

/* The variants' inventory items, by the variants' numbers. */
static int64
item_of_variant(const ShopNodes *nodes, int64 number)
{
	NodeReader	quiet = {.where = ""};

	for (int i = 0; i < nodes->variants.count; i++)
	{
		JsonbContainer *item;
		ShopGid		gid;

		if (node_gid(&quiet, nodes->variants.nodes[i], "id", "ProductVariant", &gid) && gid.number == number &&
			node_object(&quiet, nodes->variants.nodes[i], "inventoryItem", &item) && item != NULL &&
			node_gid(&quiet, item, "id", "InventoryItem", &gid))
			return gid.number;
	}
	return 0;
}

/* Takes a line that is a level of stock. */
static bool
add_line(NodeReader *reader, const ShopNodes *nodes, JsonbContainer *node, Levels *levels)
{
	JsonbValue	value;
	ShopGid		gid;

	if (!node_gid(reader, node, "id", "InventoryLevel", &gid))
		return false;
	if (gid.item == 0)
	{
		if (!node_gid(reader, node, "__parentId", NULL, &gid))
			return false;
		gid.item = strcmp(gid.kind, "InventoryItem") == 0 ? gid.number :
			strcmp(gid.kind, "ProductVariant") == 0 ? item_of_variant(nodes, gid.number) : 0;
	}
	if (gid.item == 0)
		return node_fault(reader, "__parentId of a level of stock", node_member(node, "__parentId", &value), "item of this product");
	add(levels, gid.item, node);
	return true;
}

/* Takes the levels within a variant. */
static bool
add_variant(NodeReader *reader, JsonbContainer *variant, Levels *levels)
{
	JsonbContainer *item;
	JsonbContainer *connection;
	JsonbContainer *list;
	JsonbValue	parent;
	ShopGid		gid;

	if (!node_object(reader, variant, "inventoryItem", &item))
		return false;
	if (item == NULL)
		return true;
	if (!node_gid(reader, item, "id", "InventoryItem", &gid) || !node_object(reader, item, "inventoryLevels", &connection))
		return false;
	if (connection == NULL)
	{
		if (node_member(variant, "__parentId", &parent) != NULL)
			add(levels, gid.number, NULL);
		return true;
	}
	if (!node_list(reader, connection, "nodes", &list))
		return false;
	add(levels, gid.number, NULL);
	for (uint32 i = 0; list != NULL && i < JsonContainerSize(list); i++)
	{
		JsonbContainer *node = node_element(list, i);

		if (node == NULL)
			return node_fault(reader, "inventoryLevels", getIthJsonbValueFromContainer(list, i), "list of objects");
		add(levels, gid.number, node);
	}
	return true;
}

/* Finds what is available, and since when that is so. */
static bool
read_quantity(NodeReader *reader, JsonbContainer *level, JsonbParseState **state)
{
	JsonbContainer *list;
	JsonbValue	at;
	int32		available = 0;
	bool		found = false;

	if (!node_time(reader, level, "updatedAt", &at) || !node_list(reader, level, "quantities", &list))
		return false;
	for (uint32 i = 0; list != NULL && i < JsonContainerSize(list) && !found; i++)
	{
		JsonbContainer *quantity = node_element(list, i);
		JsonbValue	name;
		JsonbValue	quantity_at;

		if (!node_text(reader, quantity, "name", &name))
			return false;
		if (name.type != jbvString || name.val.string.len != strlen("available") || memcmp(name.val.string.val, "available", 9) != 0)
			continue;
		if (!node_integer(reader, quantity, "quantity", &available, &found) || !node_time(reader, quantity, "updatedAt", &quantity_at))
			return false;
		if (quantity_at.type != jbvNull)
			at = quantity_at;
	}
	if (found)
		node_push_number(state, "available", available);
	node_push_filled(state, "updated_at", &at);
	return true;
}

static bool
put_level(NodeReader *reader, JsonbContainer *level, JsonbParseState **state)
{
	char	   *product = reader->where;
	JsonbContainer *location;
	ShopGid		gid;
	char	   *number;

	reader->where = psprintf("a level of stock of %s", product);
	if (!node_object(reader, level, "location", &location) || !node_gid(reader, location, "id", "Location", &gid))
		return false;
	number = psprintf(INT64_FORMAT, gid.number);
	node_push_key(state, number, strlen(number));
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	if (!read_quantity(reader, level, state))
		return false;
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
	reader->where = product;
	return true;
}

Jsonb *
shop_stock(NodeReader *reader, const ShopNodes *nodes)
{
	Levels		levels = {palloc(sizeof(Level) * 16), 0, 16};
	JsonbParseState *state = NULL;

	for (int i = 0; i < nodes->variants.count; i++)
	{
		ShopGid		gid;

		if (!node_gid(reader, nodes->variants.nodes[i], "id", NULL, &gid))
			return NULL;
		if (strcmp(gid.kind, "InventoryLevel") == 0 ? !add_line(reader, nodes, nodes->variants.nodes[i], &levels) :
			!add_variant(reader, nodes->variants.nodes[i], &levels))
			return NULL;
	}
	qsort(levels.levels, levels.count, sizeof(Level), by_item);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < levels.count; i++)
	{
		if (i == 0 || levels.levels[i].item != levels.levels[i - 1].item)
		{
			char	   *number = psprintf(INT64_FORMAT, levels.levels[i].item);

			if (i > 0)
				pushJsonbValue(&state, WJB_END_OBJECT, NULL);
			node_push_key(&state, number, strlen(number));
			pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		}
		if (levels.levels[i].node != NULL && !put_level(reader, levels.levels[i].node, &state))
			return NULL;
	}
	if (levels.count > 0)
		pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}
