/*
 * score.c
 *	  The weights of what two items have in common, and the confidence that follows.
 *
 * A logistic model: confidence = 1 / (1 + exp(-(bias + sum of weight × feature))), with the weights of the table below.  A rule on exact
 * keys stands above it: a trade item number, brand with part number, or SKU that is equal, belongs to one existing item only and is
 * contradicted by nothing lifts the confidence to that of the key.  Confidence is capped below 1 for all that is not an exact key, since
 * no likeness of titles is proof.
 */
#include "match/score.h"

#include <math.h>

typedef struct FeatureWeight
{
	const char *name;
	float		weight;
} FeatureWeight;

static const float bias = -7.0f;

static const FeatureWeight weights[N_FEATURES] = {
	[F_TITLE] = {"title", 5.0f},	/* cosine of the titles */
	[F_INCOMING_COVERED] = {"incoming_covered", 3.0f},	/* share of the incoming title that the existing has */
	[F_EXISTING_COVERED] = {"existing_covered", 2.0f},
	[F_INCOMING_RARE_MISSING] = {"incoming_rare_missing", -1.0f},	/* rarity of the rarest word that the existing lacks */
	[F_EXISTING_RARE_MISSING] = {"existing_rare_missing", -1.0f},
	[F_CODE_SHARED] = {"code", 4.0f},	/* rarity of a model number that both have */
	[F_CODE_CONFLICT] = {"code_conflict", -4.0f},	/* both have model numbers, and none in common */
	[F_CODE_EXTRA] = {"code_extra", -1.0f},	/* beside a common one, both have others */
	[F_CODE_VARIANT] = {"code_variant", 1.0f},	/* model numbers differ in their last letters */
	[F_NUMBER_SHARED] = {"number", 0.5f},
	[F_NUMBER_CONFLICT] = {"number_conflict", -1.0f},
	[F_UNIT_SHARED] = {"unit", 0.5f},	/* equal quantities */
	[F_UNIT_CONFLICT] = {"unit_conflict", -2.0f},	/* other quantities of the same unit */
	[F_PACK_CONFLICT] = {"pack_conflict", -3.0f},
	[F_CONDITION_CONFLICT] = {"condition_conflict", -4.0f},	/* compatible, remanufactured or refurbished against original */
	[F_BUNDLE_CONFLICT] = {"bundle_conflict", -2.0f},
	[F_BRAND_AGREES] = {"brand", 1.0f},
	[F_BRAND_CONFLICT] = {"brand_conflict", -3.0f},
	[F_MPN_EQUAL] = {"mpn", 4.0f},	/* part numbers equal */
	[F_MPN_IN_TITLE] = {"mpn_in_title", 2.0f},
	[F_MPN_CONFLICT] = {"mpn_conflict", -1.0f},
	[F_MPN_VARIANT] = {"mpn_variant", 1.0f},
	[F_PRICE_NEAR] = {"price_near", 0.8f},
	[F_PRICE_DISTANCE] = {"price_distance", -1.0f},	/* natural logarithm of the ratio, at most 2 */
	[F_GTIN_EQUAL] = {"gtin", 6.0f},
	[F_GTIN_CONFLICT] = {"gtin_conflict", -4.0f},
	[F_GTIN_DAMAGED] = {"gtin_damaged", 2.0f},	/* equal once a spreadsheet's damage is undone */
	[F_SKU_EQUAL] = {"sku", 4.0f},
	[F_SHORT_TITLE] = {"short_title", -1.0f},	/* little to go by */
	[F_RIVAL] = {"rival", -2.0f},	/* closeness of the next best candidate */
};

const char *const match_method_names[] = {"none", "tokens", "sku", "brand_mpn", "gtin"};

/* Confidence of an exact key that nothing contradicts, and the most that anything else reaches. */
static const float gtin_confidence = 0.995f;
static const float brand_mpn_confidence = 0.985f;
static const float sku_confidence = 0.975f;
static const float tokens_cap = 0.98f;
static const float doubt_cap = 0.94f;

const char *
score_feature_name(Feature feature)
{
	return weights[feature].name;
}

float
score_weight(Feature feature)
{
	return weights[feature].weight;
}

float
score_bias(void)
{
	return bias;
}

/* Whether anything says that the two are different things to sell, however much else agrees. */
bool
score_contradicted(const float f[N_FEATURES])
{
	return f[F_BRAND_CONFLICT] >= 1 || f[F_PACK_CONFLICT] > 0 || f[F_CONDITION_CONFLICT] > 0 || f[F_UNIT_CONFLICT] > 0 ||
		f[F_GTIN_CONFLICT] > 0 || f[F_PRICE_DISTANCE] > 1.1f;
}

static float
logistic(float x)
{
	return 1.0f / (1.0f + expf(-x));
}

/* Sets the pair's logit and which key, if any, it rests on. */
void
score_pair(MatchFound *found)
{
	const float *f = found->features;
	float		sum = bias;
	int			i;

	for (i = 0; i < N_FEATURES; i++)
		sum += weights[i].weight * f[i];
	found->logit = sum;
	if (f[F_GTIN_EQUAL] > 0)
		found->method = METHOD_GTIN;
	else if (f[F_MPN_EQUAL] > 0 && f[F_BRAND_AGREES] > 0)
		found->method = METHOD_BRAND_MPN;
	else if (f[F_SKU_EQUAL] > 0)
		found->method = METHOD_SKU;
	else
		found->method = METHOD_TOKENS;
}

/* Confidence that the key alone gives, where nothing contradicts it. */
static float
key_confidence(const MatchFound *found)
{
	const float *f = found->features;

	switch (found->method)
	{
		case METHOD_GTIN:
			return gtin_confidence;
		case METHOD_BRAND_MPN:
			return f[F_CODE_SHARED] > 0.4f ? brand_mpn_confidence : 0;
		case METHOD_SKU:
			return f[F_TITLE] > 0.3f ? sku_confidence : 0;
		default:
			return 0;
	}
}

/*
 * Given the candidates of an item, best first, sets their confidence.  A rival that is nearly as good takes some of it, and a key that
 * several candidates share counts no more than likeness does.
 */
void
score_rank(MatchFound *found, int n)
{
	float		best = n > 0 ? found[0].logit : 0;
	int			i;
	int			j;

	for (i = 0; i < n; i++)
	{
		MatchFound *one = &found[i];
		float		rival = i > 0 ? best : n > 1 ? found[1].logit : -20;
		float		key;

		one->features[F_RIVAL] = logistic(rival - one->logit);
		one->logit += weights[F_RIVAL].weight * one->features[F_RIVAL];
		one->confidence = logistic(one->logit);
		for (j = 0; j < n && one->method != METHOD_TOKENS; j++)
			if (j != i && found[j].method == one->method)
				one->key_shared = true;
		key = key_confidence(one);
		if (one->confidence > tokens_cap)
			one->confidence = tokens_cap;
		if (key > 0 && !one->key_shared && !score_contradicted(one->features))
			one->confidence = key > one->confidence ? key : one->confidence;
		else if (score_contradicted(one->features) && one->confidence > doubt_cap)
			one->confidence = doubt_cap;
	}
}
