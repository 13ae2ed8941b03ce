/*
 * fuzz_match.c
 *	  Fuzzes the matcher's kernels.  The first byte chooses what the rest is read as: a code, a title, items to index and search for,
 *	  an index file, rows to assign, or reviews to calibrate by.
 *	  clang -g -O1 -fsanitize=fuzzer,address,undefined -Isrc test/fuzz/fuzz_match.c src/match/{gtin,fold,brand,normalise,code,quantity,price,item,index_build,index_file,dictionary,search,prefix,typo,features,features_code,score,assign,calibrate}.c -lm
 */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "match/assign.h"
#include "match/search.h"

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SEED 42

#define must(good) must_at(good, #good, __LINE__)

static void
must_at(bool good, const char *what, int line)
{
	if (good)
		return;
	fprintf(stderr, "line %d: not so: %s\n", line, what);
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

	if (size % 2 == 0)
		mindex_keep_texts(builder);
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
		item_note_begun(&item, &items[i].title);
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
		item_note_begun(&item, &fields.title);
		must(scratch != NULL);
		match_search(&index, scratch, &item, found, 4);
		scratch_free(scratch);
	}
	mindex_free(&index);
	unlink(path);
}

/* The next byte of the input, 0 after its end. */
static uint8_t
take_byte(const char **text, size_t *size)
{
	if (*size == 0)
		return 0;
	--*size;
	return (uint8_t) *(*text)++;
}

/* Log odds: mostly such as pairs have, at times as large as a float can be. */
static float
take_score(const char **text, size_t *size)
{
	uint8_t		byte = take_byte(text, size);

	return byte == 255 ? 3e38f : byte == 254 ? -3e38f : ((float) byte - 127) / 8;
}

#define ROWS 96
#define ITEMS 24

/* Same rows in another order, and where each came from. */
static void
permute(const MatchRow *rows, int n, MatchRow *other, int *from)
{
	int			i;

	for (i = 0; i < n; i++)
		from[i] = i;
	for (i = n - 1; i > 0; i--)
	{
		int			j = (i * 7919 + 13) % (i + 1);
		int			swap = from[i];

		from[i] = from[j];
		from[j] = swap;
	}
	for (i = 0; i < n; i++)
		other[i] = rows[from[i]];
}

/* What holds of rows that were assigned.  strict: no pair is so sure that two rows may have one item. */
static void
check_assigned(const MatchRow *rows, int n, bool strict)
{
	double		claimed[ITEMS] = {0};
	int			i;

	for (i = 0; i < n; i++)
	{
		must(rows[i].confidence >= 0 && rows[i].confidence <= 1 && rows[i].log_odds == rows[i].log_odds);
		must(rows[i].chosen >= -1 && rows[i].chosen < (int) rows[i].n && (rows[i].chosen >= 0) == (rows[i].n > 0));
		if (rows[i].chosen >= 0)
			claimed[rows[i].found[rows[i].chosen].item] += 1 / (1 + exp(-(double) score_curve_back(rows[i].log_odds)));
	}
	for (i = 0; i < ITEMS && strict; i++)
		must(claimed[i] <= 1.15);
}

static void
fuzz_assign(const char *text, size_t size)
{
	static MatchRow rows[ROWS];
	static MatchRow other[ROWS];
	int			from[ROWS];
	uint8_t		kind = take_byte(&text, &size);
	MatchShares shares = {kind & 1 ? take_score(&text, &size) : 0, kind & 2 ? 1e-6f : 0.005f + 0.99f * (float) take_byte(&text, &size) / 255};
	MatchCalibration calibration = {kind & 4 ? 0.2f + (float) take_byte(&text, &size) / 64 : 1, kind & 4 ? take_score(&text, &size) : 0};
	bool		strict = (kind & 3) == 2;
	int			n = 0;
	int			i;
	int			k;

	memset(rows, 0, sizeof(rows));
	while (size > 0 && n < ROWS)
	{
		MatchRow   *row = &rows[n++];

		for (row->n = take_byte(&text, &size) % (MATCH_KEPT + 1), k = 0; k < row->n; k++)
		{
			/* A row names an item once. */
			row->found[k].item = (uint32_t) (take_byte(&text, &size) % (ITEMS / MATCH_KEPT) * MATCH_KEPT + k);
			row->found[k].score = take_score(&text, &size);
			strict &= fabsf(row->found[k].score) <= 2 && n <= 40;
		}
	}
	if (!(kind & 8))
	{
		must(assign_estimate(rows, (size_t) n, &shares));
		must(isfinite(shares.shift) && shares.repeats > 0 && shares.repeats <= 1);
		strict = false;
	}
	must(assign_rows(rows, (size_t) n, &shares, &calibration));
	check_assigned(rows, n, strict);
	permute(rows, n, other, from);
	must(assign_rows(other, (size_t) n, &shares, &calibration));
	for (i = 0; i < n; i++)
		must(fabsf(other[i].log_odds - rows[from[i]].log_odds) < 0.02f * (1 + fabsf(other[i].log_odds)));
	for (i = 0; i < n; i++)
	{
		float		alone[MATCH_KEPT];

		assign_alone(rows[i].found, rows[i].n, alone);
		for (k = 0; k < rows[i].n; k++)
			must(alone[k] == alone[k]);
	}
}

/* How unlikely reviews and curve are together, as calibrate_fit() weighs them. */
static double
unlikelihood(const float *log_odds, const bool *right, size_t n, const MatchCalibration *c)
{
	double		sum = (c->slope - 1) * (c->slope - 1) / (2 * 0.35 * 0.35) + c->offset * c->offset / 2;
	size_t		i;

	for (i = 0; i < n; i++)
	{
		double		x = (right[i] ? -1 : 1) * ((double) c->slope * log_odds[i] + c->offset);

		sum += x > 30 ? x : log1p(exp(x));
	}
	return sum;
}

static void
fuzz_calibrate(const char *text, size_t size)
{
	float		log_odds[256];
	bool		right[256];
	MatchCalibration c;
	size_t		n = 0;
	float		before = 0;
	int			i;

	while (size > 0 && n < 256)
	{
		log_odds[n] = take_score(&text, &size);
		log_odds[n] = log_odds[n] > 30 ? 30 : log_odds[n] < -30 ? -30 : log_odds[n];
		right[n++] = take_byte(&text, &size) & 1;
	}
	calibrate_fit(log_odds, right, n, &c);
	must(isfinite(c.slope) && isfinite(c.offset) && c.slope > 0);
	must(n > 0 || (c.slope == 1 && c.offset == 0));
	if (c.slope > 0.21)
		must(unlikelihood(log_odds, right, n, &c) <= unlikelihood(log_odds, right, n, &calibration_shipped) + 1e-3);
	for (i = -40; i <= 40; i++)
	{
		float		p = calibrate(&c, (float) i);

		must(p > 0 && p < 1 && p >= before);
		before = p;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *rest = (const char *) data + 1;

	if (size < 1)
		return 0;
	switch (data[0] % 6)
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
		case 3:
			fuzz_file(rest, size - 1);
			break;
		case 4:
			fuzz_assign(rest, size - 1);
			break;
		default:
			fuzz_calibrate(rest, size - 1);
	}
	return 0;
}
