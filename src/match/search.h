/*
 * search.h
 *	  Finds the existing items that an item may be.
 */
#ifndef MATCH_SEARCH_H
#define MATCH_SEARCH_H

#include "match/index.h"
#include "match/score.h"

#define MATCH_COMPARED 8		/* candidates whose features are all computed */

#define MAX_KEY_ITEMS 8			/* candidates that one exact key may give */
#define MAX_CANDIDATES (MATCH_CANDIDATES + 4 * MAX_KEY_ITEMS)

typedef struct MatchScratch MatchScratch;

#define QUERY_TOKENS (NORM_TOKENS + 16) /* with codes that are written in one word in the index */

/* A token of the item that is looked for. */
typedef struct QueryToken
{
	uint32_t	term;			/* in the index, or UINT32_MAX */
	uint32_t	df;
	float		idf;
	uint8_t		span;
	uint8_t		kind;
	uint8_t		unit;
	bool		repeated;		/* stands earlier in the item */
	bool		extra;			/* of the description */
	bool		after_for;
	uint16_t	suffix;
	uint32_t	stem;
	float		value;
	uint32_t	hash;
	uint8_t		number;			/* of the item's token, NORM_TOKENS where it is of several */
} QueryToken;

#define QUERY_SLOTS 256

/* The item that is looked for, in the terms of the index. */
typedef struct MatchQuery
{
	const MatchItem *item;
	int			n;
	float		weight;			/* sum of the idf of the plain tokens */
	float		weight2;		/* and of their squares */
	float		max_idf;		/* of a term that one item has */
	int			gtin_items;		/* existing items that have its GTIN */
	QueryToken	tokens[QUERY_TOKENS];
	uint32_t	slot_terms[QUERY_SLOTS];
	uint8_t		slot_tokens[QUERY_SLOTS];	/* token + 1 */
} MatchQuery;

extern MatchScratch *scratch_create(const MatchIndex *index);
extern void scratch_free(MatchScratch *scratch);
extern int	match_candidates(const MatchIndex *index, MatchScratch *scratch, const MatchItem *item, uint32_t candidates[MAX_CANDIDATES]);
extern const MatchQuery *match_query(const MatchScratch *scratch);
extern int	match_search(const MatchIndex *index, MatchScratch *scratch, const MatchItem *item, MatchFound *found, int want);

/* typo.c */
extern uint32_t typo_find(const MatchIndex *index, const char *word, size_t length);

/* features.c */
extern void features_compare(const MatchIndex *index, const MatchQuery *query, uint32_t item, float features[N_FEATURES]);
extern float features_overlap(const MatchIndex *index, const MatchQuery *query, uint32_t item);
extern float mindex_idf(const MatchIndex *index, uint32_t df);

/* The token of the query that has this term, or -1. */
static inline int
query_find(const MatchQuery *query, uint32_t term)
{
	uint32_t	slot = term * UINT32_C(2654435761) >> 24;

	for (; query->slot_tokens[slot] != 0; slot = (slot + 1) & (QUERY_SLOTS - 1))
		if (query->slot_terms[slot] == term)
			return query->slot_tokens[slot] - 1;
	return -1;
}

#endif
