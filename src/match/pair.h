/*
 * pair.h
 *	  Two items that are being compared.
 */
#ifndef MATCH_PAIR_H
#define MATCH_PAIR_H

#include "match/search.h"

#define MAX_FORWARD NORM_TOKENS

/* An existing item's tokens and which tokens of either side the other one covers. */
typedef struct Pair
{
	const MatchQuery *query;
	const IndexItem *item;
	int			n;
	int			begun;			/* BEGUN_*, of the words that they share */
	const IndexTerm *terms[MAX_FORWARD];
	uint32_t	hashes[MAX_FORWARD];
	float		idf[MAX_FORWARD];
	uint8_t		span[MAX_FORWARD];
	bool		covered[MAX_FORWARD];
	bool		extra[MAX_FORWARD];
	bool		after_for[MAX_FORWARD];
	bool		query_covered[QUERY_TOKENS];
	bool		described[MAX_FORWARD];	/* stands in the other's description only */
	bool		query_described[QUERY_TOKENS];
} Pair;

/* features_code.c */
extern void compare_codes(const Pair *pair, float *f);

static inline float
larger(float a, float b)
{
	return a > b ? a : b;
}

static inline float
smaller(float a, float b)
{
	return a < b ? a : b;
}

#endif
