/*
 * decide.c
 *	  The conflict decision tree.  See decide.h; the cases are told in docs/conflicts.md, in the order in which they are looked at here.
 *
 * Each step returns true when it has decided.  Steps that hold whatever the base says (a negative price, stock that is not kept) are in
 * checked(); decide_merge() then looks who changed the field; what is left goes through the tree.
 */
#include <stdarg.h>
#include <stdio.h>

#include "conflict/decide.h"
#include "conflict/decide_steps.h"

#define NUMBER(n) decimal_format((n), (char[DECIMAL_TEXT]) {0})

const DecideFacts decide_no_facts;
const char *const decide_outcome_names[] = {"use_shopify", "use_local", "use_lower", "apply_rule", "equal", "manual"};
const char *const decide_class_names[] = {"price", "inventory", "description", "other", "variant", "product"};

/* As shipped in sync.conflict_rule; for calls without rules. */
const DecideLimits decide_shipped = {
	.percent = DECIMAL(5),.of = OF_SMALLER,.absolute = DECIDE_NONE,.cumulative = DECIMAL(10),
	.units = DECIMAL(10),.delta_merge = false,.wait_for_erp = true,
	.share = DECIMAL(8) / 10,
	.max_age = DECIMAL(24)
};

/* Decides.  rule is a name of the program's; a row's is set by the caller afterwards.  True, so that steps can return it. */
bool
decided(DecideResult *result, DecideOutcome outcome, DecideTake take, const char *rule, const char *format,...)
{
	va_list		args;

	result->outcome = outcome;
	result->take = take;
	result->rule = (DiffText) {rule, strlen(rule)};
	va_start(args, format);
	vsnprintf(result->reason, sizeof(result->reason), format, args);
	va_end(args);
	return true;
}

static bool
starts_with(DiffText text, const char *word)
{
	return text.length >= strlen(word) && memcmp(text.data, word, strlen(word)) == 0;
}

/* A path without the variant in front: price of variants[CWS-1042].price; empty for a variant as a whole. */
DiffText
decide_short_name(DiffText path)
{
	size_t		at = strlen("variants[");

	if (!starts_with(path, "variants["))
		return path;
	if (at < path.length && path.data[at] == '"')
		for (at++; at < path.length && path.data[at] != '"'; at++)
			at += path.data[at] == '\\';
	while (at < path.length && path.data[at] != ']')
		at++;
	at++;
	if (at < path.length && path.data[at] == '.')
		at++;
	if (at > path.length)
		at = path.length;
	return (DiffText) {path.data + at, path.length - at};
}

/* Which branch of the tree a field, named by its class, its name or its path, goes through. */
DecideClass
decide_class(DiffText path)
{
	DiffText	name = decide_short_name(path);

	if (diff_text_is(name, "price") || diff_text_is(name, "compare_at_price"))
		return CLASS_PRICE;
	if (diff_text_is(name, "inventory") || diff_text_is(name, "stock") || starts_with(name, "stock["))
		return CLASS_INVENTORY;
	if (diff_text_is(name, "description"))
		return CLASS_DESCRIPTION;
	if (name.length == 0 || diff_text_is(name, "variant"))
		return CLASS_VARIANT;
	if (diff_text_is(name, "product") || diff_text_is(name, "*"))
		return CLASS_PRODUCT;
	return CLASS_OTHER;
}

/* Whether a field is an amount of money, though it may have no thresholds. */
static bool
is_money(DiffText path)
{
	return decide_class(path) == CLASS_PRICE || diff_text_is(decide_short_name(path), "cost");
}

bool
as_number(const DiffValue *value, Decimal *number)
{
	return (value->type == DIFF_NUMBER || value->type == DIFF_STRING) && decimal_parse(value->text.data, value->text.length, number);
}

/* Digits behind the point that a currency has: ISO 4217, where it is not two. */
static int
currency_digits(DiffText currency)
{
	static const char none[] = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF";
	static const char three[] = "BHD IQD JOD KWD LYD OMR TND";

	if (currency.data == NULL || currency.length != 3)
		return 2;
	for (const char *at = none; at < none + sizeof(none) - 1; at += 4)
		if (memcmp(at, currency.data, 3) == 0)
			return 0;
	for (const char *at = three; at < three + sizeof(three) - 1; at += 4)
		if (memcmp(at, currency.data, 3) == 0)
			return 3;
	return 2;
}

/* A price as it is paid. */
Decimal
rounded_price(const DecideCase *c, Decimal price)
{
	DiffText	currency = c->facts->shopify_currency.data != NULL ? c->facts->shopify_currency : c->facts->currency;

	return decimal_round(price, currency_digits(currency));
}

/* Whether two values of this field are the same thing, however they are written. */
bool
decide_same(const DecideCase *c, const DiffValue *a, const DiffValue *b)
{
	Decimal		left;
	Decimal		right;

	if (a->type != DIFF_NULL && b->type != DIFF_NULL && (is_money(c->path) || decide_class(c->path) == CLASS_INVENTORY) &&
		as_number(a, &left) && as_number(b, &right))
		return is_money(c->path) ? rounded_price(c, left) == rounded_price(c, right) : decimal_floor(left) == decimal_floor(right);
	return merge_equal(c->kind, a, b);
}

/* How many bytes of a name are shown: no half character of UTF-8. */
static int
shown(DiffText name)
{
	size_t		length = name.length;

	if (length > 100)
		for (length = 100; length > 0 && (name.data[length] & 0xc0) == 0x80;)
			length--;
	return (int) length;
}

/* Reports that two rules want different things with the same right. */
bool
tied(DecideResult *result, DiffText name, DiffText rival)
{
	return decided(result, MANUAL, TAKE_NOTHING, "rule_tie", "rules \"%.*s\" and \"%.*s\" speak of it with the same right and differ",
				   shown(name), name.data, shown(rival), rival.data);
}

/* The limits of the field's own branch, from the rules or as shipped, with what the facts put over them. */
DecideFound
branch_limits(const DecideCase *c, DecideLimits *limits, DiffText *name, const char *shipped_name, DecideResult *result)
{
	const DecideFacts *facts = c->facts;
	DiffText	rival = {NULL, 0};
	bool		found = true;

	*limits = decide_shipped;
	*name = (DiffText) {shipped_name, strlen(shipped_name)};
	if (c->rules != NULL)
		found = decide_limits(c, ACTION_THRESHOLD, limits, name, &rival);
	if (rival.data != NULL)
	{
		tied(result, *name, rival);
		return LIMITS_TIED;
	}
	if (facts->overrides)
	{
		const DecideLimits *over = &facts->override;

		limits->percent = over->percent != DECIDE_NONE ? over->percent : limits->percent;
		limits->of = facts->override_of ? over->of : limits->of;
		limits->absolute = over->absolute != DECIDE_NONE ? over->absolute : limits->absolute;
		limits->cumulative = over->cumulative != DECIDE_NONE ? over->cumulative : limits->cumulative;
		limits->units = over->units != DECIDE_NONE ? over->units : limits->units;
		limits->share = over->share != DECIDE_NONE ? over->share : limits->share;
		limits->delta_merge = facts->override_delta_merge == NOT_KNOWN ? limits->delta_merge : facts->override_delta_merge == YES;
		limits->wait_for_erp = facts->override_wait_for_erp == NOT_KNOWN ? limits->wait_for_erp : facts->override_wait_for_erp == YES;
	}
	return found ? LIMITS_FOUND : LIMITS_NONE;
}

/* What was read too long ago decides nothing. */
bool
too_old(const DecideCase *c, DecideResult *result)
{
	const DecideFacts *facts = c->facts;
	DecideLimits limits = decide_shipped;
	DiffText	name = {"snapshot_age", 12};
	DiffText	rival = {NULL, 0};

	if (!facts->now.known || (!facts->erp_seen_at.known && !facts->shopify_seen_at.known))
		return false;
	if (c->rules != NULL && !decide_limits(c, ACTION_MAX_AGE, &limits, &name, &rival))
		return false;
	if (rival.data != NULL)
		return tied(result, name, rival);
	if (facts->overrides && facts->override.max_age != DECIDE_NONE)
		limits.max_age = facts->override.max_age;
	if (limits.max_age == DECIDE_NONE)
		return false;
	for (int side = 0; side < 2; side++)
	{
		DecideTime	seen = side == 0 ? facts->erp_seen_at : facts->shopify_seen_at;
		/* In seconds: a microsecond is a thousand billionths of one. */
		Decimal		age = seen.known ? ((Decimal) facts->now.at - seen.at) * 1000 : 0;

		if (age > limits.max_age * 3600)
			return decided(result, MANUAL, TAKE_NOTHING, "stale_snapshot",
						   "%s was read %s hours ago > %s: read it again", side == 0 ? "the ERP's side" : "Shopify's side",
						   NUMBER(decimal_round(age / 3600, 1)), NUMBER(limits.max_age));
	}
	return false;
}

/* A rule that names the field decides, in any branch. */
bool
by_priority(const DecideCase *c, bool named_only, DecideResult *result)
{
	DiffText	name = {NULL, 0};
	DiffText	rival = {NULL, 0};

	switch (decide_by_priority(c, named_only, &name, &rival))
	{
		case RULE_SHOPIFY:
			decided(result, APPLY_RULE, TAKE_SHOPIFY, "", "the rule gives this field to Shopify");
			break;
		case RULE_LOCAL:
			decided(result, APPLY_RULE, TAKE_LOCAL, "", "the rule gives this field to the catalogue");
			break;
		case RULE_MANUAL:
			decided(result, MANUAL, TAKE_NOTHING, "", "the rule gives this field to a person");
			break;
		case RULE_TIE:
			return tied(result, name, rival);
		default:
			return false;
	}
	result->rule = name;
	return true;
}

bool
had_value(const DecideCase *c)
{
	return c->facts->was_set == NOT_KNOWN ? c->based && c->base.type != DIFF_NULL : c->facts->was_set == YES;
}

/* One side has nothing: what was never there is filled from the other, what was taken away is for a person. */
bool
fill_missing(const DecideCase *c, DecideResult *result)
{
	bool		local = c->local.type == DIFF_NULL;

	if (!local && c->shopify.type != DIFF_NULL)
		return false;
	if (had_value(c))
		return decided(result, MANUAL, TAKE_NOTHING, "value_removed", "%s has no value any more, the other side has one",
					   local ? "the catalogue" : "Shopify");
	return decided(result, local ? USE_SHOPIFY : USE_LOCAL, local ? TAKE_SHOPIFY : TAKE_LOCAL, "fill_missing",
				   "%s never had a value, so it gets the other side's", local ? "the catalogue" : "Shopify");
}

/* A whole product or variant that is missing on one side. */
static bool
decide_existence(const DecideCase *c, DecideResult *result)
{
	bool		local = c->local.type == DIFF_NULL;
	const DiffValue *left = local ? &c->shopify : &c->local;
	const DiffValue *base = local || c->facts->base_local.type == DIFF_NULL ? &c->base : &c->facts->base_local;
	const char *side = local ? "the catalogue" : "Shopify";

	if (!local && c->shopify.type != DIFF_NULL)
		return false;
	if (c->facts->partial == YES)
		return decided(result, EQUAL, TAKE_NOTHING, "partial_reading", "it was not in a partial reading, which says nothing about %s",
					   side);
	if (!had_value(c))
		return fill_missing(c, result);
	if (!c->based || base->type == DIFF_NULL || !decide_same(c, left, base))
		return decided(result, MANUAL, TAKE_NOTHING, "deleted_and_changed", "deleted in %s, changed on the other side", side);
	return decided(result, APPLY_RULE, TAKE_ARCHIVED, local ? "deleted_locally" : "deleted_in_shopify",
				   "deleted in %s, unchanged on the other side: to be archived after approval, not deleted", side);
}

static void
decide_other(const DecideCase *c, DecideResult *result)
{
	if (by_priority(c, false, result) || fill_missing(c, result))
		return;
	decided(result, MANUAL, TAKE_NOTHING, "no_rule", "both sides have a value of their own, and no rule of priority speaks of the field");
}

/* What holds whichever side changed. */
static bool
checked(const DecideCase *c, DecideResult *result)
{
	switch (decide_class(c->path))
	{
		case CLASS_PRICE:
			return price_checked(c, result);
		case CLASS_INVENTORY:
			return stock_checked(c, result);
		case CLASS_VARIANT:
		case CLASS_PRODUCT:
			return decide_same(c, &c->local, &c->shopify) ? false : decide_existence(c, result);
		default:
			return is_money(c->path) && money_checked(c, result);
	}
}

static bool
same_values(const DecideCase *c, DecideResult *result)
{
	if (!decide_same(c, &c->local, &c->shopify))
		return false;
	if (c->local.type == DIFF_NULL)
		return decided(result, EQUAL, TAKE_NOTHING, "equal", "neither side has a value");
	return decided(result, EQUAL, TAKE_SHOPIFY, "equal", diff_equal(&c->local, &c->shopify) ? "both sides have the same value" :
				   "both sides have the same value, written differently");
}

static void
tree(const DecideCase *c, DecideResult *result)
{
	if (too_old(c, result))
		return;
	switch (decide_class(c->path))
	{
		case CLASS_PRICE:
			decide_price(c, result);
			break;
		case CLASS_INVENTORY:
			decide_stock(c, result);
			break;
		case CLASS_DESCRIPTION:
			decide_description(c, result);
			break;
		default:
			decide_other(c, result);
	}
}

/* Decides between two values that disagree. */
void
decide_tree(const DecideCase *c, DecideResult *result)
{
	if (checked(c, result) || same_values(c, result))
		return;
	tree(c, result);
}

/* Decides by which side changed since both agreed on the base; by the tree where both did, or never agreed. */
void
decide_merge(const DecideCase *c, DecideResult *result)
{
	const DiffValue *own = c->facts->base_local.type == DIFF_NULL ? &c->base : &c->facts->base_local;
	bool		local;
	bool		shopify;

	if (checked(c, result) || same_values(c, result))
		return;
	if (!c->based)
	{
		tree(c, result);
		return;
	}
	local = !decide_same(c, &c->local, own);
	shopify = !decide_same(c, &c->shopify, &c->base);
	if (local && shopify)
		tree(c, result);
	else if (shopify)
		decided(result, USE_SHOPIFY, TAKE_SHOPIFY, "only_shopify_changed", "only Shopify's value changed since both agreed");
	else if (local)
		decided(result, USE_LOCAL, TAKE_LOCAL, "only_local_changed", "only the catalogue's value changed since both agreed");
	else if (c->facts->agreed != NO && c->facts->base_local.type != DIFF_NULL)
		decided(result, EQUAL, TAKE_NOTHING, "agreed",
				"neither side changed since both agreed, and their values were agreed to mean the same");
	else
		decided(result, MANUAL, TAKE_NOTHING, "drift", "neither side changed since they were last compared, and they differ");
}
