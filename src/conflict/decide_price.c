/*
 * decide_price.c
 *	  The price branch of the decision tree, and what holds of every amount of money.
 */
#include "conflict/decide_steps.h"

#define NUMBER(n) decimal_format((n), (char[DECIMAL_TEXT]) {0})

/* Whether two names that are both known differ. */
static bool
differ(DiffText a, DiffText b)
{
	return a.data != NULL && b.data != NULL && (a.length != b.length || memcmp(a.data, b.data, a.length) != 0);
}

/* Amounts that are no amounts. */
bool
money_checked(const DecideCase *c, DecideResult *result)
{
	for (int side = 0; side < 2; side++)
	{
		const DiffValue *value = side == 0 ? &c->local : &c->shopify;
		const char *name = side == 0 ? "the catalogue's" : "Shopify's";
		Decimal		amount;

		if (value->type == DIFF_NULL)
			continue;
		if (!as_number(value, &amount))
			return decided(result, MANUAL, TAKE_NOTHING, "not_a_number", "%s value is not an amount of money with up to 15 digits", name);
		if (amount < 0)
			return decided(result, MANUAL, TAKE_NOTHING, "negative_price", "%s price %s < 0: no price is negative", name, NUMBER(amount));
	}
	return false;
}

/* Prices of different kinds are never compared, whoever changed them. */
static bool
not_comparable(const DecideCase *c, DecideResult *result)
{
	const DecideFacts *facts = c->facts;
	DiffText	local = facts->local_currency.data != NULL ? facts->local_currency : facts->currency;
	DiffText	shopify = facts->shopify_currency.data != NULL ? facts->shopify_currency : facts->currency;

	if (differ(local, shopify))
		return decided(result, MANUAL, TAKE_NOTHING, "currency_differs", "the catalogue's price is in %.*s, Shopify's in %.*s",
					   (int) (local.length > 3 ? 3 : local.length), local.data, (int) (shopify.length > 3 ? 3 : shopify.length),
					   shopify.data);
	if (facts->local_tax_included != NOT_KNOWN && facts->shopify_tax_included != NOT_KNOWN &&
		facts->local_tax_included != facts->shopify_tax_included)
		return decided(result, MANUAL, TAKE_NOTHING, "tax_differs", "%s price includes tax, the other side's does not",
					   facts->local_tax_included == YES ? "the catalogue's" : "Shopify's");
	if (differ(facts->local_price_list, facts->shopify_price_list))
		return decided(result, MANUAL, TAKE_NOTHING, "price_list_differs", "the two prices are of different price lists");
	return false;
}

/* What holds of prices whichever side changed: no negative one, none taken away, none that became 0.  A compare-at price goes when a sale
 * ends, so that one is taken away is for a person only where both changed. */
bool
price_checked(const DecideCase *c, DecideResult *result)
{
	bool		local = c->local.type != DIFF_NULL;
	bool		shopify = c->shopify.type != DIFF_NULL;
	Decimal		ours = 0;
	Decimal		theirs = 0;
	bool		our_zero;
	bool		their_zero;

	if (!local && !shopify)
		return false;
	if (money_checked(c, result) || (local && shopify && not_comparable(c, result)))
		return true;
	as_number(&c->local, &ours);
	as_number(&c->shopify, &theirs);
	our_zero = local && rounded_price(c, ours) == 0;
	their_zero = shopify && rounded_price(c, theirs) == 0;
	if (our_zero && their_zero)
		return false;
	if (our_zero || their_zero)
		return decided(result, MANUAL, TAKE_NOTHING, "zero_price", "%s price is 0, the other side's is %s: 0 is never taken by itself",
					   our_zero ? "the catalogue's" : "Shopify's",
					   !(our_zero ? shopify : local) ? "not set" : NUMBER(our_zero ? theirs : ours));
	if (local == shopify || (had_value(c) && diff_text_is(decide_short_name(c->path), "compare_at_price")))
		return false;
	return fill_missing(c, result);
}

/* Whether one side has the product on sale and the other does not, or will. */
static bool
on_sale(const DecideCase *c, Decimal ours, Decimal theirs, DecideResult *result)
{
	const DecideFacts *facts = c->facts;
	Decimal		before;
	bool		local = as_number(&facts->local_compare_at, &before) && before > ours;
	bool		shopify = as_number(&facts->shopify_compare_at, &before) && before > theirs;

	if (facts->scheduled_sale == YES)
		return decided(result, MANUAL, TAKE_NOTHING, "sale", "a sale is scheduled, so %s and %s are not the same kind of price",
					   NUMBER(ours), NUMBER(theirs));
	if (local != shopify)
		return decided(result, MANUAL, TAKE_NOTHING, "sale",
					   "%s price is a sale price (compare-at is higher), the other side's is not: %s and %s",
					   local ? "the catalogue's" : "Shopify's", NUMBER(ours), NUMBER(theirs));
	return false;
}

static Decimal
price_of(DecidePriceOf of, Decimal ours, Decimal theirs)
{
	switch (of)
	{
		case OF_LARGER:
			return ours > theirs ? ours : theirs;
		case OF_LOCAL:
			return ours;
		case OF_SHOPIFY:
			return theirs;
		default:
			return decimal_min(ours, theirs);
	}
}

/* Decides between two prices above 0 that differ, or of which one is not there. */
void
decide_price(const DecideCase *c, DecideResult *result)
{
	DecideLimits limits;
	DiffText	name;
	Decimal		ours;
	Decimal		theirs;
	Decimal		approved;
	Decimal		of;
	Decimal		apart;

	if (fill_missing(c, result))
		return;
	if (!as_number(&c->local, &ours) || !as_number(&c->shopify, &theirs))
	{
		decided(result, MANUAL, TAKE_NOTHING, "not_a_number", "one side has no price");
		return;
	}
	if (on_sale(c, ours, theirs, result) || by_priority(c, true, result))
		return;
	switch (branch_limits(c, &limits, &name, "price_threshold", result))
	{
		case LIMITS_NONE:
			decided(result, MANUAL, TAKE_NOTHING, "no_rule", "no rule of thresholds speaks of this price: %s and %s", NUMBER(ours),
					NUMBER(theirs));
			return;
		case LIMITS_TIED:
			return;
		case LIMITS_FOUND:
			break;
	}
	/* No division: exactly 5 % is 5 %.  A value below 10^24 times a percentage below 10^13 fits, and so does a difference times 10^11. */
	apart = decimal_abs(ours - theirs);
	of = price_of(limits.of, ours, theirs);
	if (apart * 100 * DECIMAL_ONE >= limits.percent * of)
		decided(result, MANUAL, TAKE_NOTHING, "", "|%s - %s| * 100 >= %s * %s", NUMBER(ours), NUMBER(theirs), NUMBER(limits.percent),
				NUMBER(of));
	else if (limits.absolute != DECIDE_NONE && apart >= limits.absolute)
		decided(result, MANUAL, TAKE_NOTHING, "", "|%s - %s| >= %s, though less than %s percent apart", NUMBER(ours), NUMBER(theirs),
				NUMBER(limits.absolute), NUMBER(limits.percent));
	else if (limits.cumulative != DECIDE_NONE && as_number(&c->facts->approved_price, &approved) && approved >= 0 &&
			 decimal_abs(theirs - approved) * 100 * DECIMAL_ONE >= limits.cumulative * decimal_min(theirs, approved))
		decided(result, MANUAL, TAKE_NOTHING, "", "small steps add up: |%s - %s| * 100 >= %s * %s, %s was approved last", NUMBER(theirs),
				NUMBER(approved), NUMBER(limits.cumulative), NUMBER(decimal_min(theirs, approved)), NUMBER(approved));
	else
		decided(result, USE_SHOPIFY, TAKE_SHOPIFY, "", "|%s - %s| * 100 < %s * %s", NUMBER(ours), NUMBER(theirs), NUMBER(limits.percent),
				NUMBER(of));
	result->rule = name;
}
