/*
 * score.c
 *	  The weights of what two items have in common, and the confidence that follows.
 *
 * The weights were fitted by logistic regression on two public pairs of shops (Abt-Buy, Walmart-Amazon), with the sign of each weight
 * held to what it means; those of keys, packs and conditions, of which these have few, were set by hand.
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

static const float bias = -1.04f;

static const FeatureWeight weights[N_FEATURES] = {
	[F_TITLE] = {"title", 2.77f},	/* cosine of the titles */
	[F_INCOMING_COVERED] = {"incoming_covered", 0.00f},	/* share of the incoming title that the existing has */
	[F_EXISTING_COVERED] = {"existing_covered", 1.35f},
	[F_INCOMING_RARE_MISSING] = {"incoming_rare_missing", -0.40f},	/* rarity of the rarest word that the existing lacks */
	[F_EXISTING_RARE_MISSING] = {"existing_rare_missing", 0.00f},
	[F_WORDS] = {"words", 0.00f},	/* how much of the words, model numbers aside, is in both */
	[F_WORDS_CONTAINED] = {"words_contained", 0.22f},	/* the larger of the shares of either side's words that the other has */
	[F_CODE_SHARED] = {"code", 2.31f},	/* rarity of a model number that both have */
	[F_CODE_CONFLICT] = {"code_conflict", -2.11f},	/* both have model numbers, and none in common */
	[F_CODE_EXTRA] = {"code_extra", -2.69f},	/* beside a common one, both have others */
	[F_CODE_PREFIX] = {"code_prefix", 1.52f},	/* one model number is the other's without its last letters */
	[F_CODE_VARIANT] = {"code_variant", 0.33f},	/* model numbers differ in their last letters */
	[F_CODE_MISSING] = {"code_missing", -0.69f},	/* only one of the two gives a model number */
	[F_NUMBER_SHARED] = {"number", 0.00f},
	[F_NUMBER_CONFLICT] = {"number_conflict", -1.49f},
	[F_UNIT_SHARED] = {"unit", 0.28f},	/* equal quantities */
	[F_UNIT_CONFLICT] = {"unit_conflict", -1.00f},	/* other quantities of the same unit */
	[F_PACK_CONFLICT] = {"pack_conflict", -1.20f},
	[F_CONDITION_CONFLICT] = {"condition_conflict", -1.50f},	/* compatible, remanufactured or refurbished against original */
	[F_BUNDLE_CONFLICT] = {"bundle_conflict", -0.92f},
	[F_COLOUR_AGREES] = {"colour", 0.71f},
	[F_COLOUR_CONFLICT] = {"colour_conflict", -2.59f},
	[F_BRAND_AGREES] = {"brand", 0.30f},
	[F_BRAND_CONFLICT] = {"brand_conflict", -2.80f},
	[F_MPN_EQUAL] = {"mpn", 0.58f},	/* part numbers equal */
	[F_MPN_IN_TITLE] = {"mpn_in_title", 0.20f},
	[F_MPN_CONFLICT] = {"mpn_conflict", -0.59f},
	[F_MPN_VARIANT] = {"mpn_variant", -0.47f},
	[F_PRICE_NEAR] = {"price_near", 0.40f},
	[F_PRICE_DISTANCE] = {"price_distance", -1.24f},	/* natural logarithm of the ratio, at most 2 */
	[F_GTIN_EQUAL] = {"gtin", 6.00f},
	[F_GTIN_CONFLICT] = {"gtin_conflict", -2.50f},
	[F_GTIN_DAMAGED] = {"gtin_damaged", 1.00f},	/* equal once a spreadsheet's damage is undone */
	[F_SKU_EQUAL] = {"sku", 2.00f},
	[F_SHORT_TITLE] = {"short_title", -0.18f},	/* little to go by */
	[F_RIVAL] = {"rival", -4.90f},	/* closeness of the next best candidate */
};

const char *const match_method_names[] = {"none", "tokens", "sku", "brand_mpn", "gtin"};

/* Confidence of an exact key that nothing contradicts, and the most that anything else reaches. */
static const float gtin_confidence = 0.995f;
static const float brand_mpn_confidence = 0.985f;
static const float sku_confidence = 0.975f;
static const float tokens_cap = 0.98f;
static const float doubt_cap = 0.94f;

/* Share of incoming items that had a match where the weights were fitted; how far the share of other tables may move the bias. */
static const float fitted_share = 0.67f;
static const float most_shift = 1.5f;

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
 * How sure one can be of a ranked match.  The shift is that of score_shift(), 0 where the item stands alone.
 */
float
score_confidence(const MatchFound *found, float shift)
{
	float		confidence = logistic(found->logit + shift);
	float		key = found->key_shared ? 0 : key_confidence(found);
	bool		doubtful = found->key_shared || score_contradicted(found->features);

	if (confidence > tokens_cap)
		confidence = tokens_cap;
	if (doubtful)
		return confidence > doubt_cap ? doubt_cap : confidence;
	return key > confidence ? key : confidence;
}

/*
 * Given the candidates of an item, best first, sets their confidence.  A rival that is nearly as good takes some of it, and a key that
 * several candidates have leaves a doubt.
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

		one->features[F_RIVAL] = logistic(rival - one->logit);
		one->logit += weights[F_RIVAL].weight * one->features[F_RIVAL];
		for (j = 0; j < n && one->method != METHOD_TOKENS; j++)
			if (j != i && found[j].method == one->method)
				one->key_shared = true;
		one->confidence = score_confidence(one, 0);
	}
}

/*
 * What to add to the scores of the best matches of many incoming items, since more or fewer of them have a match at all than where the
 * weights were fitted.  The share is estimated from the scores themselves by expectation and maximisation (Saerens, Latinne and
 * Decaestecker, "Adjusting the outputs of a classifier to new a priori probabilities", 2002); few items move it little.
 */
float
score_shift(const float *logits, size_t n)
{
	float		trust = (float) n / ((float) n + 50);
	float		shift = 0;
	int			round;
	size_t		i;

	for (round = 0; n > 0 && round < 20; round++)
	{
		double		sum = 0;
		float		share;

		for (i = 0; i < n; i++)
			sum += logistic(logits[i] + shift);
		share = (float) (sum / (double) n);
		share = share < 0.01f ? 0.01f : share > 0.99f ? 0.99f : share;
		shift = logf(share / (1 - share)) - logf(fitted_share / (1 - fitted_share));
		shift = shift > most_shift ? most_shift : shift < -most_shift ? -most_shift : shift;
	}
	return shift * trust;
}
