/*
 * dictionary.c
 *	  Puts the terms of an index in the order of their texts.
 *
 * Plain C.  The terms that begin with the same letters then have numbers side by side, and so have their postings: an unfinished word is
 * a range of terms, found by bisection, and whether an item has one of them is one comparison.  Sorting is by the first two bytes into
 * buckets, then each bucket by merging, mostly of the first eight bytes as one number.
 */
#include "match/index.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS 65536
#define SMALL 12				/* entries, that are sorted by insertion */

typedef struct Entry
{
	uint64_t	start;			/* the text's first eight bytes, so that numbers are in the order of texts */
	uint32_t	term;
} Entry;

typedef struct Texts
{
	const uint32_t *at;
	const char *bytes;
} Texts;

static uint64_t
text_start(const Texts *texts, uint32_t term)
{
	const unsigned char *text = (const unsigned char *) texts->bytes + texts->at[term];
	uint64_t	start = 0;
	unsigned	i;

	for (i = 1; i <= 8; i++)
		start = start << 8 | (i <= text[0] ? text[i] : 0);
	return start;
}

static bool
comes_after(const Texts *texts, const Entry *a, const Entry *b)
{
	const unsigned char *x;
	const unsigned char *y;
	int			order;

	if (a->start != b->start)
		return a->start > b->start;
	x = (const unsigned char *) texts->bytes + texts->at[a->term];
	y = (const unsigned char *) texts->bytes + texts->at[b->term];
	order = memcmp(x + 1, y + 1, x[0] < y[0] ? x[0] : y[0]);
	return order > 0 || (order == 0 && x[0] > y[0]);
}

/* Sorts entries; equal ones stay as they are.  There must be room for half of them in spare. */
static void
sort_entries(const Texts *texts, Entry *entries, size_t n, Entry *spare)
{
	size_t		half = n / 2;
	size_t		i;
	size_t		j;
	size_t		k = 0;

	if (n <= SMALL)
	{
		for (i = 1; i < n; i++)
		{
			Entry		one = entries[i];

			for (j = i; j > 0 && comes_after(texts, &entries[j - 1], &one); j--)
				entries[j] = entries[j - 1];
			entries[j] = one;
		}
		return;
	}
	sort_entries(texts, entries, half, spare);
	sort_entries(texts, entries + half, n - half, spare);
	if (!comes_after(texts, &entries[half - 1], &entries[half]))
		return;
	memcpy(spare, entries, half * sizeof(Entry));
	for (i = 0, j = half; i < half; k++)
		entries[k] = j < n && comes_after(texts, &spare[i], &entries[j]) ? entries[j++] : spare[i++];
}

/* Puts the terms that have a text into entries by their first two bytes.  ends[] become the ends of the buckets. */
static void
fill_buckets(const Texts *texts, uint32_t n, Entry *entries, uint32_t ends[BUCKETS])
{
	uint32_t	before = 0;
	uint32_t	i;

	for (i = 0; i < n; i++)
		if (texts->at[i] != UINT32_MAX)
			ends[text_start(texts, i) >> 48]++;
	for (i = 0; i < BUCKETS; i++)
	{
		uint32_t	count = ends[i];

		ends[i] = before;
		before += count;
	}
	for (i = 0; i < n; i++)
		if (texts->at[i] != UINT32_MAX)
		{
			uint64_t	start = text_start(texts, i);
			Entry	   *entry = &entries[ends[start >> 48]++];

			entry->start = start;
			entry->term = i;
		}
}

/*
 * Finds the number of each term in the order of texts, which text_at and texts give as MatchIndex does; those without one, whose text_at is
 * UINT32_MAX, come last.  Returns false when memory is out.
 */
bool
terms_order(const uint32_t *text_at, const char *texts, uint32_t n, uint32_t *numbers, uint32_t *n_named)
{
	Texts		all = {text_at, texts};
	uint32_t   *ends = calloc(BUCKETS, sizeof(uint32_t));
	uint32_t	named = 0;
	uint32_t	largest = 0;
	uint32_t	i;
	Entry	   *entries;
	Entry	   *spare;
	bool		ok;

	for (i = 0; i < n; i++)
		named += text_at[i] != UINT32_MAX;
	entries = malloc(((size_t) named + 1) * sizeof(Entry));
	if (ends != NULL && entries != NULL)
		fill_buckets(&all, n, entries, ends);
	for (i = 0; ends != NULL && i < BUCKETS; i++)
		if (ends[i] - (i == 0 ? 0 : ends[i - 1]) > largest)
			largest = ends[i] - (i == 0 ? 0 : ends[i - 1]);
	spare = malloc(((size_t) largest / 2 + 1) * sizeof(Entry));
	ok = ends != NULL && entries != NULL && spare != NULL;
	if (ok)
	{
		for (i = 0; i < BUCKETS; i++)
		{
			uint32_t	begin = i == 0 ? 0 : ends[i - 1];

			sort_entries(&all, entries + begin, ends[i] - begin, spare);
		}
		for (i = 0; i < named; i++)
			numbers[entries[i].term] = i;
		*n_named = named;
		for (i = 0; i < n; i++)
			if (text_at[i] == UINT32_MAX)
				numbers[i] = named++;
	}
	free(ends);
	free(spare);
	free(entries);
	return ok;
}

/* Moves each term and its text_at to where its number says.  The numbers are used up. */
void
terms_renumber(IndexTerm *terms, uint32_t *text_at, uint32_t *numbers, uint32_t n)
{
	uint32_t	i;

	for (i = 0; i < n; i++)
		while (numbers[i] != i)
		{
			uint32_t	to = numbers[i];
			IndexTerm	term = terms[to];
			uint32_t	at = text_at[to];

			terms[to] = terms[i];
			text_at[to] = text_at[i];
			numbers[i] = numbers[to];
			numbers[to] = to;
			terms[i] = term;
			text_at[i] = at;
		}
}
