/*
 * node.h
 *	  Reading what Shopify sent, which may be anything: members of a GraphQL node with their types checked.
 *
 * A function that finds something wrong notes it in the reader, in words for a person, and returns false; nothing is raised, so that one
 * product that cannot be read does not hold up the others.
 */
#ifndef SHOP_NODE_H
#define SHOP_NODE_H

#include "postgres.h"

#include "utils/jsonb.h"
#include "utils/numeric.h"

#define SHOP_MAX_KIND	40		/* bytes of a gid's kind, with its NUL */

typedef struct NodeReader
{
	char	   *error;			/* what was wrong first, NULL: nothing */
	char	   *where;			/* the node that is read: "Product 123" */
} NodeReader;

/* The parts of gid://shopify/KIND/NUMBER?inventory_item_id=ITEM. */
typedef struct ShopGid
{
	char		kind[SHOP_MAX_KIND];
	int64		number;
	int64		item;			/* 0: not in it */
} ShopGid;

extern bool shop_gid_parse(const char *text, size_t length, ShopGid *gid);

extern bool node_fault(NodeReader *reader, const char *field, const JsonbValue *value, const char *wanted);
extern JsonbValue *node_member(JsonbContainer *node, const char *name, JsonbValue *value);
extern bool node_text(NodeReader *reader, JsonbContainer *node, const char *name, JsonbValue *value);
extern bool node_object(NodeReader *reader, JsonbContainer *node, const char *name, JsonbContainer **object);
extern bool node_list(NodeReader *reader, JsonbContainer *node, const char *name, JsonbContainer **list);
extern bool node_boolean(NodeReader *reader, JsonbContainer *node, const char *name, JsonbValue *value);
extern bool node_integer(NodeReader *reader, JsonbContainer *node, const char *name, int32 *number, bool *found);
extern bool node_gid(NodeReader *reader, JsonbContainer *node, const char *name, const char *kind, ShopGid *gid);
extern bool node_money(NodeReader *reader, JsonbContainer *node, const char *name, JsonbValue *value);
extern bool node_time(NodeReader *reader, JsonbContainer *node, const char *name, JsonbValue *value);

/* An element of a list as an object, NULL where it is something else. */
extern JsonbContainer *node_element(JsonbContainer *list, uint32 i);

/* Parses JSON text in UTF-8.  NULL with a message where it is none, or PostgreSQL cannot keep it. */
extern Jsonb *shop_json_parse(const char *text, int length, char **message);

/* Adds members to the object that is being made. */
extern void node_push_key(JsonbParseState **state, const char *name, int length);
extern void node_push_value(JsonbParseState **state, const char *name, JsonbValue *value);
extern void node_push_filled(JsonbParseState **state, const char *name, JsonbValue *value);
extern void node_push_number(JsonbParseState **state, const char *name, int64 number);

#endif
