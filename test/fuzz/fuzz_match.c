/*
 * fuzz_match.c
 *	  Fuzzes the matcher's kernels.  The first byte chooses what the rest is read as: a code, a title, items to index and search for, or
 *	  an index file.
 *	  clang -g -O1 -fsanitize=fuzzer,address,undefined -Isrc test/fuzz/fuzz_match.c src/match/{gtin,fold,brand,normalise,item,index_build,index_file,search,features,score}.c -lm
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "match/search.h"

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SEED 42

static void
must(bool good)
{
	if (!good)
		abort();
}

static void
fuzz_gtin(const char *text, size_t size)
{
	GtinGuess	guess;
	uint64_t	gtin;
	uint64_t	again;
	char		digits[GTIN_DIGITS + 1];

	if (gtin_parse(text, size, &gtin))
	{
		gtin_format(gtin, digits);
		must(gtin_parse(digits, GTIN_DIGITS, &again) && again == gtin);
	}
	if (gtin_guess(text, size, &guess))
		must(guess.low <= guess.high && guess.low > 0);
}

static void
fuzz_text(const char *text, size_t size)
{
	TokenList	list;
	char		squeezed[NORM_TOKEN_BYTES];
	int			i;

	tokens_clear(&list, SEED);
	tokens_add(&list, text, size);
	tokens_add_code(&list, text, size);
	tokens_add_description(&list, text, size, size % 2 == 0);
	must(list.n <= NORM_TOKENS && list.text_used <= NORM_TEXT_BYTES);
	for (i = 0; i < list.n; i++)
		must(list.tokens[i].start + list.tokens[i].length <= list.text_used && list.tokens[i].span >= 1);
	must(brand_squeeze(text, size, squeezed, sizeof(squeezed)) <= sizeof(squeezed));
}

/* The next piece of the input, up to a byte of 0. */
static MatchText
take(const char **text, size_t *size)
{
	const char *end = memchr(*text, 0, *size);
	MatchText	piece = {*text, end == NULL ? *size : (size_t) (end - *text)};

	*size -= piece.length + (end != NULL);
	*text += piece.length + (end != NULL);
	if (piece.length == 0)
		piece.data = NULL;
	return piece;
}

static void
fuzz_items(const char *text, size_t size)
{
	IndexBuilder *builder = mindex_begin(SEED, 1, NULL);
	MatchFields items[32];
	MatchIndex	index;
	MatchScratch *scratch;
	static MatchItem item;
	int			n = 0;
	int			i;

	while (size > 0 && n < 32)
	{
		MatchFields *f = &items[n++];

		f->id = take(&text, &size);
		f->sku = take(&text, &size);
		f->gtin = take(&text, &size);
		f->brand = take(&text, &size);
		f->mpn = take(&text, &size);
		f->title = take(&text, &size);
		f->description = take(&text, &size);
		f->price = f->id.length * 1e300 * (f->sku.length > 3 ? 1e300 : 1) - 1;
		must(mindex_add(builder, f));
	}
	must(mindex_finish(builder, &index));
	must((scratch = scratch_create(&index)) != NULL);
	for (i = 0; i < n; i++)
	{
		MatchFound	found[4];
		int			k;

		item_prepare(&item, &items[i], SEED, NULL, false);
		for (k = match_search(&index, scratch, &item, found, 4); k-- > 0;)
			must(found[k].item < index.n_items && found[k].score == found[k].score);
	}
	scratch_free(scratch);
	mindex_free(&index);
}

static void
fuzz_file(const char *data, size_t size)
{
	static char path[64];
	MatchIndex	index;
	int			fd;

	snprintf(path, sizeof(path), "/tmp/fuzz_match.%ld", (long) getpid());
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write(fd, data, size) != (ssize_t) size)
		abort();
	close(fd);
	if (mindex_open(&index, path) == INDEX_OK)
	{
		MatchScratch *scratch = scratch_create(&index);
		MatchFields fields = {.title = {"a 1 b2 camera", 13}, .gtin = {"036000291452", 12}};
		static MatchItem item;
		MatchFound	found[4];

		item_prepare(&item, &fields, index.seed, &index.aliases, false);
		must(scratch != NULL);
		match_search(&index, scratch, &item, found, 4);
		scratch_free(scratch);
	}
	mindex_free(&index);
	unlink(path);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *rest = (const char *) data + 1;

	if (size < 1)
		return 0;
	switch (data[0] % 4)
	{
		case 0:
			fuzz_gtin(rest, size - 1);
			break;
		case 1:
			fuzz_text(rest, size - 1);
			break;
		case 2:
			fuzz_items(rest, size - 1);
			break;
		default:
			fuzz_file(rest, size - 1);
	}
	return 0;
}
