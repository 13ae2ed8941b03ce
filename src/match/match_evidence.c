/*
 * match_evidence.c
 *	  What spoke for and against a match, as jsonb that a person can read.
 *
 * {"score": log odds before the supplier's calibration, "added": {piece: what it added to the log odds, ...}}, and where they hold:
 * "key_shared" (several existing items have the key), "contradicted" (something says that it is another thing to sell), "shared"
 * (another incoming item claims the same existing one).  The pieces share_of_matches, rivals, curve and supplier are what assign.c,
 * score_curve() and calibrate.c added; the confidence is 1 / (1 + exp(-sum of all pieces)), but of what is contradicted, and of rows that
 * claim one item all but the best, no more than 0.94.
 */
#include "match/match_pg.h"

#include <math.h>

#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

static void
push_key(JsonbParseState **state, const char *name)
{
	JsonbValue	key;

	key.type = jbvString;
	key.val.string.val = unconstify(char *, name);
	key.val.string.len = (int) strlen(name);
	pushJsonbValue(state, WJB_KEY, &key);
}

/* Adds a number with two decimals. */
static void
push_number(JsonbParseState **state, const char *name, float value)
{
	JsonbValue	number;

	push_key(state, name);
	number.type = jbvNumeric;
	number.val.numeric = int64_div_fast_to_numeric((int64) lroundf(value * 100), 2);
	pushJsonbValue(state, WJB_VALUE, &number);
}

static void
push_true(JsonbParseState **state, const char *name)
{
	JsonbValue	value;

	push_key(state, name);
	value.type = jbvBool;
	value.val.boolean = true;
	pushJsonbValue(state, WJB_VALUE, &value);
}

/* Adds what one piece added to the score, unless that is nothing. */
static void
push_added(JsonbParseState **state, const char *name, float added)
{
	if (fabsf(added) >= 0.005f)
		push_number(state, name, added);
}

/*
 * The evidence for a match.  shift and log_odds are those of its MatchOutcomes' shares and its MatchRow; shared tells that another row
 * claims the same.
 */
Jsonb *
match_evidence(const MatchFound *found, float shift, float log_odds, const MatchCalibration *calibration, bool shared)
{
	JsonbParseState *state = NULL;
	JsonbValue *result;
	float		sum = calibration->slope * log_odds + calibration->offset;
	int			i;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_number(&state, "score", log_odds);
	push_key(&state, "added");
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_number(&state, "start", score_bias());
	for (i = 0; i < N_FEATURES; i++)
		push_added(&state, score_feature_name(i), (float) found->added[i] / 100);
	push_added(&state, "share_of_matches", shift);
	push_added(&state, "rivals", score_curve_back(log_odds) - found->score - shift);
	push_added(&state, "curve", log_odds - score_curve_back(log_odds));
	push_added(&state, "supplier", sum - log_odds);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	if (found->doubts & DOUBT_KEY_SHARED)
		push_true(&state, "key_shared");
	if (found->doubts & DOUBT_CONTRADICTED)
		push_true(&state, "contradicted");
	if (shared)
		push_true(&state, "shared");
	result = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(result);
}

const char *
match_method_name(const MatchFound *found)
{
	return match_method_names[found->method];
}
