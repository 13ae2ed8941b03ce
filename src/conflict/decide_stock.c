/*
 * decide_stock.c
 *	  The inventory branch of the decision tree: what is available of a variant at one location.  Shopify counts whole pieces, so
 *	  fractions are rounded down.
 */
#include "conflict/decide_steps.h"

#define NUMBER(n) decimal_format((n), (char[DECIMAL_TEXT]) {0})

/* Stock that is not kept is left alone for good; stock below 0 is for a person, whichever side changed. */
bool
stock_checked(const DecideCase *c, DecideResult *result)
{
	Decimal		stock[2] = {0, 0};

	if (c->facts->tracked == NO)
		return decided(result, EQUAL, TAKE_NOTHING, "not_tracked",
					   "Shopify does not keep stock of this variant, so there is nothing to decide");
	if (c->local.type == DIFF_NULL || c->shopify.type == DIFF_NULL)
		return decided(result, EQUAL, TAKE_NOTHING, "not_stocked", "%s no stock of it at this location, so there is nothing to decide",
					   c->local.type != DIFF_NULL ? "Shopify keeps" : c->shopify.type != DIFF_NULL ? "the ERP keeps" :
					   "neither side keeps");
	for (int side = 0; side < 2; side++)
	{
		if (!as_number(side == 0 ? &c->local : &c->shopify, &stock[side]))
			return decided(result, MANUAL, TAKE_NOTHING, "not_a_number", "%s stock is not a number with up to 15 digits",
						   side == 0 ? "the catalogue's" : "Shopify's");
		stock[side] = decimal_floor(stock[side]);
	}
	if (stock[0] < 0 || stock[1] < 0)
		return decided(result, MANUAL, TAKE_NOTHING, "oversold", "oversold: %s in the catalogue, %s in Shopify; %s", NUMBER(stock[0]),
					   NUMBER(stock[1]),
					   diff_text_is(c->facts->policy, "continue") ? "Shopify goes on selling it, so this may be owed to customers" :
					   "a stock below 0 is never sent");
	return false;
}

/* Whether the ERP's stock may be from before the shop sold out: then it must not fill the shop up again. */
static bool
erp_is_behind(const DecideCase *c, Decimal ours, DecideResult *result)
{
	const DecideFacts *facts = c->facts;
	const char *event = NULL;

	if (facts->shopify_order_at.known && !(facts->erp_seen_at.known && facts->erp_seen_at.at > facts->shopify_order_at.at))
		event = "order";
	else if (facts->shopify_changed_at.known && !(facts->erp_seen_at.known && facts->erp_seen_at.at > facts->shopify_changed_at.at))
		event = "change of its stock";
	if (event == NULL)
		return false;
	if (!facts->erp_seen_at.known)
		return decided(result, MANUAL, TAKE_NOTHING, "stale_snapshot",
					   "Shopify = 0 since its last %s, and it is not known when the ERP's %s was read: it waits for a newer reading",
					   event, NUMBER(ours));
	return decided(result, MANUAL, TAKE_NOTHING, "stale_snapshot",
				   "Shopify = 0, but the ERP's %s was read before Shopify's last %s: it waits for a newer reading", NUMBER(ours), event);
}

/* Both sides sold by themselves: what both took away is taken away. */
static bool
add_up(const DecideCase *c, const DecideLimits *limits, Decimal ours, Decimal theirs, DecideResult *result)
{
	Decimal		base;

	if (!limits->delta_merge || !c->based || !as_number(&c->base, &base))
		return false;
	base = decimal_floor(base);
	if (theirs != 0 && decimal_abs(ours - theirs) >= limits->units)
		return false;
	result->number = ours + theirs - base;
	if (result->number < 0)
		return decided(result, MANUAL, TAKE_NOTHING, "oversold", "oversold: %s - %s - %s = %s", NUMBER(base), NUMBER(base - ours),
					   NUMBER(base - theirs), NUMBER(result->number));
	return decided(result, APPLY_RULE, TAKE_NUMBER, "delta_merge", "%s - %s - %s = %s: what each side took away since both agreed",
				   NUMBER(base), NUMBER(base - ours), NUMBER(base - theirs), NUMBER(result->number));
}

/* Decides between two numbers of pieces, not below 0, that differ. */
void
decide_stock(const DecideCase *c, DecideResult *result)
{
	DecideLimits limits;
	DiffText	name;
	Decimal		ours;
	Decimal		theirs;
	Decimal		apart;

	if (!as_number(&c->local, &ours) || !as_number(&c->shopify, &theirs))
	{
		decided(result, MANUAL, TAKE_NOTHING, "not_a_number", "one side has no stock");
		return;
	}
	ours = decimal_floor(ours);
	theirs = decimal_floor(theirs);
	if (by_priority(c, true, result))
		return;
	switch (branch_limits(c, &limits, &name, "inventory_difference", result))
	{
		case LIMITS_NONE:
			decided(result, MANUAL, TAKE_NOTHING, "no_rule", "no rule of thresholds speaks of this stock: %s and %s", NUMBER(ours),
					NUMBER(theirs));
			return;
		case LIMITS_TIED:
			return;
		case LIMITS_FOUND:
			break;
	}
	if (add_up(c, &limits, ours, theirs, result))
		return;
	apart = decimal_abs(ours - theirs);
	if (theirs == 0)
	{
		if (limits.wait_for_erp && erp_is_behind(c, ours, result))
			return;
		result->number = ours;
		decided(result, USE_LOCAL, TAKE_NUMBER, "shopify_zero", "Shopify = 0, so the ERP's %s is taken", NUMBER(ours));
	}
	else if (apart >= limits.units)
	{
		decided(result, MANUAL, TAKE_NOTHING, "", "|%s - %s| >= %s", NUMBER(ours), NUMBER(theirs), NUMBER(limits.units));
		result->rule = name;
	}
	else
	{
		result->number = decimal_min(ours, theirs);
		decided(result, USE_LOWER, TAKE_NUMBER, "", "|%s - %s| < %s, so the lower one is taken: %s", NUMBER(ours), NUMBER(theirs),
				NUMBER(limits.units), NUMBER(result->number));
		result->rule = name;
	}
}
