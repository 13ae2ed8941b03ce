/*
 * decide.h
 *	  The conflict decision tree: what becomes of one field on which the catalogue and the shop disagree.  Plain C: no PostgreSQL.
 *
 *		price			less than 5 % apart: the shop's; else a person
 *		inventory		the shop has 0: ours; both above 0 and less than 10 apart: the lower one; else a person
 *		description		the feed updated it and nobody edited it: the feed's; else a person
 *		other			by a rule that people wrote; else a person
 *
 * docs/conflicts.md has every case that this leaves open, with what is done and why; test/decisions.tsv tests each of them.  The numbers
 * and rules are data (sync.conflict_rule); a case, facts and rules go in, an outcome with its formula comes out, nothing else is looked
 * at.  There is no clock: whoever wants the age of a reading checked says what time it is.
 *
 * decide_tree() is for two values that are known to disagree.  decide_merge() looks first which side changed since both last agreed.
 */
#ifndef CONFLICT_DECIDE_H
#define CONFLICT_DECIDE_H

#include <stdint.h>

#include "catalog/merge.h"
#include "conflict/decimal.h"

#define DECIDE_REASON	400		/* bytes of a reason, with its NUL */
#define DECIDE_NONE		((Decimal) -1)	/* a limit that is not set */

typedef enum DecideClass
{
	CLASS_PRICE, CLASS_INVENTORY, CLASS_DESCRIPTION, CLASS_OTHER, CLASS_VARIANT, CLASS_PRODUCT
} DecideClass;

typedef enum DecideAnswer
{
	NOT_KNOWN, NO, YES
} DecideAnswer;

/* A moment, in microseconds since 1970. */
typedef struct DecideTime
{
	bool		known;
	int64_t		at;
} DecideTime;

/* Which price a percentage is of. */
typedef enum DecidePriceOf
{
	OF_SMALLER, OF_LARGER, OF_LOCAL, OF_SHOPIFY
} DecidePriceOf;

/* The numbers of the tree.  A limit that is DECIDE_NONE is not looked at. */
typedef struct DecideLimits
{
	Decimal		percent;		/* prices this far apart, or farther, go to a person */
	DecidePriceOf of;
	Decimal		absolute;		/* so do prices as many units of their currency apart */
	Decimal		cumulative;		/* and those as many percent from the price that was approved last */
	Decimal		units;			/* stock this far apart goes to a person */
	bool		delta_merge;	/* sales on both sides are added up instead of taking the lower one */
	bool		wait_for_erp;	/* the shop's 0 is not filled up by a stock that the ERP counted before the shop sold out */
	Decimal		share;			/* a feed's description that lost this share of its text goes to a person */
	Decimal		max_age;		/* hours; what was read longer ago decides nothing */
} DecideLimits;

typedef enum DecideAction
{
	ACTION_THRESHOLD,			/* the numbers of the tree for its class of field */
	ACTION_MAX_AGE,				/* limits.max_age */
	ACTION_PREFER_SHOPIFY, ACTION_PREFER_LOCAL,
	ACTION_PREFER_ETILIZE,		/* ours, where the feed has just updated it */
	ACTION_MANUAL				/* a person, whatever other rules say */
} DecideAction;

/* A row of sync.conflict_rule that is enabled and of the right connection. */
typedef struct DecideRule
{
	DiffText	name;
	DiffText	field;			/* a class, a field, or a path, in which * stands for anything */
	DiffText	vendor;			/* of products of this vendor only; NULL data: of all */
	DiffText	product_type;
	bool		of_connection;	/* written for this connection alone */
	DecideAction action;
	int			priority;
	DecideLimits limits;
} DecideRule;

typedef struct DecideRules
{
	int			count;
	const DecideRule *rules;
} DecideRules;

/* What is known beside the three values.  Texts of NULL data and values of DIFF_NULL are not known. */
typedef struct DecideFacts
{
	DiffText	vendor;
	DiffText	product_type;
	DiffText	currency;		/* of both sides, where they have none of their own */
	DiffText	local_currency;
	DiffText	shopify_currency;
	DiffText	local_price_list;
	DiffText	shopify_price_list;
	DecideAnswer local_tax_included;
	DecideAnswer shopify_tax_included;
	DecideAnswer scheduled_sale;
	DiffValue local_compare_at;
	DiffValue shopify_compare_at;
	DiffValue approved_price;
	DecideAnswer was_set;		/* it had a value before */
	DecideAnswer etilize_updated;
	DecideAnswer manual_edit;
	DecideAnswer locked;
	DiffValue last_pushed;	/* what we sent to the shop last */
	DecideAnswer tracked;
	DiffText	policy;			/* deny, continue */
	DecideAnswer partial;		/* the side on which it is missing was read in part only */
	DecideAnswer agreed;		/* NO: base and base_local are but what was seen last, they were not agreed to mean the same */
	DiffValue base_local;		/* our value when both were last compared, where it is not the shop's */
	DecideTime	now;
	DecideTime	erp_seen_at;
	DecideTime	shopify_seen_at;
	DecideTime	shopify_changed_at;
	DecideTime	shopify_order_at;
	bool		overrides;		/* override what rules and shipped limits say, where not DECIDE_UNSET */
	DecideLimits override;
	DecideAnswer override_delta_merge;
	DecideAnswer override_wait_for_erp;
	bool		override_of;
} DecideFacts;

typedef struct DecideCase
{
	DiffText	path;			/* of a field, its name, or the name of a class */
	MergeKind	kind;			/* how its values compare */
	bool		based;			/* both sides agreed on a value before, which may be none */
	/* The values.  What merge_equal() takes for nothing has the type DIFF_NULL. */
	DiffValue base;
	DiffValue local;
	DiffValue shopify;
	const DecideRules *rules;	/* NULL: the shipped ones */
	const DecideFacts *facts;
} DecideCase;

typedef enum DecideOutcome
{
	USE_SHOPIFY, USE_LOCAL, USE_LOWER, APPLY_RULE, EQUAL, MANUAL
} DecideOutcome;

/* What to take. */
typedef enum DecideTake
{
	TAKE_NOTHING, TAKE_LOCAL, TAKE_SHOPIFY,
	TAKE_NUMBER,				/* DecideResult.number */
	TAKE_ARCHIVED				/* the text "archived" */
} DecideTake;

typedef struct DecideResult
{
	DecideOutcome outcome;
	DecideTake	take;
	Decimal		number;
	DiffText	rule;
	char		reason[DECIDE_REASON];
} DecideResult;

extern const DecideLimits decide_shipped;
extern const DecideFacts decide_no_facts;
extern const char *const decide_outcome_names[];
extern const char *const decide_class_names[];

extern DecideClass decide_class(DiffText path);
extern DiffText decide_short_name(DiffText path);
extern bool decide_same(const DecideCase *c, const DiffValue *a, const DiffValue *b);
extern void decide_tree(const DecideCase *c, DecideResult *result);
extern void decide_merge(const DecideCase *c, DecideResult *result);

/* decide_rule.c */
typedef struct DecideRank
{
	int			specificity;
	int			priority;
} DecideRank;

#define RANK_TOP ((DecideRank) {INT32_MAX, INT32_MAX})

extern int	decide_rule_matches(const DecideRule *rule, DiffText path, const DecideFacts *facts, bool named_only);
extern bool decide_limits(const DecideCase *c, DecideAction action, DecideLimits *limits, DiffText *name, DiffText *rival);

typedef enum DecidePriority
{
	NO_RULE, RULE_SHOPIFY, RULE_LOCAL, RULE_MANUAL, RULE_TIE
} DecidePriority;

extern DecidePriority decide_by_priority(const DecideCase *c, bool named_only, DiffText *name, DiffText *rival);

#endif
