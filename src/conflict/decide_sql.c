/*
 * decide_sql.c
 *	  The decision tree in SQL: sync_decide(), sync_merge(), sync.decide_field(), sync.decide_merge(), and sync.rule_check().
 *
 * One entry decides; the functions differ in where base, rules and facts come from.  Rules that stay the same from call to call are read
 * once in a statement.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "conflict/decide_json.h"

PG_FUNCTION_INFO_V1(ps_decide);
PG_FUNCTION_INFO_V1(ps_merge);
PG_FUNCTION_INFO_V1(ps_decide_field);
PG_FUNCTION_INFO_V1(ps_decide_merge);
PG_FUNCTION_INFO_V1(ps_field_class);
PG_FUNCTION_INFO_V1(ps_rule_check);

/* What a call leaves for the next one of its statement. */
typedef struct DecideCache
{
	TupleDesc	columns;
	Jsonb	   *source;			/* the rules that were read, a copy */
	DecideRules *rules;
	MemoryContext context;		/* of source and rules */
} DecideCache;

static DecideCache *
get_cache(FunctionCallInfo fcinfo)
{
	DecideCache *cache = fcinfo->flinfo->fn_extra;
	MemoryContext old;

	if (cache != NULL)
		return cache;
	old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	cache = palloc0(sizeof(DecideCache));
	if (get_call_result_type(fcinfo, NULL, &cache->columns) != TYPEFUNC_COMPOSITE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the decision is a row of outcome, value, rule and reason")));
	cache->columns = BlessTupleDesc(CreateTupleDescCopy(cache->columns));
	cache->context = AllocSetContextCreate(CurrentMemoryContext, "decision rules", ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(old);
	fcinfo->flinfo->fn_extra = cache;
	return cache;
}

/* Rules as they were read before, or read now. */
static const DecideRules *
read_rules(DecideCache *cache, Jsonb *rules)
{
	MemoryContext old;

	if (cache->rules != NULL && VARSIZE(cache->source) == VARSIZE(rules) && memcmp(cache->source, rules, VARSIZE(rules)) == 0)
		return cache->rules;
	cache->rules = NULL;
	MemoryContextReset(cache->context);
	old = MemoryContextSwitchTo(cache->context);
	cache->source = palloc(VARSIZE(rules));
	memcpy(cache->source, rules, VARSIZE(rules));
	cache->rules = decide_rules_read(cache->source);
	MemoryContextSwitchTo(old);
	return cache->rules;
}

static Jsonb *
number_jsonb(Decimal number)
{
	char		text[DECIMAL_TEXT];
	JsonbValue	value = {.type = jbvNumeric};

	value.val.numeric = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(decimal_format(number, text)),
															ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	return JsonbValueToJsonb(&value);
}

static Jsonb *
taken_value(const DecideCase *c, const DecideResult *result, Jsonb *local, Jsonb *shopify)
{
	JsonbValue	archived = {.type = jbvString};

	switch (result->take)
	{
		case TAKE_LOCAL:
			return c->local.type == DIFF_NULL ? NULL : local;
		case TAKE_SHOPIFY:
			return c->shopify.type == DIFF_NULL ? NULL : shopify;
		case TAKE_NUMBER:
			return number_jsonb(result->number);
		case TAKE_ARCHIVED:
			archived.val.string.val = "archived";
			archived.val.string.len = 8;
			return JsonbValueToJsonb(&archived);
		default:
			return NULL;
	}
}

typedef void (*Decider) (const DecideCase *c, DecideResult *result);

/* Arguments by position; -1 where a function has no such argument. */
typedef struct DecideArguments
{
	Decider		decider;
	int			base;
	int			local;
	int			shopify;
	int			rules;
	int			facts;
	bool		strict;			/* unknown facts are refused */
} DecideArguments;

static Jsonb *
argument(FunctionCallInfo fcinfo, int position)
{
	return position < 0 || PG_ARGISNULL(position) ? NULL : PG_GETARG_JSONB_P(position);
}

static Datum
decide(FunctionCallInfo fcinfo, const DecideArguments *positions)
{
	DecideCache *cache = get_cache(fcinfo);
	Jsonb	   *base = argument(fcinfo, positions->base);
	Jsonb	   *local = argument(fcinfo, positions->local);
	Jsonb	   *shopify = argument(fcinfo, positions->shopify);
	Jsonb	   *rules = argument(fcinfo, positions->rules);
	Jsonb	   *facts = argument(fcinfo, positions->facts);
	Jsonb	   *value;
	text	   *path;
	DecideFacts known = decide_no_facts;
	DecideCase	c = {.facts = &known};
	DecideResult result = {0};
	Datum		values[4];
	bool		nulls[4] = {false};
	int			length;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the field is null")));
	path = PG_GETARG_TEXT_PP(0);
	c.path = (DiffText) {VARDATA_ANY(path), VARSIZE_ANY_EXHDR(path)};
	if (c.path.length == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the field is empty"),
				 errhint("Name a class such as price, a field such as title, or a path such as variants[SKU].price.")));
	c.kind = merge_kind_of_path(c.path.data, c.path.length, palloc(c.path.length + 1));
	if (facts != NULL)
	{
		Jsonb	   *own = decide_facts_read(facts, c.kind, positions->strict, &known);

		rules = rules == NULL ? own : rules;
	}
	c.rules = rules == NULL ? NULL : read_rules(cache, rules);
	c.based = base != NULL;
	if (base != NULL)
		c.base = decide_value_read(base, c.kind);
	if (local != NULL)
		c.local = decide_value_read(local, c.kind);
	if (shopify != NULL)
		c.shopify = decide_value_read(shopify, c.kind);

	positions->decider(&c, &result);

	value = taken_value(&c, &result, local, shopify);
	/* A reason that was cut ends with a whole character. */
	length = pg_mbcliplen(result.reason, (int) strlen(result.reason), DECIDE_REASON);
	values[0] = CStringGetTextDatum(decide_outcome_names[result.outcome]);
	values[1] = PointerGetDatum(value);
	nulls[1] = value == NULL;
	values[2] = PointerGetDatum(cstring_to_text_with_len(result.rule.data, (int) result.rule.length));
	values[3] = PointerGetDatum(cstring_to_text_with_len(result.reason, length));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(cache->columns, values, nulls)));
}

/* sync_decide(field, local, shopify, context).  A set of one row: a function that returns a set may return just one value. */
Datum
ps_decide(PG_FUNCTION_ARGS)
{
	static const DecideArguments positions = {decide_tree, -1, 1, 2, -1, 3, true};

	return decide(fcinfo, &positions);
}

/* sync_merge(field, base, local, shopify, context) */
Datum
ps_merge(PG_FUNCTION_ARGS)
{
	static const DecideArguments positions = {decide_merge, 1, 2, 3, -1, 4, true};

	return decide(fcinfo, &positions);
}

/* sync.decide_field(path, base, local, shopify, rules, facts) */
Datum
ps_decide_field(PG_FUNCTION_ARGS)
{
	static const DecideArguments positions = {decide_tree, 1, 2, 3, 4, 5, false};

	return decide(fcinfo, &positions);
}

/* sync.decide_merge(path, base, local, shopify, rules, facts) */
Datum
ps_decide_merge(PG_FUNCTION_ARGS)
{
	static const DecideArguments positions = {decide_merge, 1, 2, 3, 4, 5, false};

	return decide(fcinfo, &positions);
}

/* sync.field_class(path) */
Datum
ps_field_class(PG_FUNCTION_ARGS)
{
	text	   *path = PG_GETARG_TEXT_PP(0);
	DiffText	name = {VARDATA_ANY(path), VARSIZE_ANY_EXHDR(path)};

	PG_RETURN_TEXT_P(cstring_to_text(decide_class_names[decide_class(name)]));
}

/* sync.rule_check(rules jsonb): how many there are, or the error of the first wrong one. */
Datum
ps_rule_check(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(decide_rules_read(PG_GETARG_JSONB_P(0))->count);
}
