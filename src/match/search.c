/*
 * search.c
 *	  The search for an item in a match index.
 *
 * Exact keys give the first candidates.  Then the item's tokens are walked, rarest first, each existing item adding up the weights of the
 * tokens that it shares, until what the other tokens could add would not make a match, or a cap on postings is reached.  The best are
 * completed through their forward lists, the best of those compared in full and scored.  The idea is that of prefix-filtered set
 * similarity joins (Bayardo et al., "Scaling up all pairs similarity search", 2007), with weights of inverse document frequency.  An item
 * without a rare token has its unknown words mended (typo.c), and its common ones walked together.
 */
#include "match/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_POSTINGS 20000		/* walked for an item, of all its tokens */
#define MAX_LIST 8000			/* of one token */
#define RARE 1000				/* items, at most, that have a token which finds something by itself */
#define MAX_COMMON_LISTS 4		/* of common tokens, that are walked together */
#define MAX_COMMON 200000		/* of the least common one */
#define MIN_REMAINING 0.35f		/* share of an item's weight below which what is left cannot make a match alone */

struct MatchScratch
{
	float	   *sums;			/* of each existing item, 0 between searches */
	uint32_t   *touched;
	uint32_t	n_touched;
	uint32_t	n_candidates;
	MatchQuery		query;
	uint32_t	candidates[MAX_CANDIDATES];
	float		overlap[MAX_CANDIDATES];
	bool		by_key[MAX_CANDIDATES];
};

/* What a search needs for itself.  Returns NULL when memory is out. */
MatchScratch *
scratch_create(const MatchIndex *index)
{
	MatchScratch *scratch = calloc(1, sizeof(MatchScratch));

	if (scratch == NULL)
		return NULL;
	scratch->sums = calloc((size_t) index->n_items + 1, sizeof(float));
	scratch->touched = malloc((MAX_POSTINGS + MAX_LIST) * sizeof(uint32_t));
	if (scratch->sums == NULL || scratch->touched == NULL)
	{
		scratch_free(scratch);
		return NULL;
	}
	return scratch;
}

void
scratch_free(MatchScratch *scratch)
{
	if (scratch == NULL)
		return;
	free(scratch->sums);
	free(scratch->touched);
	free(scratch);
}

/* Lets tokens find the query's stems, but for those that it has as tokens of its own. */
static void
query_add_stems(MatchQuery *query)
{
	int			i;

	for (i = 0; i < query->n; i++)
	{
		QueryToken *q = &query->tokens[i];

		if (q->span != SPAN_STEM || q->term == UINT32_MAX)
			continue;
		q->repeated = query_find(query, q->term) >= 0;
		if (!q->repeated)
			query_add_slot(query, i);
	}
}

/* Adds a token to the query.  Returns false when it is full. */
static bool
query_add(const MatchIndex *index, MatchQuery *query, const Token *token, uint32_t term, bool extra)
{
	QueryToken *q = &query->tokens[query->n];

	if (query->n == QUERY_TOKENS)
		return false;
	q->term = term;
	q->df = term == UINT32_MAX ? 0 : index->terms[term].df;
	q->idf = mindex_idf(index, q->df);
	q->span = token->span;
	q->kind = token->kind;
	q->unit = token->unit;
	q->stem = token->stem;
	q->suffix = token->suffix;
	q->value = token->value;
	q->extra = extra;
	q->after_for = token->after_for;
	q->hash = (uint32_t) token->hash;
	q->number = NORM_TOKENS;
	q->repeated = term != UINT32_MAX && query_find(query, term) >= 0;
	query->n++;
	if (term != UINT32_MAX && !q->repeated && q->span != SPAN_STEM)
		query_add_slot(query, query->n - 1);
	return true;
}

/* Copies a token's text without points.  Returns its length, 0 where there is no room or the text was cut. */
static size_t
append_text(const TokenList *list, const Token *token, char *text, size_t used)
{
	size_t		n = used;
	size_t		i;

	if (token->length == NORM_TOKEN_BYTES || used + token->length > NORM_TOKEN_BYTES)
		return 0;
	for (i = 0; i < token->length; i++)
		if (list->text[token->start + i] != '.')
			text[n++] = list->text[token->start + i];
	return n;
}

/*
 * Adds what the index knows in one word and the item writes in several, up to the plain token number last: mdr ex32lp / blk, cush top.
 * plain[] are the numbers of the plain tokens in order.
 */
static void
query_add_joined(const MatchIndex *index, const MatchItem *item, MatchQuery *query, const uint8_t plain[], int last)
{
	const TokenList *list = &item->tokens;
	int			span;
	int			i;

	for (span = 2; span < SPAN_STEM && span <= last + 1; span++)
	{
		char		text[NORM_TOKEN_BYTES];
		char		one[NORM_TOKEN_BYTES];
		size_t		n = 0;
		bool		digits = false;
		Token		token;
		uint32_t	term;

		for (i = last - span + 1; i <= last; i++)
		{
			const Token *part = &list->tokens[plain[i]];

			digits |= part->kind == TOKEN_CODE || part->kind == TOKEN_NUMBER;
			n = part->kind == TOKEN_QUANTITY || (n == 0 && i > last - span + 1) ? 0 : append_text(list, part, text, n);
		}
		if (n < 4 || (!digits && (span > 2 || n < 6)))
			continue;
		memset(&token, 0, sizeof(token));
		if (digits)
			code_describe(list->seed, text, n, &token);
		else
			token.hash = text_hash(list->seed, one, word_singular(text, n, one));
		token.span = (uint8_t) span;
		term = mindex_find_term(index, token.hash);
		if (term != UINT32_MAX && index->terms[term].kind == (digits ? TOKEN_CODE : TOKEN_WORD))
			query_add(index, query, &token, term, false);
	}
}

/*
 * Adds a word that the index does not know as the two that it does, if there are such: techcraft.  Returns whether there are.
 */
static bool
query_add_split(const MatchIndex *index, const MatchItem *item, MatchQuery *query, const Token *token, bool extra)
{
	const char *text = item->tokens.text + token->start;
	uint32_t	best = 0;
	uint32_t	left = 0;
	uint32_t	right = 0;
	Token		half = *token;
	char		one[NORM_TOKEN_BYTES];
	size_t		at;

	for (at = 3; token->kind == TOKEN_WORD && token->length < NORM_TOKEN_BYTES && at + 3 <= token->length; at++)
	{
		uint32_t	a = mindex_find_term(index, text_hash(item->tokens.seed, text, at));
		size_t		rest = a == UINT32_MAX ? 0 : word_singular(text + at, token->length - at, one);
		uint32_t	b = a == UINT32_MAX ? a : mindex_find_term(index, text_hash(item->tokens.seed, one, rest));
		uint32_t	common;

		if (b == UINT32_MAX || index->terms[a].kind != TOKEN_WORD || index->terms[b].kind != TOKEN_WORD)
			continue;
		common = index->terms[a].df < index->terms[b].df ? index->terms[a].df : index->terms[b].df;
		if (common <= best)
			continue;
		best = common;
		left = a;
		right = b;
	}
	if (best == 0)
		return false;
	half.hash = index->terms[left].hash;
	query_add(index, query, &half, left, extra);
	half.hash = index->terms[right].hash;
	return query_add(index, query, &half, right, extra);
}

/* Looks the item's tokens up. */
static void
query_prepare(const MatchIndex *index, const MatchItem *item, MatchQuery *query)
{
	uint8_t		plain[NORM_TOKENS];
	int			n_plain = 0;
	int			n_ranges = prefix_find(index, item, query->begun);
	int			i;

	query->item = item;
	query->n_begun = 0;
	query->n = 0;
	query->weight = query->weight2 = 0;
	query->max_idf = mindex_idf(index, 1);
	memset(query->slot_tokens, 0, sizeof(query->slot_tokens));
	for (i = 0; i < item->tokens.n; i++)
	{
		const Token *token = &item->tokens.tokens[i];
		bool		extra = i >= item->tokens.n_title;
		uint32_t	term = mindex_find_term(index, token->hash);
		bool		begun = n_ranges > 0 && query->begun[0].number == i;
		int			k = query->n;

		if (!(term == UINT32_MAX && !begun && query_add_split(index, item, query, token, extra)) && query_add(index, query, token, term, extra))
			query->tokens[query->n - 1].number = (uint8_t) i;
		if (token->span != 1 || extra)
			continue;
		for (; k < query->n; k++)
		{
			query->weight += query->tokens[k].idf;
			query->weight2 += query->tokens[k].idf * query->tokens[k].idf;
		}
		plain[n_plain++] = (uint8_t) i;
		query_add_joined(index, item, query, plain, n_plain - 1);
	}
	query_add_stems(query);
	prefix_apply(index, query, n_ranges);
}

static void
add_candidate(MatchScratch *scratch, uint32_t item, bool by_key)
{
	uint32_t	i;

	for (i = 0; i < scratch->n_candidates; i++)
		if (scratch->candidates[i] == item)
			return;
	if (scratch->n_candidates == MAX_CANDIDATES)
		return;
	scratch->by_key[scratch->n_candidates] = by_key;
	scratch->candidates[scratch->n_candidates++] = item;
}

/* Adds the items that have a key as candidates.  Returns how many there are, as far as they are looked at. */
static int
add_by_key(const MatchIndex *index, MatchScratch *scratch, const IndexKey *keys, uint32_t mask, uint64_t hash)
{
	uint32_t	slot = (uint32_t) hash & mask;
	uint32_t	probes = 0;
	int			n = 0;

	for (; keys[slot].item != 0 && probes++ <= mask && n < MAX_KEY_ITEMS; slot = (slot + 1) & mask)
		if (keys[slot].tag == (uint32_t) (hash >> 32) && keys[slot].item <= index->n_items)
		{
			add_candidate(scratch, keys[slot].item - 1, true);
			n++;
		}
	return n;
}

static void
add_exact(const MatchIndex *index, MatchScratch *scratch, const MatchItem *item)
{
	uint64_t	gtin = item->gtin != 0 ? item->gtin : item->guess.low == item->guess.high ? item->guess.low : 0;

	scratch->query.gtin_items = 0;
	if (gtin != 0)
		scratch->query.gtin_items = add_by_key(index, scratch, index->gtin_keys, index->gtin_mask, mindex_gtin_hash(index->seed, gtin));
	if (item->mpn != 0)
		add_by_key(index, scratch, index->mpn_keys, index->mpn_mask, item->mpn);
	if (item->sku != 0)
		add_by_key(index, scratch, index->sku_keys, index->sku_mask, item->sku);
}

/* Sorts the tokens that the index has by the number of their items.  Returns how many there are. */
static int
order_tokens(const MatchQuery *query, uint8_t order[QUERY_TOKENS])
{
	int			n = 0;
	int			i;
	int			j;

	for (i = 0; i < query->n; i++)
	{
		if (query->tokens[i].df == 0 || query->tokens[i].repeated)
			continue;
		for (j = n++; j > 0 && query->tokens[order[j - 1]].df > query->tokens[i].df; j--)
			order[j] = order[j - 1];
		order[j] = (uint8_t) i;
	}
	return n;
}

/* Postings of a token that the index has.  Returns how many there are, 0 where the index is damaged. */
static uint32_t
token_postings(const MatchIndex *index, const QueryToken *token, const uint32_t **postings)
{
	const IndexTerm *term = &index->terms[token->term];

	if (term->postings > index->n_postings || term->df > index->n_postings - term->postings)
		return 0;
	*postings = index->postings + term->postings;
	return term->df;
}

/* What a token that an existing item has too adds to its sum. */
static float
token_weight(const QueryToken *token)
{
	return token->idf * token->idf * (token->extra ? 0.25f : 1);
}

/*
 * For an item without a rare token: goes through the items of the least common one, and keeps those that have one of the next too.  All
 * lists are in order of items, so one pass over them will do.
 */
static void
walk_common(const MatchIndex *index, MatchScratch *scratch, const uint8_t order[QUERY_TOKENS], int n)
{
	const uint32_t *lists[MAX_COMMON_LISTS];
	const uint32_t *ends[MAX_COMMON_LISTS];
	float		weights[MAX_COMMON_LISTS];
	int			n_lists = 0;
	uint32_t	i;
	uint32_t	count = 0;
	int			k;

	for (k = 0; k < n && n_lists < MAX_COMMON_LISTS; k++)
	{
		const QueryToken *token = &scratch->query.tokens[order[k]];
		uint32_t	df = token_postings(index, token, &lists[n_lists]);

		if (df == 0)
			continue;
		count = n_lists == 0 ? df : count;
		ends[n_lists] = lists[n_lists] + df;
		weights[n_lists++] = token_weight(token);
	}
	if (n_lists == 0)
		return;
	for (i = 0; i < count && i < MAX_COMMON && scratch->n_touched < MAX_POSTINGS; i++)
	{
		uint32_t	item = lists[0][i];
		float		sum = weights[0];

		for (k = 1; k < n_lists; k++)
		{
			while (lists[k] < ends[k] && *lists[k] < item)
				lists[k]++;
			if (lists[k] < ends[k] && *lists[k] == item)
				sum += weights[k];
		}
		if (item >= index->n_items || scratch->sums[item] != 0 || (n_lists > 1 && sum == weights[0]))
			continue;
		scratch->touched[scratch->n_touched++] = item;
		scratch->sums[item] = sum;
	}
}

/* Items, at most, that have a token which finds something by itself. */
static uint32_t
rare_limit(const MatchIndex *index)
{
	return index->n_items < 20 * RARE ? index->n_items / 20 : RARE;
}

/*
 * Adds up, for each existing item, the weights of the rare tokens that it shares with the query.  Where no rare token hits, unknown words
 * are mended and the common ones walked together.
 */
static void
walk_postings(const MatchIndex *index, MatchScratch *scratch)
{
	MatchQuery *query = &scratch->query;
	uint8_t		order[QUERY_TOKENS];
	int			n = order_tokens(query, order);
	uint32_t	walked = 0;
	float		remaining = 0;
	int			i;
	uint32_t	j;

	scratch->n_touched = 0;
	if ((n == 0 || query->tokens[order[0]].df > rare_limit(index)) && typo_mend(index, query))
		n = order_tokens(query, order);
	if (n > 0 && query->tokens[order[0]].df > MAX_LIST)
	{
		walk_common(index, scratch, order, n);
		return;
	}
	for (i = 0; i < n; i++)
		remaining += query->tokens[order[i]].span == 1 && !query->tokens[order[i]].extra ? query->tokens[order[i]].idf : 0;
	for (i = 0; i < n && walked < MAX_POSTINGS; i++)
	{
		const QueryToken *token = &query->tokens[order[i]];
		const uint32_t *postings;
		uint32_t	count = token_postings(index, token, &postings);
		float		weight = token_weight(token);

		if (walked > 0 && remaining < MIN_REMAINING * query->weight && (scratch->n_touched > 4 * MATCH_CANDIDATES || count > RARE))
			break;
		count = count < MAX_LIST ? count : MAX_LIST;
		for (j = 0; j < count; j++)
		{
			uint32_t	item = postings[j];

			if (item >= index->n_items)
				continue;
			if (scratch->sums[item] == 0)
				scratch->touched[scratch->n_touched++] = item;
			scratch->sums[item] += weight;
		}
		walked += count;
		if (token->span == 1 && !token->extra)
			remaining -= token->idf;
	}
}

/* Keeps the MATCH_CANDIDATES touched items of the highest sums, and sets all sums back to 0. */
static void
pick_candidates(MatchScratch *scratch)
{
	uint32_t	best[MATCH_CANDIDATES];
	float		sums[MATCH_CANDIDATES];
	int			n = 0;
	int			j;
	uint32_t	i;

	for (i = 0; i < scratch->n_touched; i++)
	{
		uint32_t	item = scratch->touched[i];
		float		sum = scratch->sums[item];

		scratch->sums[item] = 0;
		if (n == MATCH_CANDIDATES && sum <= sums[n - 1])
			continue;
		for (j = n < MATCH_CANDIDATES ? n++ : n - 1; j > 0 && sums[j - 1] < sum; j--)
		{
			sums[j] = sums[j - 1];
			best[j] = best[j - 1];
		}
		sums[j] = sum;
		best[j] = item;
	}
	for (j = 0; j < n; j++)
		add_candidate(scratch, best[j], false);
}

/* Adds the candidates for what somebody types; see prefix.c. */
static void
add_begun(const MatchIndex *index, MatchScratch *scratch)
{
	PrefixWalk	walk = {scratch->sums, scratch->touched, 0, MAX_POSTINGS + MAX_LIST};
	uint32_t	best[MATCH_CANDIDATES];
	uint8_t		order[QUERY_TOKENS];
	int			n = order_tokens(&scratch->query, order);
	int			i;

	if ((n == 0 || scratch->query.tokens[order[0]].df > rare_limit(index)) && typo_mend(index, &scratch->query))
		n = order_tokens(&scratch->query, order);
	n = prefix_candidates(index, &scratch->query, order, n, &walk, best);
	for (i = 0; i < n; i++)
		add_candidate(scratch, best[i], false);
}

/* Moves the candidates of the largest overlap to the front; those by key stay in any case.  Returns how many to compare. */
static int
rank_candidates(const MatchIndex *index, MatchScratch *scratch)
{
	int			n = (int) scratch->n_candidates;
	int			i;
	int			j;

	for (i = 0; i < n; i++)
	{
		uint32_t	item = scratch->candidates[i];
		bool		by_key = scratch->by_key[i];
		float		overlap = features_overlap(index, &scratch->query, item) + (by_key ? 10 : 0);

		for (j = i; j > 0 && scratch->overlap[j - 1] < overlap; j--)
		{
			scratch->overlap[j] = scratch->overlap[j - 1];
			scratch->candidates[j] = scratch->candidates[j - 1];
			scratch->by_key[j] = scratch->by_key[j - 1];
		}
		scratch->overlap[j] = overlap;
		scratch->candidates[j] = item;
		scratch->by_key[j] = by_key;
	}
	for (i = 0; i < n && scratch->by_key[i]; i++)
		;
	return n < i + MATCH_COMPARED ? n : i + MATCH_COMPARED;
}

/*
 * Lists the existing items that are compared in full with the item, most promising first.  Returns how many there are.  Afterwards
 * features_compare() takes match_query().
 */
int
match_candidates(const MatchIndex *index, MatchScratch *scratch, const MatchItem *item, uint32_t candidates[MAX_CANDIDATES])
{
	int			n;

	if (index->n_items == 0)
		return 0;
	query_prepare(index, item, &scratch->query);
	scratch->n_candidates = 0;
	add_exact(index, scratch, item);
	if (scratch->query.n_begun > 0)
		add_begun(index, scratch);
	else
	{
		walk_postings(index, scratch);
		pick_candidates(scratch);
	}
	n = rank_candidates(index, scratch);
	memcpy(candidates, scratch->candidates, (size_t) n * sizeof(uint32_t));
	return n;
}

/* The item that was searched for last. */
const MatchQuery *
match_query(const MatchScratch *scratch)
{
	return &scratch->query;
}

/*
 * Finds up to want existing items, best first.  Returns how many were found.  The item must have been prepared with the index's seed.
 */
int
match_search(const MatchIndex *index, MatchScratch *scratch, const MatchItem *item, MatchFound *found, int want)
{
	MatchFound	compared[MAX_CANDIDATES];
	uint32_t	candidates[MAX_CANDIDATES];
	int			n = match_candidates(index, scratch, item, candidates);
	int			i;
	int			j;

	for (i = 0; i < n; i++)
	{
		float		features[N_FEATURES];
		MatchFound	one;

		one.item = candidates[i];
		features_compare(index, &scratch->query, one.item, features);
		score_pair(&one, features);
		for (j = i; j > 0 && compared[j - 1].score < one.score; j--)
			compared[j] = compared[j - 1];
		compared[j] = one;
	}
	score_rank(compared, n);
	if (n > want)
		n = want;
	memcpy(found, compared, (size_t) n * sizeof(MatchFound));
	return n;
}
