/*
 * decide_description.c
 *	  The description branch of the decision tree: the feed's text against what people wrote.
 */
#include "conflict/decide_steps.h"
#include "conflict/description.h"

#define NUMBER(n) decimal_format((n), (char[DECIMAL_TEXT]) {0})

/* Whether a person edited it: said so, locked, or the shop's text is not the one that we sent or agreed on. */
static bool
edited(const DecideCase *c)
{
	const DecideFacts *facts = c->facts;

	if (facts->locked == YES)
		return true;
	if (facts->manual_edit != NOT_KNOWN)
		return facts->manual_edit == YES;
	if (facts->last_pushed.type != DIFF_NULL)
		return !decide_same(c, &facts->last_pushed, &c->shopify);
	return c->based && !decide_same(c, &c->base, &c->shopify);
}

static size_t
text_length(const DiffValue *value)
{
	return value->type == DIFF_STRING ? description_length(value->text) : 0;
}

/* Whether the feed's new text is damaged, measured by the one that it replaces: the agreed one, else the shop's. */
static bool
damaged(const DecideCase *c, const DecideLimits *limits, DiffText name, DecideResult *result)
{
	const DiffValue *before = c->based && c->base.type != DIFF_NULL ? &c->base : &c->shopify;
	size_t		was = text_length(before);
	size_t		is = text_length(&c->local);
	const char *fault;

	if (is == 0)
		return decided(result, MANUAL, TAKE_NOTHING, "description_blank",
					   "the feed's new description is blank, the one before has %zu characters", was);
	/* (was - is) / was >= share, without dividing */
	if (limits != NULL && was > is && DECIMAL(was - is) * DECIMAL_ONE >= limits->share * DECIMAL(was))
	{
		decided(result, MANUAL, TAKE_NOTHING, "", "the feed's new description has %zu of %zu characters: (%zu - %zu) >= %s * %zu", is, was,
				was, is, NUMBER(limits->share), was);
		result->rule = name;
		return true;
	}
	fault = c->local.type == DIFF_STRING ? description_fault(c->local.text) : "it is no text";
	return fault != NULL &&
		decided(result, MANUAL, TAKE_NOTHING, "description_invalid", "the feed's new description is not sound HTML: %s", fault);
}

void
decide_description(const DecideCase *c, DecideResult *result)
{
	bool		manual = edited(c);
	DecideLimits limits;
	DiffText	name;
	DecideFound found;

	if (by_priority(c, true, result))
		return;
	if (c->facts->etilize_updated == YES)
	{
		if (manual)
		{
			decided(result, MANUAL, TAKE_NOTHING, "etilize_and_manual",
					"Etilize updated it and a person edited it: compare the three texts");
			return;
		}
		found = branch_limits(c, &limits, &name, "description_shrink", result);
		if (found == LIMITS_TIED || damaged(c, found == LIMITS_NONE ? NULL : &limits, name, result))
			return;
		decided(result, USE_LOCAL, TAKE_LOCAL, "etilize_updated", "Etilize updated it and nobody edited it");
		return;
	}
	if (manual && c->local.type != DIFF_NULL && c->shopify.type != DIFF_NULL)
		decided(result, MANUAL, TAKE_NOTHING, "manual_edit", "a person edited it");
	else if (!fill_missing(c, result))
		decided(result, MANUAL, TAKE_NOTHING, "source_unknown",
				"neither Etilize nor a person is known to have changed it, and the texts differ");
}
