/*
 * match_columns.c
 *	  Which columns of a table the matcher reads: named by the caller, or recognised by their usual names.
 */
#include "match/match_pg.h"

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "storage/lockdefs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#define MAX_SYNONYMS 8

typedef struct FieldName
{
	const char *name;
	const char *synonyms[MAX_SYNONYMS];
	const char *expression;		/* how the query reads the column, whatever the caller's search_path has */
} FieldName;

/* In the order of match_read_row(); category comes last, is accepted and says nothing yet. */
static const FieldName field_names[] = {
	{"id", {"id"}, "%s::pg_catalog.text"},
	{"sku", {"sku", "item_number"}, "pg_catalog.left(%s::pg_catalog.text, 1024)"},
	{"gtin", {"gtin", "barcode", "upc", "ean"}, "pg_catalog.left(%s::pg_catalog.text, 64)"},
	{"brand", {"brand", "manufacturer", "vendor"}, "pg_catalog.left(%s::pg_catalog.text, 1024)"},
	{"mpn", {"mpn", "modelno", "part_number", "model_number", "manufacturer_part_number", "model"},
	"pg_catalog.left(%s::pg_catalog.text, 1024)"},
	{"title", {"title", "name", "product_name"}, "pg_catalog.left(%s::pg_catalog.text, 1024)"},
	{"description", {"description"}, "pg_catalog.left(%s::pg_catalog.text, 1024)"},
	{"price", {"price", "unit_price"}, "pg_catalog.left(%s::pg_catalog.text, 64)"},
	{"category", {"category"}, NULL},
};

/* The key that names the supplier of the incoming table. */
#define SUPPLIER "supplier"

#define N_FIELDS ((int) lengthof(field_names))

/* The names of a table's columns, for a hint. */
static char *
list_columns(TupleDesc desc)
{
	StringInfoData list;
	int			i;

	initStringInfo(&list);
	for (i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "", NameStr(TupleDescAttr(desc, i)->attname));
	return list.data;
}

static bool
has_column(TupleDesc desc, const char *name)
{
	int			i;

	for (i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped && strcmp(NameStr(TupleDescAttr(desc, i)->attname), name) == 0)
			return true;
	return false;
}

static int
find_field(const char *name, int length)
{
	int			i;

	for (i = 0; i < N_FIELDS; i++)
		if ((int) strlen(field_names[i].name) == length && strncmp(field_names[i].name, name, length) == 0)
			return i;
	return -1;
}

/* Refuses a mapping that is no object of field names and column names. */
static void
check_mapping(Jsonb *columns, bool nested)
{
	JsonbIterator *it;
	JsonbValue	key;
	JsonbValue	value;
	JsonbIteratorToken token;

	if (!JB_ROOT_IS_OBJECT(columns))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"columns\" must be a JSON object of field names and column names"),
				 errhint("For example {\"title\": \"name\"} or {\"incoming\": {\"title\": \"name\"}, \"existing\": {}}.")));
	it = JsonbIteratorInit(&columns->root);
	token = JsonbIteratorNext(&it, &key, false);
	while ((token = JsonbIteratorNext(&it, &key, true)) == WJB_KEY)
	{
		bool		supplier = !nested && key.val.string.len == 8 && strncmp(key.val.string.val, SUPPLIER, 8) == 0;
		bool		side = !nested && ((key.val.string.len == 8 && strncmp(key.val.string.val, "incoming", 8) == 0) ||
									   (key.val.string.len == 8 && strncmp(key.val.string.val, "existing", 8) == 0));

		JsonbIteratorNext(&it, &value, true);
		if (side && value.type == jbvBinary)
		{
			check_mapping(JsonbValueToJsonb(&value), true);
			continue;
		}
		if (!side && !supplier && find_field(key.val.string.val, key.val.string.len) < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"columns\" has an unknown key \"%.*s\"", key.val.string.len, key.val.string.val),
					 errhint("Fields are id, sku, gtin, brand, mpn, title, description, price and category; \"incoming\" and \"existing\" "
							 "hold those of one table, \"supplier\" names whose reviews count.")));
		if (side || (value.type != jbvString && value.type != jbvNull))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"columns\" key \"%.*s\" must have %s as its value", key.val.string.len, key.val.string.val,
							side ? "an object" : supplier ? "a name or null" : "a column name or null")));
	}
}

/* What the caller says of a field: a column name, or NULL with *given set where it is not to be used. */
static char *
mapped_column(Jsonb *columns, const char *field, bool *given)
{
	JsonbValue	buffer;
	JsonbValue *value = getKeyJsonValueFromContainer(&columns->root, field, (int) strlen(field), &buffer);

	*given = value != NULL;
	if (value == NULL || value->type != jbvString)
		return NULL;
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* The column of a field: that of the table's own mapping, of the common one, or one of a usual name; NULL where there is none. */
static const char *
choose_column(Relation relation, const FieldName *field, const char *side, Jsonb *columns)
{
	TupleDesc	desc = RelationGetDescr(relation);
	JsonbValue	buffer;
	JsonbValue *own = getKeyJsonValueFromContainer(&columns->root, side, (int) strlen(side), &buffer);
	const char *name = NULL;
	bool		given = false;
	int			i;

	if (own != NULL)
		name = mapped_column(JsonbValueToJsonb(own), field->name, &given);
	if (!given)
		name = mapped_column(columns, field->name, &given);
	if (given && name != NULL && !has_column(desc, name))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("the %s table \"%s\" has no column \"%s\", which \"columns\" gives for %s",
						side, RelationGetRelationName(relation), name, field->name),
				 errdetail("Its columns are %s.", list_columns(desc))));
	for (i = 0; !given && i < MAX_SYNONYMS && field->synonyms[i] != NULL; i++)
		if (has_column(desc, field->synonyms[i]))
			return field->synonyms[i];
	return name;
}

/*
 * Sets the queries by which the matcher reads a table, and the numbers of its columns.  Refuses a relation without rows, a mapping that is
 * wrong, and a table without an id or without anything to match by.  The lock on the table stays until the transaction ends, as with any
 * query, so its name and columns do not change meanwhile.
 */
void
match_columns_read(MatchSource *source, Oid relation_oid, bool incoming, Jsonb *columns)
{
	const char *side = incoming ? "incoming" : "existing";
	Relation	relation = relation_open(relation_oid, AccessShareLock);
	char		kind = relation->rd_rel->relkind;
	StringInfoData query;
	const char *table;
	bool		usable = false;
	int			i;

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE && kind != RELKIND_VIEW && kind != RELKIND_MATVIEW &&
		kind != RELKIND_FOREIGN_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("the %s \"%s\" is neither a table nor a view", side, RelationGetRelationName(relation))));
	check_mapping(columns, false);
	source->relation = relation_oid;
	initStringInfo(&query);
	appendStringInfoString(&query, "SELECT ");
	for (i = 0; i < MATCH_COLUMNS; i++)
	{
		const FieldName *field = &field_names[i];
		const char *name = choose_column(relation, field, side, columns);

		if (i == 0 && name == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("the %s table \"%s\" has no column \"id\"", side, RelationGetRelationName(relation)),
					 errdetail("Its columns are %s.", list_columns(RelationGetDescr(relation))),
					 errhint("Say which column identifies its rows, for example {\"id\": \"sku\"}.")));
		if (i > 0)
			appendStringInfoString(&query, ", ");
		if (name == NULL)
			appendStringInfoString(&query, "NULL::pg_catalog.text");
		else
			appendStringInfo(&query, field->expression, quote_identifier(name));
		source->columns[i] = name == NULL ? InvalidAttrNumber : get_attnum(relation_oid, name);
		usable |= name != NULL && i > 0 && strcmp(field->name, "brand") != 0 && strcmp(field->name, "price") != 0;
	}
	if (!usable)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("the %s table \"%s\" has nothing to match by", side, RelationGetRelationName(relation)),
				 errdetail("Its columns are %s.", list_columns(RelationGetDescr(relation))),
				 errhint("Name at least one of title, gtin, mpn, sku and description in \"columns\", for example {\"title\": \"name\"}.")));
	table = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)), RelationGetRelationName(relation));
	relation_close(relation, NoLock);
	source->query = psprintf("%s FROM %s", query.data, table);
	source->alone_query = psprintf("%s FROM ONLY %s", query.data, table);
}

/* The supplier that the caller names, or NULL.  The mapping has been checked. */
char *
match_columns_supplier(Jsonb *columns)
{
	bool		given;

	return mapped_column(columns, SUPPLIER, &given);
}
