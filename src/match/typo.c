/*
 * typo.c
 *	  The word of the index that an unknown one is most likely a misspelling of.
 *
 * All words that are one edit away (a letter lost, added, wrong, or two in the wrong order) are looked up; most misspellings are of this
 * kind (Damerau, "A technique for computer detection and correction of spelling errors", 1964).  A word of n letters has about 54 n of
 * them, which is some microseconds: for what finds nothing otherwise, not for every word.
 */
#include "match/search.h"

#include <string.h>

#define SHORTEST 5
#define LONGEST 20
#define MAX_MENDED 3			/* unknown words of an item that are taken for misspelt ones */

/* The search for a misspelt word's term. */
typedef struct TypoSearch
{
	const MatchIndex *index;
	uint32_t	best;			/* term, or UINT32_MAX */
	uint32_t	df;
} TypoSearch;

static void
try_word(TypoSearch *search, const char *word, size_t length)
{
	char		one[NORM_TOKEN_BYTES];
	uint32_t	term = mindex_find_term(search->index, text_hash(search->index->seed, one, word_singular(word, length, one)));

	if (term == UINT32_MAX || search->index->terms[term].kind != TOKEN_WORD || search->index->terms[term].df <= search->df)
		return;
	search->best = term;
	search->df = search->index->terms[term].df;
}

/* Returns the term that most items have of those that are one edit away from a word, or UINT32_MAX. */
uint32_t
typo_find(const MatchIndex *index, const char *word, size_t length)
{
	TypoSearch	search = {index, UINT32_MAX, 0};
	char		other[LONGEST + 1];
	size_t		at;
	char		letter;

	if (length < SHORTEST || length > LONGEST)
		return UINT32_MAX;
	for (at = 0; at < length; at++)
	{
		/* a letter too many */
		memcpy(other, word, at);
		memcpy(other + at, word + at + 1, length - at - 1);
		try_word(&search, other, length - 1);
		/* two in the wrong order */
		memcpy(other, word, length);
		if (at + 1 < length)
		{
			other[at] = word[at + 1];
			other[at + 1] = word[at];
			try_word(&search, other, length);
			memcpy(other, word, length);
		}
		/* a wrong letter */
		for (letter = 'a'; letter <= 'z'; letter++)
		{
			other[at] = letter;
			if (letter != word[at])
				try_word(&search, other, length);
		}
	}
	/* a letter lost */
	for (at = 0; at <= length; at++)
	{
		memcpy(other, word, at);
		memcpy(other + at + 1, word + at, length - at);
		for (letter = 'a'; letter <= 'z'; letter++)
		{
			other[at] = letter;
			try_word(&search, other, length + 1);
		}
	}
	return search.best;
}

/* Takes unknown words for the known ones that they are most likely misspellings of.  Returns whether there are any. */
bool
typo_mend(const MatchIndex *index, MatchQuery *query)
{
	int			mended = 0;
	int			i;

	for (i = 0; i < query->n && mended < MAX_MENDED; i++)
	{
		QueryToken *q = &query->tokens[i];
		const Token *token;
		uint32_t	term;

		if (q->term != UINT32_MAX || query_begun(query, i) != NULL || q->kind != TOKEN_WORD || q->span != 1 || q->extra ||
			q->number == NORM_TOKENS)
			continue;
		token = &query->item->tokens.tokens[q->number];
		term = typo_find(index, query->item->tokens.text + token->start, token->length);
		if (term == UINT32_MAX || query_find(query, term) >= 0)
			continue;
		query->weight -= q->idf;
		query->weight2 -= q->idf * q->idf;
		q->term = term;
		q->df = index->terms[term].df;
		q->idf = mindex_idf(index, q->df);
		query->weight += q->idf;
		query->weight2 += q->idf * q->idf;
		query_add_slot(query, i);
		mended++;
	}
	return mended > 0;
}
