/*
 * score.h
 *	  What two items have in common, and the score that it adds up to.
 */
#ifndef MATCH_SCORE_H
#define MATCH_SCORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The pieces of evidence: model.def says what each is. */
typedef enum Feature
{
#define EVIDENCE(feature, name, sign, weight) feature,
#include "match/model.def"
	N_FEATURES
} Feature;

typedef enum MatchMethod
{
	METHOD_NONE, METHOD_TOKENS, METHOD_SKU, METHOD_BRAND_MPN, METHOD_GTIN
} MatchMethod;

#define DOUBT_KEY_SHARED 0x01	/* the key of the method is that of several existing items */
#define DOUBT_CONTRADICTED 0x02 /* something says that the two are different things to sell */

/* An existing item that an incoming one may be. */
typedef struct MatchFound
{
	uint32_t	item;
	float		score;			/* log odds that it is the same rather than a new one, before other rows are looked at */
	uint8_t		method;
	uint8_t		doubts;
	int16_t		added[N_FEATURES];	/* what each piece added to the score, in hundredths */
} MatchFound;

extern const char *const match_method_names[];
extern const char *score_feature_name(Feature feature);
extern float score_weight(Feature feature);
extern int	score_sign(Feature feature);
extern float score_bias(void);
extern void score_set_weights(const float weights[N_FEATURES], float bias);
extern float score_curve(float log_odds);
extern float score_curve_back(float log_odds);
extern float score_curve_slope(void);
extern float score_curve_offset(void);
extern void score_set_curve(float slope, float offset);
extern void score_pair(MatchFound *found, const float features[N_FEATURES]);
extern void score_rank(MatchFound *found, int n);

#endif
