/*
 * decide_rule.c
 *	  Which rule speaks of a field.  See decide.h.
 *
 * Rules are taken in this order: the one that names the field most exactly; among those, the one that asks most of the product (vendor,
 * type, connection); among those, the one of the highest priority.  Two that are still equal and want different things are a tie, and a
 * person decides.  A rule whose side has no value is passed over.
 *
 *		variants[CWS-1042].price	the path: that one and no other
 *		price						the field, of any variant
 *		stock						the same of a stock at any location; variants[CWS-1042].stock: of that variant
 *		inventory					a class: price stands for compare_at_price too
 *		metafields.custom.*			a pattern: the longer, the more exact
 */
#include "conflict/decide.h"

#define NAMES_PATH		1001
#define NAMES_FIELD		1000
#define NAMES_CLASS		999
#define NAMES_PATTERN	998		/* at most; as many as there are characters beside the * */

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char) (c + 32) : c;
}

static bool
text_same(DiffText a, DiffText b)
{
	return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

/* Names of vendors and types, which people type: case does not matter. */
static bool
name_same(DiffText a, DiffText b)
{
	if (a.length != b.length)
		return false;
	for (size_t i = 0; i < a.length; i++)
		if (lower(a.data[i]) != lower(b.data[i]))
			return false;
	return true;
}

/* Whether pattern, in which * stands for anything, is all of text. */
static bool
pattern_matches(DiffText pattern, DiffText text)
{
	size_t		p = 0;
	size_t		t = 0;
	size_t		star = SIZE_MAX;
	size_t		mark = 0;

	while (t < text.length)
	{
		if (p < pattern.length && pattern.data[p] == '*')
		{
			star = p++;
			mark = t;
		}
		else if (p < pattern.length && pattern.data[p] == text.data[t])
		{
			p++;
			t++;
		}
		else if (star != SIZE_MAX)
		{
			p = star + 1;
			t = ++mark;
		}
		else
			return false;
	}
	while (p < pattern.length && pattern.data[p] == '*')
		p++;
	return p == pattern.length;
}

/* Whether a rule's field is stock, of this variant or of any: the path of a stock has its location too. */
static bool
names_all_locations(DiffText field, DiffText path)
{
	DiffText	name = decide_short_name(path);
	DiffText	own = diff_text_is(field, "stock") ? name : path;

	return diff_text_is(decide_short_name(field), "stock") && decide_class(path) == CLASS_INVENTORY &&
		own.length > field.length && own.data[field.length] == '[' && memcmp(own.data, field.data, field.length) == 0;
}

/* How exactly a rule's field names a path; 0 where it does not. */
static int
field_matches(DiffText field, DiffText path)
{
	DiffText	name = decide_short_name(path);
	const char *class_name = decide_class_names[decide_class(path)];
	int			literal = 0;

	if (text_same(field, path))
		return name.length < path.length ? NAMES_PATH : NAMES_FIELD;
	if (text_same(field, name) || names_all_locations(field, path))
		return NAMES_FIELD;
	if (diff_text_is(field, class_name) && !diff_text_is(field, "other"))
		return NAMES_CLASS;
	if (memchr(field.data, '*', field.length) == NULL || !(pattern_matches(field, path) || pattern_matches(field, name)))
		return 0;
	for (size_t i = 0; i < field.length && literal < NAMES_PATTERN - 1; i++)
		literal += field.data[i] != '*';
	return literal + 1;
}

/* How specific a rule is about a field of a product; 0 where it does not speak of it. */
int
decide_rule_matches(const DecideRule *rule, DiffText path, const DecideFacts *facts, bool named_only)
{
	int			exact;

	if (rule->vendor.data != NULL && (facts->vendor.data == NULL || !name_same(rule->vendor, facts->vendor)))
		return 0;
	if (rule->product_type.data != NULL && (facts->product_type.data == NULL || !name_same(rule->product_type, facts->product_type)))
		return 0;
	exact = field_matches(rule->field, path);
	if (exact == 0 || (named_only && exact < NAMES_CLASS))
		return 0;
	return exact * 4 + (rule->vendor.data != NULL) + (rule->product_type.data != NULL) + rule->of_connection;
}

static bool
is_priority(DecideAction action)
{
	return action != ACTION_THRESHOLD && action != ACTION_MAX_AGE;
}

/* Whether a rule is of the wanted kind: that action, or with ACTION_MANUAL any that gives one side priority. */
static bool
is_wanted(DecideAction action, DecideAction wanted)
{
	return wanted == ACTION_MANUAL ? is_priority(action) : action == wanted;
}

/* Moves *rank down to the highest rank below it that a rule of this kind has; false where none has. */
static bool
next_rank(const DecideCase *c, DecideAction wanted, bool named_only, DecideRank *rank)
{
	DecideRank	best = {0, 0};

	for (int i = 0; i < c->rules->count; i++)
	{
		const DecideRule *rule = &c->rules->rules[i];
		int			specificity;

		if (!is_wanted(rule->action, wanted))
			continue;
		specificity = decide_rule_matches(rule, c->path, c->facts, named_only);
		if (specificity == 0 || specificity > rank->specificity ||
			(specificity == rank->specificity && rule->priority >= rank->priority))
			continue;
		if (specificity > best.specificity || (specificity == best.specificity && rule->priority > best.priority))
			best = (DecideRank) {specificity, rule->priority};
	}
	*rank = best;
	return best.specificity > 0;
}

static bool
has_rank(const DecideCase *c, const DecideRule *rule, DecideAction wanted, bool named_only, DecideRank rank)
{
	return is_wanted(rule->action, wanted) && rule->priority == rank.priority &&
		decide_rule_matches(rule, c->path, c->facts, named_only) == rank.specificity;
}

static bool
limits_same(const DecideLimits *a, const DecideLimits *b)
{
	return a->percent == b->percent && a->of == b->of && a->absolute == b->absolute && a->cumulative == b->cumulative &&
		a->units == b->units && a->delta_merge == b->delta_merge && a->wait_for_erp == b->wait_for_erp && a->share == b->share &&
		a->max_age == b->max_age;
}

/*
 * The limits of the threshold (or max_age) that speaks of a field, with the rule's name; rival is the name of another one that says
 * something else with the same right.  False where no rule gives any.
 */
bool
decide_limits(const DecideCase *c, DecideAction action, DecideLimits *limits, DiffText *name, DiffText *rival)
{
	DecideRank	rank = RANK_TOP;
	const DecideRule *found = NULL;

	rival->data = NULL;
	if (!next_rank(c, action, false, &rank))
		return false;
	for (int i = 0; i < c->rules->count; i++)
	{
		const DecideRule *rule = &c->rules->rules[i];

		if (!has_rank(c, rule, action, false, rank))
			continue;
		if (found == NULL)
			found = rule;
		else if (!limits_same(&found->limits, &rule->limits))
			*rival = rule->name;
	}
	*limits = found->limits;
	*name = found->name;
	return true;
}

/* What a rule wants for this field; NO_RULE where the side that it prefers has nothing to give. */
static DecidePriority
wish(const DecideCase *c, DecideAction action)
{
	switch (action)
	{
		case ACTION_PREFER_SHOPIFY:
			return c->shopify.type == DIFF_NULL ? NO_RULE : RULE_SHOPIFY;
		case ACTION_PREFER_LOCAL:
			return c->local.type == DIFF_NULL ? NO_RULE : RULE_LOCAL;
		case ACTION_PREFER_ETILIZE:
			return c->local.type == DIFF_NULL || c->facts->etilize_updated != YES ? NO_RULE : RULE_LOCAL;
		default:
			return RULE_MANUAL;
	}
}

/* Which side the rules of priority give a field to.  named_only: only rules that name the field or its class count, no patterns. */
DecidePriority
decide_by_priority(const DecideCase *c, bool named_only, DiffText *name, DiffText *rival)
{
	DecideRank	rank = RANK_TOP;

	while (c->rules != NULL && next_rank(c, ACTION_MANUAL, named_only, &rank))
	{
		DecidePriority found = NO_RULE;

		for (int i = 0; i < c->rules->count; i++)
		{
			const DecideRule *rule = &c->rules->rules[i];
			DecidePriority wanted = has_rank(c, rule, ACTION_MANUAL, named_only, rank) ? wish(c, rule->action) : NO_RULE;

			if (wanted == NO_RULE || wanted == found)
				continue;
			if (found == NO_RULE)
			{
				found = wanted;
				*name = rule->name;
			}
			else
			{
				*rival = rule->name;
				return RULE_TIE;
			}
		}
		if (found != NO_RULE)
			return found;
	}
	return NO_RULE;
}
