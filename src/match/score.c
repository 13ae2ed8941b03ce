/*
 * score.c
 *	  Adds up the evidence for and against two items being the same.
 *
 * A linear model in log odds: score = bias + sum of weight × feature, against the item being new.  The weights are data (model.def),
 * fitted by `make fit`.  What the score is worth beside its rivals and other rows is assign.c's to say, and what it is worth for one
 * supplier calibrate.c's.
 */
#include "match/score.h"

#include <math.h>

typedef struct Evidence
{
	const char *name;
	int			sign;
} Evidence;

static const Evidence evidence[N_FEATURES] = {
#define EVIDENCE(feature, name, sign, weight) {name, sign},
#include "match/model.def"
};

static float weights[N_FEATURES] = {
#define EVIDENCE(feature, name, sign, weight) weight,
#include "match/model.def"
};

static float bias =
#define BIAS(weight) weight
#include "match/model.def"
	;

static float curve_slope =
#define CURVE_SLOPE(value) value
#include "match/model.def"
	;

static float curve_offset =
#define CURVE_OFFSET(value) value
#include "match/model.def"
	;

/* By how much another candidate must be more like an item than the one that has its key, to cast doubt on the key. */
#define MORE_LIKE 0.7f

const char *const match_method_names[] = {"none", "tokens", "sku", "brand_mpn", "gtin"};

const char *
score_feature_name(Feature feature)
{
	return evidence[feature].name;
}

float
score_weight(Feature feature)
{
	return weights[feature];
}

/* 1 where the piece speaks for a match, -1 where against, 0 where its sign is free. */
int
score_sign(Feature feature)
{
	return evidence[feature].sign;
}

float
score_bias(void)
{
	return bias;
}

/* Log odds as assign.c finds them, as those that are right as often as they say: what the labelled sets taught beside the weights. */
float
score_curve(float log_odds)
{
	return curve_slope * log_odds + curve_offset;
}

/* The reverse. */
float
score_curve_back(float log_odds)
{
	return (log_odds - curve_offset) / curve_slope;
}

float
score_curve_slope(void)
{
	return curve_slope;
}

float
score_curve_offset(void)
{
	return curve_offset;
}

void
score_set_curve(float slope, float offset)
{
	curve_slope = slope;
	curve_offset = offset;
}

/* Replaces the model, for fitting one; not while others search. */
void
score_set_weights(const float new_weights[N_FEATURES], float new_bias)
{
	int			i;

	for (i = 0; i < N_FEATURES; i++)
		weights[i] = new_weights[i];
	bias = new_bias;
}

/*
 * Whether anything says that the two are different things to sell, however much else agrees.  Such a match is for a person to see.  Keys
 * are believed only where nothing else speaks against them, for a wrong one is most often that of a sibling.
 */
static bool
is_contradicted(const float f[N_FEATURES], bool by_key)
{
	if (f[F_PACK_CONFLICT] > 0 || f[F_CONDITION_CONFLICT] == 1 || f[F_GTIN_CONFLICT] > 0 || f[F_SHORT_CONFLICT] > 0 ||
		f[F_MADE_FOR] > 0 || f[F_UNIT_CONFLICT] > 0 || f[F_BRAND_CONFLICT] >= 1)
		return true;
	return by_key && (f[F_BUNDLE_CONFLICT] > 0 || f[F_CONDITION_CONFLICT] > 0 || f[F_COLOUR_CONFLICT] > 0 || f[F_MPN_CONFLICT] > 0 ||
					  f[F_MPN_VARIANT] > 0 || f[F_CODE_CONFLICT] > 0 || f[F_CODE_VARIANT] > 0 || f[F_KEY_ALONE] > 0);
}

/* Sets the pair's score, what each piece added to it, its doubts, and which key, if any, it rests on. */
void
score_pair(MatchFound *found, const float f[N_FEATURES])
{
	float		sum = bias;
	int			i;

	for (i = 0; i < N_FEATURES; i++)
	{
		float		added = weights[i] * f[i];

		sum += added;
		found->added[i] = (int16_t) lroundf(added * 100);
	}
	found->score = sum;
	if (f[F_GTIN_EQUAL] > 0)
		found->method = METHOD_GTIN;
	else if (f[F_MPN_EQUAL] > 0 && f[F_BRAND_AGREES] > 0)
		found->method = METHOD_BRAND_MPN;
	else if (f[F_SKU_EQUAL] > 0)
		found->method = METHOD_SKU;
	else
		found->method = METHOD_TOKENS;
	found->doubts = is_contradicted(f, found->method != METHOD_TOKENS) ? DOUBT_CONTRADICTED : 0;
}

/* What speaks for a candidate beside keys that are one item's. */
static float
score_without_key(const MatchFound *found)
{
	return found->score - (float) (found->added[F_GTIN_EQUAL] + found->added[F_GTIN_DAMAGED] + found->added[F_SKU_EQUAL]) / 100;
}

/*
 * Given the candidates of an item, best first, marks those whose key others of them have too, and those whose key is all that they are
 * ahead by: where another candidate is more like the item in everything else, the key may be the wrong one.
 */
void
score_rank(MatchFound *found, int n)
{
	int			i;
	int			j;

	for (i = 0; i < n; i++)
		for (j = 0; j < n && found[i].method != METHOD_TOKENS; j++)
		{
			if (j == i)
				continue;
			if (found[j].method == found[i].method)
				found[i].doubts |= DOUBT_KEY_SHARED;
			if (found[i].method != METHOD_BRAND_MPN && score_without_key(&found[j]) > score_without_key(&found[i]) + MORE_LIKE)
				found[i].doubts |= DOUBT_CONTRADICTED;
		}
}
