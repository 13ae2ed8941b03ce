/*
 * test_prefix.c
 *	  The matcher's search while somebody types: the dictionary of terms, unfinished words, odd and hostile beginnings.  Prints TAP.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "match/search.h"

#define SEED 42
#define N_COMMON 40000

static int	tests;
static int	failures;

static void
ok(bool good, const char *name)
{
	tests++;
	failures += !good;
	printf("%sok %d - %s\n", good ? "" : "not ", tests, name);
}

static MatchText
text_of(const char *s)
{
	return (MatchText) {s, s == NULL ? 0 : strlen(s)};
}

static const char *const titles[] = {
	"Sony DSC-W150 digital camera", "Sony DSC-W170 digital camera", "Canon PowerShot A590 digital camera", "Kingston DataTraveler 4GB",
	"Kingsway garden chair", "King size bed sheet", "Duracell AA batteries", "HP CB436A toner cartridge", "HP CC530A toner cartridge",
	"Müller Übertopf grün", "Tab folder", "Tablet stand", "Table lamp", "Vitamin C", "Vitamin complex",
};

#define N_TITLES ((int) (sizeof(titles) / sizeof(titles[0])))

static void
add(IndexBuilder *builder, const char *id, const char *title, const char *mpn)
{
	MatchFields fields = {.id = text_of(id), .title = text_of(title), .mpn = text_of(mpn)};

	if (!mindex_add(builder, &fields))
		abort();
}

/* The titles above, whose ids are their numbers, and common ones. */
static void
build(MatchIndex *index, bool keep_texts, int n_common)
{
	IndexBuilder *builder = mindex_begin(SEED, 1, NULL);
	char		id[16];
	char		title[80];
	int			i;

	if (keep_texts)
		mindex_keep_texts(builder);
	for (i = 0; i < N_TITLES; i++)
	{
		snprintf(id, sizeof(id), "%d", i);
		add(builder, id, titles[i], NULL);
	}
	for (i = 0; i < n_common; i++)
	{
		snprintf(id, sizeof(id), "%d", N_TITLES + i);
		snprintf(title, sizeof(title), "common thing zz%c%c%c thq%d", 'a' + i % 26, 'a' + i / 26 % 26, 'a' + i / 676 % 26, i);
		add(builder, id, title, i % 7 == 0 ? title + 13 : NULL);
	}
	if (!mindex_finish(builder, index))
		abort();
}

/* Number of the item that is found first by what was typed, -1 where there is none; *found becomes all. */
static int
typed_all(const MatchIndex *index, const char *text, size_t length, MatchFound found[5], int *n)
{
	MatchScratch *scratch = scratch_create(index);
	MatchFields fields = {.title = {text, length}};
	MatchItem  *item = malloc(sizeof(MatchItem));

	item_prepare(item, &fields, index->seed, &index->aliases, false);
	item_note_begun(item, &fields.title);
	*n = match_search(index, scratch, item, found, 5);
	free(item);
	scratch_free(scratch);
	return *n == 0 ? -1 : (int) found[0].item;
}

static int
typed(const MatchIndex *index, const char *text)
{
	MatchFound	found[5];
	int			n;

	return typed_all(index, text, strlen(text), found, &n);
}

static bool
typed_finds(const MatchIndex *index, const char *text, uint32_t item)
{
	MatchFound	found[5];
	int			n;
	int			i;

	typed_all(index, text, strlen(text), found, &n);
	for (i = 0; i < n; i++)
		if (found[i].item == item)
			return true;
	return false;
}

/* What the piece of evidence "begun" adds to the best match. */
static int
begun_adds(const MatchIndex *index, const char *text)
{
	MatchFound	found[5];
	int			n;

	return typed_all(index, text, strlen(text), found, &n) < 0 ? 0 : found[0].added[F_BEGUN];
}

static void
test_typed(const MatchIndex *index)
{
	ok(typed(index, "sony dsc-w15") == 0 && typed(index, "sony dsc-w17") == 1, "a model number, half of it typed");
	ok(typed(index, "dscw17") == 1, "the same in one word");
	ok(typed(index, "hp cb4") == 7 && typed(index, "hp cc") == 8, "another");
	ok(typed_finds(index, "kings", 3) && typed_finds(index, "kings", 4), "a word, half of it typed, finds all that go on from there");
	ok(typed(index, "digital camera p") == 2, "after other words one letter will do");
	ok(typed(index, "aa batterie") == 6 && typed(index, "aa batteri") == 6 && typed(index, "duracell batt") == 6, "a plural, at each letter");
	ok(typed(index, "m\303\274ller \303\234ber") == 9, "letters of more than one byte");
	ok(typed(index, "tab") == 10 && typed_finds(index, "tab", 11) && typed_finds(index, "tab", 12), "a word as typed comes before longer ones");
	ok(typed(index, "vitamin c") == 13, "also of one letter");
	ok(begun_adds(index, "sony dsc-w15") < 0 && begun_adds(index, "sony dsc-w150") == 0, "the evidence says that it is only begun");
	ok(typed(index, "kingst ") == -1 || !typed_finds(index, "kingst ", 4), "a word that a space ends is finished");
	ok(typed(index, "k") == -1, "one letter alone finds nothing");
	ok(typed(index, "common thing thq3999") == N_TITLES + 3999 || typed_finds(index, "common thing thq3999", N_TITLES + 3999), "among many");
}

/* The terms are in the order of their texts, and each is where its hash says. */
static void
test_order(const MatchIndex *index)
{
	bool		in_order = true;
	bool		found = true;
	uint32_t	i;

	for (i = 0; i < index->n_named; i++)
	{
		const char *text = index->texts + index->text_at[i] + 1;
		size_t		length = (unsigned char) text[-1];

		found &= mindex_find_term(index, text_hash(index->seed, text, length)) == i;
		if (i > 0)
		{
			const char *before = index->texts + index->text_at[i - 1] + 1;
			size_t		length_before = (unsigned char) before[-1];
			int			order = memcmp(before, text, length < length_before ? length : length_before);

			in_order &= order < 0 || (order == 0 && length_before < length);
		}
	}
	ok(index->n_named > N_COMMON && in_order, "terms are in the order of their texts");
	ok(found, "and are found by their hashes");
}

/* For whole titles an index with texts gives what one without gives. */
static void
test_same(const MatchIndex *with)
{
	MatchIndex	without;
	MatchScratch *a = scratch_create(with);
	MatchScratch *b;
	MatchItem  *item = malloc(sizeof(MatchItem));
	bool		same = true;
	int			i;

	build(&without, false, N_COMMON);
	b = scratch_create(&without);
	for (i = 0; i < N_TITLES; i++)
	{
		MatchFields fields = {.title = text_of(titles[i])};
		MatchFound	x[5];
		MatchFound	y[5];
		int			n;

		item_prepare(item, &fields, SEED, NULL, false);
		n = match_search(with, a, item, x, 5);
		same &= match_search(&without, b, item, y, 5) == n && memcmp(x, y, (size_t) n * sizeof(MatchFound)) == 0;
	}
	ok(same && without.n_named == 0 && without.bytes < with->bytes, "whole titles are found as without texts, which are only kept when asked for");
	free(item);
	scratch_free(a);
	scratch_free(b);
	mindex_free(&without);
}

/* As a file, whole and damaged: a flipped bit in any section is noticed. */
static void
test_file(const MatchIndex *index)
{
	char		path[64];
	MatchIndex	mapped;
	FILE	   *file;
	long		size;
	int			noticed = 0;
	int			i;

	snprintf(path, sizeof(path), "/tmp/test_prefix.%ld", (long) getpid());
	ok(mindex_write(index, path) && mindex_open(&mapped, path) == INDEX_OK, "texts are kept in the file");
	ok(mapped.n_named == index->n_named && mapped.n_texts == index->n_texts && typed(&mapped, "hp cb4") == 7, "and read from it");
	mindex_free(&mapped);
	file = fopen(path, "r+b");
	if (file == NULL || fseek(file, 0, SEEK_END) != 0)
		abort();
	size = ftell(file);
	for (i = 1; i <= 8; i++)
	{
		long		at = size - (long) index->n_texts * i / 9;
		int			byte;

		fseek(file, at, SEEK_SET);
		byte = fgetc(file);
		fseek(file, at, SEEK_SET);
		fputc(byte ^ 4, file);
		fflush(file);
		noticed += mindex_open(&mapped, path) == INDEX_DAMAGED;
		fseek(file, at, SEEK_SET);
		fputc(byte, file);
		fflush(file);
	}
	fclose(file);
	ok(noticed == 8, "a damaged text is noticed");
	unlink(path);
}

/* What nobody types by chance. */
static void
test_hostile(const MatchIndex *index)
{
	static char text[20000];
	MatchFound	found[5];
	bool		bounded = true;
	size_t		length;
	int			c;
	int			n;

	for (c = 1; c < 256; c++)
		for (length = 1; length <= sizeof(text); length = length * 3 + 1)
		{
			memset(text, c, length);
			typed_all(index, text, length, found, &n);
			bounded &= n >= 0 && n <= 5;
		}
	for (c = 0; c < 4000; c++)
		text[c] = (char) (c % 5 == 4 ? ' ' : "thqz"[c * 7 / 3 % 4]);
	for (length = 1; length < 4000; length += 13)
	{
		typed_all(index, text, length, found, &n);
		bounded &= n >= 0 && n <= 5;
	}
	ok(bounded, "any bytes, of any length");
	ok(typed(index, "common thing t") >= N_TITLES && typed(index, "th") >= N_TITLES, "beginnings that very many have");
	ok(typed(index, "sony dsc-w15") == 0, "and nothing is left of them for the next");
}

int
main(void)
{
	MatchIndex	index;
	MatchIndex	empty;

	build(&index, true, N_COMMON);
	test_typed(&index);
	test_order(&index);
	test_same(&index);
	test_file(&index);
	test_hostile(&index);
	mindex_free(&index);
	{
		IndexBuilder *builder = mindex_begin(SEED, 1, NULL);

		mindex_keep_texts(builder);
		ok(mindex_finish(builder, &empty) && typed(&empty, "sony dsc") == -1, "an empty catalogue has nothing to go on with");
		mindex_free(&empty);
	}
	printf("1..%d\n", tests);
	return failures > 0;
}
