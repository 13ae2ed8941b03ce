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

/* The terms that begin with an unfinished word. */
typedef struct QueryBegun
{
	uint32_t	first;			/* term */
	uint32_t	n_terms;
	uint32_t	postings;		/* in MatchIndex.postings */
	uint32_t	n_postings;
	uint8_t		number;			/* of the item's token */
	uint8_t		token;			/* of the query */
} QueryBegun;

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
	int			n_begun;
	QueryBegun	begun[ITEM_BEGUN];
	QueryToken	tokens[QUERY_TOKENS];
	uint32_t	slot_terms[QUERY_SLOTS];
	uint8_t		slot_tokens[QUERY_SLOTS];	/* token + 1 */
} MatchQuery;

extern MatchScratch *scratch_create(const MatchIndex *index);
extern void scratch_free(MatchScratch *scratch);
extern int	match_candidates(const MatchIndex *index, MatchScratch *scratch, const MatchItem *item, uint32_t candidates[MAX_CANDIDATES]);
extern const MatchQuery *match_query(const MatchScratch *scratch);
extern int	match_search(const MatchIndex *index, MatchScratch *scratch, const MatchItem *item, MatchFound *found, int want);

/* prefix.c */
typedef struct PrefixWalk
{
	float	   *sums;			/* of each existing item, 0 between searches */
	uint32_t   *touched;
	uint32_t	n_touched;
	uint32_t	room;			/* in touched */
} PrefixWalk;

extern int	prefix_find(const MatchIndex *index, const MatchItem *item, QueryBegun ranges[ITEM_BEGUN]);
extern void prefix_apply(const MatchIndex *index, MatchQuery *query, int n_ranges);
extern int	prefix_candidates(const MatchIndex *index, const MatchQuery *query, const uint8_t *order, int n_order, PrefixWalk *walk,
							  uint32_t best[MATCH_CANDIDATES]);

/* typo.c */
extern bool typo_mend(const MatchIndex *index, MatchQuery *query);
extern uint32_t typo_find(const MatchIndex *index, const char *word, size_t length);

/* features.c */
extern void features_compare(const MatchIndex *index, const MatchQuery *query, uint32_t item, float features[N_FEATURES]);
extern float features_overlap(const MatchIndex *index, const MatchQuery *query, uint32_t item);
extern float mindex_idf(const MatchIndex *index, uint32_t df);

/* Lets a token of the query be found by its term. */
static inline void
query_add_slot(MatchQuery *query, int token)
{
	uint32_t	slot = query->tokens[token].term * UINT32_C(2654435761) >> 24;

	while (query->slot_tokens[slot] != 0)
		slot = (slot + 1) & (QUERY_SLOTS - 1);
	query->slot_terms[slot] = query->tokens[token].term;
	query->slot_tokens[slot] = (uint8_t) (token + 1);
}

/* The token of the query that has this term, or begins it, or -1. */
static inline int
query_find(const MatchQuery *query, uint32_t term)
{
	uint32_t	slot = term * UINT32_C(2654435761) >> 24;
	int			i;

	for (; query->slot_tokens[slot] != 0; slot = (slot + 1) & (QUERY_SLOTS - 1))
		if (query->slot_terms[slot] == term)
			return query->slot_tokens[slot] - 1;
	for (i = 0; i < query->n_begun; i++)
		if (term - query->begun[i].first < query->begun[i].n_terms)
			return query->begun[i].token;
	return -1;
}

/* The range of an unfinished token, or NULL. */
static inline const QueryBegun *
query_begun(const MatchQuery *query, int token)
{
	int			i;

	for (i = 0; i < query->n_begun; i++)
		if (query->begun[i].token == token)
			return &query->begun[i];
	return NULL;
}

/* Of the unfinished tokens that a pair shares: whether some are only begun, and some are as typed. */
#define BEGUN_ONLY 1
#define BEGUN_EXACT 2

static inline int
query_how_begun(const MatchQuery *query, int token, uint32_t term)
{
	if (query->n_begun == 0 || query_begun(query, token) == NULL)
		return 0;
	return query->tokens[token].term == term ? BEGUN_EXACT : BEGUN_ONLY;
}

#endif
