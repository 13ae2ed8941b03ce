/*
 * prefix.c
 *	  Search as somebody types: the last word of a title may be unfinished.
 *
 * In an index that keeps its terms' texts (dictionary.c) the terms that begin with what is typed are a range of numbers, and their postings
 * stand side by side.  An existing item that has any of them has the word, though a little less than one that has it as typed.  What
 * is typed is short and often of common words only, so the rarest of them leads, the others only add to what it found, and more of that is
 * looked at than for a whole title.
 */
#include "match/search.h"

#include <math.h>
#include <string.h>

#define SHORTEST 2				/* letters and digits that are looked for, where there is no other word */
#define MAX_LIST 100000			/* postings of one token that are walked */
#define MAX_WALKED 200000		/* and of all */
#define COMMON 20000			/* postings of a token that adds little where few items were found */
#define ENOUGH 512				/* items found, that are all measured by their forward lists */
#define COUNTED 64				/* postings of a range whose items are counted one by one */

static bool
is_text(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (unsigned char) c >= 0x80;
}

/* Bytes of the letters and digits at the end of folded text, and how many these are. */
static size_t
unfinished_length(const char *folded, size_t n, int *letters)
{
	size_t		length = 0;

	*letters = 0;
	while (length < n && is_text(folded[n - length - 1]))
		*letters += ((unsigned char) folded[n - ++length] & 0xc0) != 0x80;
	return length;
}

/*
 * Notes that the title is what was typed so far, so that its last word may be unfinished; it is finished if anything but a letter or
 * digit follows.  After item_prepare() with this title.
 */
void
item_note_begun(MatchItem *item, const MatchText *title)
{
	char		folded[NORM_INPUT_BYTES + 8];
	TokenList	list;
	size_t		n;
	size_t		length;
	int			letters;
	int			last;
	int			i;

	item->n_begun = 0;
	if (title->data == NULL || title->length > NORM_INPUT_BYTES)
		return;
	n = text_fold(title->data, title->length, folded, sizeof(folded));
	length = unfinished_length(folded, n, &letters);
	if (length == 0 || length >= NORM_TOKEN_BYTES)
		return;
	/* The item's first tokens are those of the title. */
	tokens_clear(&list, item->tokens.seed);
	tokens_add(&list, title->data, title->length);
	for (last = list.n - 1; last >= 0 && list.tokens[last].span != 1; last--)
		;
	if (last < 0 || (last == 0 && letters < SHORTEST) || list.tokens[last].kind == TOKEN_QUANTITY || list.tokens[last].length != length ||
		memcmp(list.text + list.tokens[last].start, folded + n - length, length) != 0)
		return;
	for (i = last; i < list.n && item->n_begun < ITEM_BEGUN; i++)
		if (list.tokens[i].span != SPAN_STEM && list.tokens[i].length < NORM_TOKEN_BYTES)
			item->begun[item->n_begun++] = (uint8_t) i;
}

/* How a term's text compares with the given beginning: less than 0, 0 where it begins with it, or more. */
static int
compare_beginning(const MatchIndex *index, uint32_t term, const char *text, size_t length)
{
	uint32_t	at = index->text_at[term];
	size_t		own = 0;
	int			order;

	if (at < index->n_texts)
		own = (unsigned char) index->texts[at];
	if (own > index->n_texts - at)
		own = 0;
	order = own == 0 ? 0 : memcmp(index->texts + at + 1, text, own < length ? own : length);
	return order != 0 ? order : own < length ? -1 : 0;
}

/* The first term that does not come before the terms of this beginning, or, with after, that comes after them. */
static uint32_t
find_bound(const MatchIndex *index, const char *text, size_t length, bool after)
{
	uint32_t	low = 0;
	uint32_t	high = index->n_named;

	while (low < high)
	{
		uint32_t	middle = low + (high - low) / 2;
		int			order = compare_beginning(index, middle, text, length);

		if (order < 0 || (after && order == 0))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Finds the terms of this beginning.  Returns whether any item has one. */
static bool
find_range(const MatchIndex *index, const char *text, size_t length, QueryBegun *range)
{
	uint32_t	end = find_bound(index, text, length, true);
	const IndexTerm *last;

	range->first = find_bound(index, text, length, false);
	if (range->first >= end)
		return false;
	last = &index->terms[end - 1];
	range->n_terms = end - range->first;
	range->postings = index->terms[range->first].postings;
	if (range->postings > last->postings || last->postings > index->n_postings || last->df > index->n_postings - last->postings)
		return false;
	range->n_postings = last->postings + last->df - range->postings;
	return range->n_postings > 0;
}

/*
 * Finds the terms that begin with the item's unfinished word; where there are none, with what it is the plural of: batteri, battery.
 * Returns how many ranges there are.
 */
int
prefix_find(const MatchIndex *index, const MatchItem *item, QueryBegun ranges[ITEM_BEGUN])
{
	int			n = 0;
	int			i;

	for (i = 0; i < item->n_begun && index->n_named > 0; i++)
	{
		const Token *token = &item->tokens.tokens[item->begun[i]];
		char		text[NORM_TOKEN_BYTES];
		size_t		length = token->length;

		memcpy(text, item->tokens.text + token->start, length);
		ranges[n].number = item->begun[i];
		if (find_range(index, text, length, &ranges[n]))
		{
			n++;
			continue;
		}
		if (token->kind != TOKEN_WORD || length < 5)
			continue;
		if (text[length - 1] == 'e')
			length--;
		if (text[length - 1] == 'i')
			text[length - 1] = 'y';
		else if (length == token->length)
			continue;
		if (find_range(index, text, length, &ranges[n]))
			n++;
	}
	return n;
}

/* Items that have a term of the range or the token's own: counted where there are few, so that what is unique still is. */
static uint32_t
count_items(const MatchIndex *index, const QueryToken *token, const QueryBegun *range)
{
	bool		apart = token->term != UINT32_MAX && token->term - range->first >= range->n_terms;
	uint32_t	items[COUNTED];
	uint32_t	own = apart ? token->df : 0;
	uint32_t	total = range->n_postings + own;
	uint32_t	n = 0;
	uint32_t	i;
	uint32_t	k;

	if (total > COUNTED || own > index->n_postings || (own > 0 && index->terms[token->term].postings > index->n_postings - own))
		return total < index->n_items ? total : index->n_items;
	for (i = 0; i < total; i++)
	{
		items[n] = index->postings[i < own ? index->terms[token->term].postings + i : range->postings + i - own];
		for (k = 0; items[k] != items[n]; k++)
			;
		n += k == n;
	}
	return n;
}

/* Lets the query's unfinished words be found by their ranges, and weighs them by the items that have any of the terms. */
void
prefix_apply(const MatchIndex *index, MatchQuery *query, int n_ranges)
{
	int			i;
	int			k;

	for (i = 0; i < n_ranges; i++)
	{
		QueryBegun	range = query->begun[i];
		QueryToken *q;

		for (k = 0; k < query->n && query->tokens[k].number != range.number; k++)
			;
		q = &query->tokens[k];
		if (k == query->n || q->repeated)
			continue;
		range.token = (uint8_t) k;
		query->weight -= q->span == 1 ? q->idf : 0;
		query->weight2 -= q->span == 1 ? q->idf * q->idf : 0;
		q->df = count_items(index, q, &range);
		q->idf = mindex_idf(index, q->df);
		query->weight += q->span == 1 ? q->idf : 0;
		query->weight2 += q->span == 1 ? q->idf * q->idf : 0;
		query->begun[query->n_begun++] = range;
	}
}

/* Postings of a token in one or two pieces: its own term's, and those of its range. */
typedef struct Pieces
{
	int			n;
	const uint32_t *postings[2];
	uint32_t	counts[2];
} Pieces;

static void
add_piece(const MatchIndex *index, Pieces *pieces, uint32_t start, uint32_t count)
{
	if (count == 0 || start > index->n_postings || count > index->n_postings - start)
		return;
	pieces->postings[pieces->n] = index->postings + start;
	pieces->counts[pieces->n++] = count;
}

static void
token_pieces(const MatchIndex *index, const MatchQuery *query, int token, Pieces *pieces)
{
	const QueryBegun *range = query_begun(query, token);
	uint32_t	term = query->tokens[token].term;

	pieces->n = 0;
	if (term != UINT32_MAX && (range == NULL || term - range->first >= range->n_terms))
		add_piece(index, pieces, index->terms[term].postings, index->terms[term].df);
	if (range != NULL)
		add_piece(index, pieces, range->postings, range->n_postings);
}

/*
 * Adds a token's weight to the sums of a piece's items, of new ones too where it leads.  What a range adds to becomes negative until all of
 * the range was walked, since an item may have several terms of one.
 */
static void
walk_piece(const MatchIndex *index, PrefixWalk *walk, const uint32_t *postings, uint32_t count, float weight, bool lead, bool range)
{
	uint32_t	i;

	for (i = 0; i < count; i++)
	{
		uint32_t	item = postings[i];
		float		sum;

		if (item >= index->n_items || (sum = walk->sums[item]) < 0)
			continue;
		if (sum == 0)
		{
			if (!lead || walk->n_touched == walk->room)
				continue;
			walk->touched[walk->n_touched++] = item;
		}
		walk->sums[item] = range ? -(sum + weight) : sum + weight;
	}
}

/* Makes the sums of a piece's items positive again. */
static void
settle_piece(const MatchIndex *index, PrefixWalk *walk, const uint32_t *postings, uint32_t count)
{
	uint32_t	i;

	for (i = 0; i < count; i++)
		if (postings[i] < index->n_items)
			walk->sums[postings[i]] = fabsf(walk->sums[postings[i]]);
}

/*
 * Adds up the weights of the query's tokens, order[], for the items that have the rarest of them, and for those of the next as long as few
 * were found.
 */
static void
walk_tokens(const MatchIndex *index, const MatchQuery *query, const uint8_t *order, int n, PrefixWalk *walk)
{
	uint32_t	walked = 0;
	int			i;
	int			k;

	for (i = 0; i < n && walked < MAX_WALKED; i++)
	{
		const QueryToken *token = &query->tokens[order[i]];
		bool		lead = walk->n_touched < ENOUGH;
		float		weight = token->idf * token->idf * (token->extra ? 0.25f : 1);
		bool		range = query_begun(query, order[i]) != NULL;
		Pieces		pieces;

		/* So few are all measured anyway. */
		if (walk->n_touched > 0 && walk->n_touched < ENOUGH && token->df > COMMON)
			break;
		token_pieces(index, query, order[i], &pieces);
		for (k = 0; k < pieces.n; k++)
		{
			if (pieces.counts[k] > MAX_LIST)
				pieces.counts[k] = MAX_LIST;
			if (i == 0 && pieces.counts[k] > walk->room)
				pieces.counts[k] = walk->room;
			walk_piece(index, walk, pieces.postings[k], pieces.counts[k], weight, lead, range);
			walked += pieces.counts[k];
		}
		for (k = 0; range && k < pieces.n; k++)
			settle_piece(index, walk, pieces.postings[k], pieces.counts[k]);
	}
}

/* Moves the entry at the top of a heap, least first, to where it belongs. */
static void
sift_down(const float *sums, uint32_t *heap, int n)
{
	int			at = 0;
	uint32_t	item = heap[0];

	for (;;)
	{
		int			child = 2 * at + 1;

		if (child >= n)
			break;
		if (child + 1 < n && sums[heap[child + 1]] < sums[heap[child]])
			child++;
		if (sums[heap[child]] >= sums[item])
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = item;
}

/* Keeps the ENOUGH touched items of the highest sums in a heap.  Returns how many there are. */
static int
keep_highest(const PrefixWalk *walk, uint32_t heap[ENOUGH])
{
	int			n = 0;
	int			at;
	uint32_t	i;

	for (i = 0; i < walk->n_touched; i++)
	{
		uint32_t	item = walk->touched[i];

		if (n == ENOUGH)
		{
			if (walk->sums[item] > walk->sums[heap[0]])
			{
				heap[0] = item;
				sift_down(walk->sums, heap, n);
			}
			continue;
		}
		for (at = n++; at > 0 && walk->sums[heap[(at - 1) / 2]] > walk->sums[item]; at = (at - 1) / 2)
			heap[at] = heap[(at - 1) / 2];
		heap[at] = item;
	}
	return n;
}

/*
 * Finds the items that are most like a query with unfinished words, whose tokens that the index has are given, rarest first.  Returns how
 * many there are, most promising first.
 */
int
prefix_candidates(const MatchIndex *index, const MatchQuery *query, const uint8_t *order, int n_order, PrefixWalk *walk,
				  uint32_t best[MATCH_CANDIDATES])
{
	uint32_t	heap[ENOUGH];
	float		overlaps[MATCH_CANDIDATES];
	int			n_kept;
	int			n = 0;
	int			i;
	int			j;
	uint32_t	k;

	walk_tokens(index, query, order, n_order, walk);
	n_kept = keep_highest(walk, heap);
	for (i = 0; i < n_kept; i++)
	{
		float		overlap = features_overlap(index, query, heap[i]);

		if (n == MATCH_CANDIDATES && overlap <= overlaps[n - 1])
			continue;
		for (j = n < MATCH_CANDIDATES ? n++ : n - 1; j > 0 && overlaps[j - 1] < overlap; j--)
		{
			overlaps[j] = overlaps[j - 1];
			best[j] = best[j - 1];
		}
		overlaps[j] = overlap;
		best[j] = heap[i];
	}
	for (k = 0; k < walk->n_touched; k++)
		walk->sums[walk->touched[k]] = 0;
	return n;
}
