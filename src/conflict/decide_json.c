/*
 * decide_json.c
 *	  Facts, rules and values of the decision tree, read from jsonb.  Texts stay where they are in it.
 *
 * What a context may hold is the table fact_keys; docs/conflicts.md tells what each key means.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "catalog/diff_tree.h"
#include "conflict/decide_json.h"
#include "conflict/moment.h"

static DiffText
string_text(const JsonbValue *value)
{
	return (DiffText) {value->val.string.val, (size_t) value->val.string.len};
}

static DiffText
numeric_text(Numeric number)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));

	return (DiffText) {text, strlen(text)};
}

/* Reads one value; what is nothing for fields of this kind is null. */
DiffValue
decide_value_read(Jsonb *value, MergeKind kind)
{
	static const DiffValue nothing = {.type = DIFF_NULL};
	const DiffValue *tree = diff_value_tree(value);

	return merge_equal(kind, tree, NULL) ? nothing : *tree;
}

/* Facts ------------------------------------------------------------------------------------------------------------------------ */

typedef enum FactKind
{
	FACT_TEXT, FACT_ANSWER, FACT_TIME, FACT_VALUE, FACT_LIMIT, FACT_OF, FACT_RULES
} FactKind;

#define FACT(name, kind, field) {name, kind, offsetof(DecideFacts, field)}

static const struct FactKey
{
	const char *name;
	FactKind	kind;
	size_t		offset;
}			fact_keys[] = {
	FACT("agreed", FACT_ANSWER, agreed),
	FACT("approved_price", FACT_VALUE, approved_price),
	FACT("base_local", FACT_VALUE, base_local),
	FACT("currency", FACT_TEXT, currency),
	FACT("delta_merge", FACT_ANSWER, override_delta_merge),
	FACT("description_share", FACT_LIMIT, override.share),
	FACT("erp_seen_at", FACT_TIME, erp_seen_at),
	FACT("etilize_updated", FACT_ANSWER, etilize_updated),
	FACT("inventory_units", FACT_LIMIT, override.units),
	FACT("last_pushed", FACT_VALUE, last_pushed),
	FACT("local_compare_at", FACT_VALUE, local_compare_at),
	FACT("local_currency", FACT_TEXT, local_currency),
	FACT("local_price_list", FACT_TEXT, local_price_list),
	FACT("local_tax_included", FACT_ANSWER, local_tax_included),
	FACT("locked", FACT_ANSWER, locked),
	FACT("manual_edit", FACT_ANSWER, manual_edit),
	FACT("max_age_hours", FACT_LIMIT, override.max_age),
	FACT("now", FACT_TIME, now),
	FACT("partial", FACT_ANSWER, partial),
	FACT("policy", FACT_TEXT, policy),
	FACT("price_absolute", FACT_LIMIT, override.absolute),
	FACT("price_cumulative_percent", FACT_LIMIT, override.cumulative),
	FACT("price_of", FACT_OF, override.of),
	FACT("price_percent", FACT_LIMIT, override.percent),
	{"rules", FACT_RULES, 0},
	FACT("scheduled_sale", FACT_ANSWER, scheduled_sale),
	FACT("shopify_changed_at", FACT_TIME, shopify_changed_at),
	FACT("shopify_compare_at", FACT_VALUE, shopify_compare_at),
	FACT("shopify_currency", FACT_TEXT, shopify_currency),
	FACT("shopify_order_at", FACT_TIME, shopify_order_at),
	FACT("shopify_price_list", FACT_TEXT, shopify_price_list),
	FACT("shopify_seen_at", FACT_TIME, shopify_seen_at),
	FACT("shopify_tax_included", FACT_ANSWER, shopify_tax_included),
	FACT("tracked", FACT_ANSWER, tracked),
	FACT("type", FACT_TEXT, product_type),
	FACT("vendor", FACT_TEXT, vendor),
	FACT("wait_for_erp", FACT_ANSWER, override_wait_for_erp),
	FACT("was_set", FACT_ANSWER, was_set)
};

static const char *const of_names[] = {"smaller", "larger", "local", "shopify"};

static char *
copied(DiffText text)
{
	return pnstrdup(text.data, text.length);
}

static void
refuse(const char *where, DiffText key, const char *wanted)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" of %s is not %s", copied(key), where, wanted)));
}

/* A limit: a number of at most 10000. */
static Decimal
read_limit(const JsonbValue *value, const char *where, DiffText key)
{
	Decimal		number;
	DiffText	text;

	if (value->type != jbvNumeric)
		refuse(where, key, "a number");
	text = numeric_text(value->val.numeric);
	if (!decimal_parse(text.data, text.length, &number) || number < 0 || number > DECIMAL(10000))
		refuse(where, key, "a number from 0 to 10000 with up to 9 digits behind the point");
	return number;
}

static bool
read_boolean(const JsonbValue *value, const char *where, DiffText key)
{
	if (value->type != jbvBool)
		refuse(where, key, "true or false");
	return value->val.boolean;
}

static DecidePriceOf
read_of(const JsonbValue *value, const char *where, DiffText key)
{
	if (value->type == jbvString)
		for (int i = 0; i < (int) lengthof(of_names); i++)
			if (diff_text_is(string_text(value), of_names[i]))
				return (DecidePriceOf) i;
	refuse(where, key, "smaller, larger, local or shopify");
	return OF_SMALLER;
}

static void
read_fact(DecideFacts *facts, const struct FactKey *fact, DiffText key, const JsonbValue *value, MergeKind kind)
{
	static const char where[] = "the context";
	char	   *field = (char *) facts + fact->offset;

	switch (fact->kind)
	{
		case FACT_TEXT:
			if (value->type != jbvString)
				refuse(where, key, "a text");
			*(DiffText *) field = string_text(value);
			break;
		case FACT_ANSWER:
			*(DecideAnswer *) field = read_boolean(value, where, key) ? YES : NO;
			/* override and what stands behind it put something over the limits. */
			facts->overrides |= fact->offset >= offsetof(DecideFacts, override);
			break;
		case FACT_TIME:
			if (value->type != jbvString ||
				!moment_parse(value->val.string.val, (size_t) value->val.string.len, &((DecideTime *) field)->at))
				refuse(where, key, "a time such as 2026-11-24T15:00:00Z");
			((DecideTime *) field)->known = true;
			break;
		case FACT_VALUE:
			*(DiffValue *) field = decide_value_read(JsonbValueToJsonb((JsonbValue *) value), kind);
			break;
		case FACT_LIMIT:
			*(Decimal *) field = read_limit(value, where, key);
			facts->overrides = true;
			break;
		case FACT_OF:
			facts->override.of = read_of(value, where, key);
			facts->override_of = true;
			facts->overrides = true;
			break;
		case FACT_RULES:
			break;
	}
}

static const struct FactKey *
find_fact(DiffText key)
{
	int			low = 0;
	int			high = lengthof(fact_keys);

	while (low < high)
	{
		int			middle = (low + high) / 2;
		size_t		length = strlen(fact_keys[middle].name);
		int			order = memcmp(fact_keys[middle].name, key.data, Min(length, key.length));

		if (order == 0 && length == key.length)
			return &fact_keys[middle];
		if (order < 0 || (order == 0 && length < key.length))
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* Fills *out from an object of facts; null is not known.  strict: unknown keys are refused.  Returns what "rules" holds, or NULL. */
Jsonb *
decide_facts_read(Jsonb *facts, MergeKind kind, bool strict, DecideFacts *out)
{
	JsonbIterator *iterator;
	JsonbValue	item;
	Jsonb	   *rules = NULL;

	*out = decide_no_facts;
	out->override = (DecideLimits) {DECIDE_NONE, OF_SMALLER, DECIDE_NONE, DECIDE_NONE, DECIDE_NONE, false, false, DECIDE_NONE, DECIDE_NONE};
	if (!JB_ROOT_IS_OBJECT(facts))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the context is not a JSON object")));
	iterator = JsonbIteratorInit(&facts->root);
	JsonbIteratorNext(&iterator, &item, true);
	while (JsonbIteratorNext(&iterator, &item, true) == WJB_KEY)
	{
		DiffText	key = string_text(&item);
		const struct FactKey *fact = find_fact(key);

		if (fact == NULL && strict)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the context has an unknown key \"%s\"", copied(key)),
					 errhint("docs/conflicts.md lists what a context may hold.")));
		JsonbIteratorNext(&iterator, &item, true);
		if (fact == NULL || item.type == jbvNull)
			continue;
		if (fact->kind == FACT_RULES)
			rules = JsonbValueToJsonb(&item);
		else
			read_fact(out, fact, key, &item, kind);
	}
	return rules;
}

/* Rules ------------------------------------------------------------------------------------------------------------------------ */

static const char *const action_names[] = {"threshold", "max_age", "prefer_shopify", "prefer_local", "prefer_etilize", "manual"};

/* Reads one parameter of a rule; false where its action has none of this name. */
static bool
read_parameter(DecideRule *rule, DiffText key, const JsonbValue *value, const char *where)
{
	DecideLimits *limits = &rule->limits;
	DecideClass class = decide_class(rule->field);
	bool		price = rule->action == ACTION_THRESHOLD && class == CLASS_PRICE;
	bool		stock = rule->action == ACTION_THRESHOLD && class == CLASS_INVENTORY;

	if (price && diff_text_is(key, "percent"))
		limits->percent = read_limit(value, where, key);
	else if (price && diff_text_is(key, "of"))
		limits->of = read_of(value, where, key);
	else if (price && diff_text_is(key, "absolute"))
		limits->absolute = value->type == jbvNull ? DECIDE_NONE : read_limit(value, where, key);
	else if (price && diff_text_is(key, "cumulative_percent"))
		limits->cumulative = value->type == jbvNull ? DECIDE_NONE : read_limit(value, where, key);
	else if (stock && diff_text_is(key, "units"))
		limits->units = read_limit(value, where, key);
	else if (stock && diff_text_is(key, "delta_merge"))
		limits->delta_merge = read_boolean(value, where, key);
	else if (stock && diff_text_is(key, "wait_for_erp"))
		limits->wait_for_erp = read_boolean(value, where, key);
	else if (rule->action == ACTION_THRESHOLD && class == CLASS_DESCRIPTION && diff_text_is(key, "share"))
	{
		limits->share = read_limit(value, where, key);
		if (limits->share > DECIMAL_ONE)
			refuse(where, key, "a share from 0 to 1");
	}
	else if (rule->action == ACTION_MAX_AGE && diff_text_is(key, "hours"))
		limits->max_age = read_limit(value, where, key);
	else
		return false;
	return true;
}

static void
read_parameters(DecideRule *rule, const JsonbValue *object, const char *where)
{
	JsonbIterator *iterator;
	JsonbValue	item;

	if (object->type != jbvBinary || !JsonContainerIsObject(object->val.binary.data))
		refuse(where, (DiffText) {"parameters", 10}, "a JSON object");
	iterator = JsonbIteratorInit(object->val.binary.data);
	JsonbIteratorNext(&iterator, &item, true);
	while (JsonbIteratorNext(&iterator, &item, true) == WJB_KEY)
	{
		DiffText	key = string_text(&item);

		JsonbIteratorNext(&iterator, &item, true);
		if (!read_parameter(rule, key, &item, where))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s has an unknown parameter \"%s\"", where, copied(key)),
					 errhint("A threshold of price has percent, of, absolute, cumulative_percent; of inventory units, delta_merge, "
							 "wait_for_erp; of description share; max_age has hours; the other actions have none.")));
	}
}

/* A text of a rule; NULL data where it is null or missing. */
static DiffText
read_text(JsonbContainer *object, const char *name, bool wanted, const char *where)
{
	JsonbValue	value;
	DiffText	none = {NULL, 0};

	if (getKeyJsonValueFromContainer(object, name, (int) strlen(name), &value) == NULL || value.type == jbvNull)
		value.type = jbvNull;
	else if (value.type != jbvString || value.val.string.len == 0)
		refuse(where, (DiffText) {name, strlen(name)}, "a text");
	if (value.type != jbvNull)
		return string_text(&value);
	if (wanted)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s has no %s", where, name)));
	return none;
}

static void
read_action(DecideRule *rule, DiffText action, const char *where)
{
	DecideClass class = decide_class(rule->field);

	for (int i = 0; i < (int) lengthof(action_names); i++)
	{
		if (!diff_text_is(action, action_names[i]))
			continue;
		rule->action = (DecideAction) i;
		if (rule->action == ACTION_THRESHOLD && class != CLASS_PRICE && class != CLASS_INVENTORY && class != CLASS_DESCRIPTION)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s is a threshold of \"%s\", which has none", where, copied(rule->field)),
					 errhint("Thresholds are of price, compare_at_price, inventory and description.")));
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s has an unknown action \"%s\"", where, copied(action)),
			 errhint("Actions are threshold, max_age, prefer_shopify, prefer_local, prefer_etilize and manual.")));
}

static void
read_rule(DecideRule *rule, const JsonbValue *item)
{
	JsonbContainer *object;
	JsonbValue	value;
	char	   *where;

	if (item->type != jbvBinary || !JsonContainerIsObject(item->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a rule is not a JSON object")));
	object = item->val.binary.data;
	memset(rule, 0, sizeof(DecideRule));
	rule->limits = decide_shipped;
	rule->name = read_text(object, "name", true, "a rule");
	where = psprintf("rule \"%s\"", copied(rule->name));
	rule->field = read_text(object, "field", true, where);
	rule->vendor = read_text(object, "vendor", false, where);
	rule->product_type = read_text(object, "product_type", false, where);
	rule->of_connection = read_text(object, "connection", false, where).data != NULL;
	read_action(rule, read_text(object, "action", true, where), where);
	if (getKeyJsonValueFromContainer(object, "priority", 8, &value) != NULL && value.type != jbvNull)
	{
		if (value.type != jbvNumeric)
			refuse(where, (DiffText) {"priority", 8}, "a whole number");
		rule->priority = DatumGetInt32(DirectFunctionCall1(numeric_int4, NumericGetDatum(value.val.numeric)));
	}
	if (getKeyJsonValueFromContainer(object, "parameters", 10, &value) != NULL && value.type != jbvNull)
		read_parameters(rule, &value, where);
}

/* Reads rules as sync.decision_rules() gives them.  Their texts point into rules. */
DecideRules *
decide_rules_read(Jsonb *rules)
{
	DecideRules *read = palloc(sizeof(DecideRules));
	JsonbIterator *iterator;
	JsonbValue	item;
	DecideRule *list;

	if (!JB_ROOT_IS_ARRAY(rules) || JB_ROOT_IS_SCALAR(rules))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the rules are not a JSON array"),
				 errhint("sync.decision_rules() gives those of a connection.")));
	list = palloc(sizeof(DecideRule) * Max(JB_ROOT_COUNT(rules), 1));
	read->count = 0;
	read->rules = list;
	iterator = JsonbIteratorInit(&rules->root);
	JsonbIteratorNext(&iterator, &item, true);
	while (JsonbIteratorNext(&iterator, &item, true) == WJB_ELEM)
		read_rule(&list[read->count++], &item);
	return read;
}
