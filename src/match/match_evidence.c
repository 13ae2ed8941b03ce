/*
 * match_evidence.c
 *	  What spoke for and against a match, as jsonb that a person can read.
 *
 * {"score": the sum, "added": {piece: what it added to the sum, ...}}, and where they hold: "key_shared" (several existing items have the
 * key), "contradicted" (something says that it is another thing to sell), "shared" (another incoming item claims the same existing one
 * with more right).  The piece share_of_matches is what the whole table's share of matches added.  The confidence is 1 / (1 + exp(-score)), unless a key lifts it or one of the three caps it.
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

/* The evidence for a match; shift and shared are those of its MatchOutcomes, 0 and false where it stands alone. */
Jsonb *
match_evidence(const MatchFound *found, float shift, bool shared)
{
	JsonbParseState *state = NULL;
	JsonbValue *result;
	int			i;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_number(&state, "score", found->logit + shift);
	push_key(&state, "added");
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_number(&state, "start", score_bias());
	if (fabsf(shift) >= 0.005f)
		push_number(&state, "share_of_matches", shift);
	for (i = 0; i < N_FEATURES; i++)
	{
		float		added = score_weight(i) * found->features[i];

		if (fabsf(added) >= 0.005f)
			push_number(&state, score_feature_name(i), added);
	}
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	if (found->key_shared)
		push_true(&state, "key_shared");
	if (score_contradicted(found->features))
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
