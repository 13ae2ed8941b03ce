/*
 * decide_json.h
 *	  Facts, rules and values of the decision tree, read from jsonb.
 */
#ifndef CONFLICT_DECIDE_JSON_H
#define CONFLICT_DECIDE_JSON_H

#include "utils/jsonb.h"

#include "conflict/decide.h"

extern DecideValue decide_value_read(const JsonbValue *value, DiffText path);
extern DecideValue decide_value_read_jsonb(Jsonb *value, DiffText path);
extern bool decide_value_same(const DecideValue *a, const DecideValue *b);
extern Jsonb *decide_facts_read(Jsonb *facts, DiffText path, bool strict, DecideFacts *out);
extern DecideRules *decide_rules_read(Jsonb *rules);

#endif
