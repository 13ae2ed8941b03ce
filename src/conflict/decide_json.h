/*
 * decide_json.h
 *	  Facts, rules and values of the decision tree, read from jsonb.
 */
#ifndef CONFLICT_DECIDE_JSON_H
#define CONFLICT_DECIDE_JSON_H

#include "utils/jsonb.h"

#include "conflict/decide.h"

extern DiffValue decide_value_read(Jsonb *value, MergeKind kind);
extern Jsonb *decide_facts_read(Jsonb *facts, MergeKind kind, bool strict, DecideFacts *out);
extern DecideRules *decide_rules_read(Jsonb *rules);

#endif
