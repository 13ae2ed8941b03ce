/*
 * score.h
 *	  From what two items have in common to how sure one can be that they are the same.
 */
#ifndef MATCH_SCORE_H
#define MATCH_SCORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is compared; score.c says what each is.  The order is that of its table. */
typedef enum Feature
{
	F_TITLE, F_INCOMING_COVERED, F_EXISTING_COVERED, F_INCOMING_RARE_MISSING, F_EXISTING_RARE_MISSING,
	F_WORDS, F_WORDS_CONTAINED, F_CODE_SHARED, F_CODE_CONFLICT, F_CODE_EXTRA, F_CODE_PREFIX, F_CODE_VARIANT, F_CODE_MISSING, F_NUMBER_SHARED, F_NUMBER_CONFLICT, F_UNIT_SHARED,
	F_UNIT_CONFLICT, F_PACK_CONFLICT, F_CONDITION_CONFLICT, F_BUNDLE_CONFLICT, F_COLOUR_AGREES, F_COLOUR_CONFLICT, F_BRAND_AGREES, F_BRAND_CONFLICT, F_MPN_EQUAL,
	F_MPN_IN_TITLE, F_MPN_CONFLICT, F_MPN_VARIANT, F_PRICE_NEAR, F_PRICE_DISTANCE, F_GTIN_EQUAL, F_GTIN_CONFLICT, F_GTIN_DAMAGED,
	F_SKU_EQUAL, F_SHORT_TITLE, F_RIVAL,
	N_FEATURES
} Feature;

typedef enum MatchMethod
{
	METHOD_NONE, METHOD_TOKENS, METHOD_SKU, METHOD_BRAND_MPN, METHOD_GTIN
} MatchMethod;

typedef struct MatchFound
{
	uint32_t	item;
	uint8_t		method;
	bool		key_shared;		/* the key of the method is that of several existing items */
	float		logit;
	float		confidence;
	float		features[N_FEATURES];
} MatchFound;

extern const char *const match_method_names[];
extern const char *score_feature_name(Feature feature);
extern float score_weight(Feature feature);
extern float score_bias(void);
extern void score_pair(MatchFound *found);
extern void score_rank(MatchFound *found, int n);
extern float score_confidence(const MatchFound *found, float shift);
extern float score_shift(const float *logits, size_t n);
extern bool score_contradicted(const float features[N_FEATURES]);

#endif
