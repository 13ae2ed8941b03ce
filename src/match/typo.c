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
