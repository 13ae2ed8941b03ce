/*
 * decide_steps.h
 *	  What the branches of the decision tree share among themselves.  Not for others: see decide.h.
 */
#ifndef CONFLICT_DECIDE_STEPS_H
#define CONFLICT_DECIDE_STEPS_H

#include "conflict/decide.h"

typedef enum DecideFound
{
	LIMITS_FOUND,
	LIMITS_NONE,				/* no rule gives any: a person decides */
	LIMITS_TIED					/* decided already: rules contradict each other */
} DecideFound;

/* decide.c */
extern bool decided(DecideResult *result, DecideOutcome outcome, DecideTake take, const char *rule, const char *format,...)
			__attribute__((format(printf, 5, 6)));
extern bool tied(DecideResult *result, DiffText name, DiffText rival);
extern bool as_number(const DiffValue *value, Decimal *number);
extern Decimal rounded_price(const DecideCase *c, Decimal price);
extern DecideFound branch_limits(const DecideCase *c, DecideLimits *limits, DiffText *name, const char *shipped_name, DecideResult *result);
extern bool too_old(const DecideCase *c, DecideResult *result);
extern bool by_priority(const DecideCase *c, bool named_only, DecideResult *result);
extern bool had_value(const DecideCase *c);
extern bool fill_missing(const DecideCase *c, DecideResult *result);

/* decide_price.c */
extern bool money_checked(const DecideCase *c, DecideResult *result);
extern bool price_checked(const DecideCase *c, DecideResult *result);
extern void decide_price(const DecideCase *c, DecideResult *result);

/* decide_stock.c */
extern bool stock_checked(const DecideCase *c, DecideResult *result);
extern void decide_stock(const DecideCase *c, DecideResult *result);

/* decide_description.c */
extern void decide_description(const DecideCase *c, DecideResult *result);

#endif
