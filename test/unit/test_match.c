/*
 * test_match.c
 *	  The matcher's kernels: GTIN, tokens, index and its file, search and score.  Prints TAP.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "match/assign.h"
#include "match/search.h"

#define SEED 42

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

/* GTIN ---------------------------------------------------------------------------------------------------------------- */

typedef struct GtinCase
{
	const char *name;
	const char *code;
	const char *expected;		/* NULL: no GTIN */
} GtinCase;

static const GtinCase gtin_cases[] = {
	{"UPC-A", "036000291452", "00036000291452"},
	{"hyphens and spaces", " 0-36000-29145-2 ", "00036000291452"},
	{"EAN-13", "4006381333931", "04006381333931"},
	{"EAN-13 that is a UPC-A", "0036000291452", "00036000291452"},
	{"GTIN-14 of the single piece", "00036000291452", "00036000291452"},
	{"case pack keeps its indicator", "10036000291459", "10036000291459"},
	{"EAN-8", "96385074", "00000096385074"},
	{"UPC-E, last digit 0 to 2", "04252614", "00042100005264"},
	{"UPC-E, last digit 3", "01234531", "00012300000451"},
	{"UPC-E, last digit 4", "01234543", "00012340000053"},
	{"UPC-E, last digit 5 to 9", "01234565", "00012345000065"},
	{"wrong check digit", "036000291453", NULL},
	{"one digit repeated", "00000000", NULL},
	{"one digit repeated, long", "11111111111116", NULL},
	{"restricted 02", "0212345678909", NULL},
	{"restricted 2x", "2012345678903", NULL},
	{"restricted 04", "0412345678903", NULL},
	{"restricted EAN-8", "20123451", NULL},
	{"coupon", "9912345678904", NULL},
	{"letters", "03600029145X", NULL},
	{"eleven digits", "36000291452", NULL},
	{"fifteen digits", "000036000291452", NULL},
	{"empty", "", NULL},
	{"spreadsheet", "3.6E+10", NULL},
};

static void
test_gtin(void)
{
	GtinGuess	guess;
	size_t		i;

	for (i = 0; i < sizeof(gtin_cases) / sizeof(gtin_cases[0]); i++)
	{
		const GtinCase *c = &gtin_cases[i];
		uint64_t	gtin;
		char		digits[GTIN_DIGITS + 1] = "";
		bool		found = gtin_parse(c->code, strlen(c->code), &gtin);

		if (found)
			gtin_format(gtin, digits);
		ok(c->expected == NULL ? !found && gtin == 0 : found && strcmp(digits, c->expected) == 0, c->name);
	}
	ok(gtin_guess("36000291452", 11, &guess) && guess.low == UINT64_C(36000291452) && guess.high == guess.low, "lost leading zero is a guess");
	ok(gtin_guess("36000291452.0", 13, &guess) && guess.low == UINT64_C(36000291452), "a decimal point added is a guess");
	ok(gtin_guess("4.00638E+12", 11, &guess) && guess.low <= UINT64_C(4006381333931) && guess.high >= UINT64_C(4006381333931),
	   "rounded to a power of ten is a guess");
	ok(!gtin_guess("4E+12", 5, &guess) && !gtin_guess("4.0E+99", 7, &guess), "too rounded or too large is none");
	ok(!gtin_guess("036000291452", 12, &guess), "a sound code needs no guess");
}

/* Tokens -------------------------------------------------------------------------------------------------------------- */

static bool
has_token(const TokenList *list, const char *text, TokenKind kind)
{
	int			i;

	for (i = 0; i < list->n; i++)
		if (list->tokens[i].kind == kind && list->tokens[i].length == strlen(text) &&
			memcmp(list->text + list->tokens[i].start, text, strlen(text)) == 0)
			return true;
	return false;
}

/* Whether two texts share the hash of some token of the given kind. */
static bool
meet(const char *a, const char *b, TokenKind kind)
{
	TokenList	x;
	TokenList	y;
	int			i;
	int			j;

	tokens_clear(&x, SEED);
	tokens_clear(&y, SEED);
	tokens_add(&x, a, strlen(a));
	tokens_add(&y, b, strlen(b));
	for (i = 0; i < x.n; i++)
		for (j = 0; j < y.n; j++)
			if (x.tokens[i].hash == y.tokens[j].hash && x.tokens[i].kind == kind)
				return true;
	return false;
}

static TokenList
tokens_of(const char *text)
{
	TokenList	list;

	tokens_clear(&list, SEED);
	tokens_add(&list, text, strlen(text));
	return list;
}

static void
test_tokens(void)
{
	TokenList	list = tokens_of("Sony DSC-W150/B Caf\xc3\xa9 14\" 1,000 sheets");
	char		folded[64];
	char		squeezed[NORM_TOKEN_BYTES];
	size_t		n;

	ok(has_token(&list, "dscw150b", TOKEN_CODE), "hyphen and slash join a code");
	ok(has_token(&list, "dscw150", TOKEN_CODE), "a code gives its stem");
	ok(has_token(&list, "cafe", TOKEN_WORD), "case and accents fold");
	ok(has_token(&list, "1000", TOKEN_QUANTITY), "thousands' comma goes, the unit is taken");
	ok(meet("64 GB", "64gb", TOKEN_QUANTITY), "64 GB is 64gb");
	ok(meet("14\" monitor", "14-inch monitor", TOKEN_QUANTITY), "14\" is 14-inch");
	ok(meet("1000 MB", "1 GB", TOKEN_QUANTITY), "units have one base");
	ok(!meet("64 GB", "32 GB", TOKEN_QUANTITY), "64 GB is not 32 GB");
	ok(meet("iwdc 6125", "IWDC6125", TOKEN_CODE), "a code broken by a space meets the whole one");
	ok(!meet("xj-10w", "10w lamp", TOKEN_QUANTITY), "the end of a code is no quantity");
	ok(tokens_of("pens, pack of 12").pack == 12 && tokens_of("pens 12-pack").pack == 12 && tokens_of("twin pack pens").pack == 2,
	   "packs are counted in three ways of writing");
	ok(tokens_of("pens").pack == 1, "no pack is one piece");
	ok(tokens_of("Remanufactured toner").conditions == CONDITION_REMADE, "remanufactured is noted");
	ok(tokens_of("toner compatible with hp").conditions == CONDITION_COMPATIBLE, "compatible is noted");
	ok(tokens_of("mouse black").colours != 0 && tokens_of("NN965BK").colours == tokens_of("black").colours, "a code's ending may name the colour");
	n = text_fold("\xff\xfe\xc0\xaf" "A", 5, folded, sizeof(folded));
	ok(n == 5 && memcmp(folded, "    a", 5) == 0, "what is no UTF-8 acts as spaces");
	n = brand_squeeze("Acme Tools, Inc.", 16, squeezed, sizeof(squeezed));
	ok(n == 9 && memcmp(squeezed, "acmetools", 9) == 0, "a brand does without the endings of companies");
}

static void
test_hostile_text(void)
{
	size_t		size = 10 * 1024 * 1024;
	char	   *text = malloc(size);
	TokenList	list;
	size_t		i;

	memset(text, 'a', size);
	tokens_clear(&list, SEED);
	tokens_add(&list, text, size);
	ok(list.n == 1 && list.tokens[0].length == NORM_TOKEN_BYTES, "10 MB without a space is one short token");
	for (i = 0; i < size; i++)
		text[i] = (char) (i % 3 == 0 ? ' ' : i % 3 == 1 ? '1' : 'a' + (char) (i % 26));
	tokens_clear(&list, SEED);
	tokens_add(&list, text, size);
	tokens_add(&list, text, size);
	ok(list.n <= NORM_TOKENS && list.text_used <= NORM_TEXT_BYTES, "10 MB of words fill the list and no more");
	memset(text, 0, size);
	tokens_clear(&list, SEED);
	tokens_add(&list, text, size);
	ok(list.n == 0, "10 MB of NUL are nothing");
	free(text);
}

/* Index --------------------------------------------------------------------------------------------------------------- */

typedef struct TestItem
{
	const char *id;
	const char *sku;
	const char *gtin;
	const char *brand;
	const char *mpn;
	const char *title;
	double		price;
} TestItem;

static const TestItem existing[] = {
	{"1", "S-1", "036000291452", "Sony", "DSC-W150/B", "Sony Cyber-shot DSC-W150 8 MP digital camera black", 199},
	{"2", "S-2", "4006381333931", "Sony", "DSC-W170/B", "Sony Cyber-shot DSC-W170 10 MP digital camera black", 249},
	{"3", "S-3", NULL, "HP", "CB435A", "HP 35A black toner cartridge CB435A", 60},
	{"4", "S-4", NULL, "Dataproducts", NULL, "Remanufactured toner cartridge for HP CB435A 35A black", 30},
	{"5", "S-5", NULL, "Kingston", "DTI/64GB", "Kingston DataTraveler 64 GB USB drive", 40},
	{"6", "S-6", NULL, "Kingston", "DTI/32GB", "Kingston DataTraveler 32 GB USB drive", 25},
	{"7", "S-7", NULL, "Bic", "59253", "Bic ballpoint pens 12 pack blue", 5},
	{"8", "S-8", "96385074", "Acme", "A1", "Acme stapler", 9},
	{"9", "S-9", "96385074", "Acme", "A2", "Acme stapler large", 12},
};

#define N_EXISTING ((int) (sizeof(existing) / sizeof(existing[0])))

static MatchFields
fields_of(const TestItem *item)
{
	MatchFields fields;

	memset(&fields, 0, sizeof(fields));
	fields.id = text_of(item->id);
	fields.sku = text_of(item->sku);
	fields.gtin = text_of(item->gtin);
	fields.brand = text_of(item->brand);
	fields.mpn = text_of(item->mpn);
	fields.title = text_of(item->title);
	fields.price = item->price;
	return fields;
}

static void
build(MatchIndex *index)
{
	IndexBuilder *builder;
	BrandAliases aliases;
	int			i;

	if (!brand_aliases_build_shipped(&aliases))
		abort();
	builder = mindex_begin(SEED, 7, &aliases);
	brand_aliases_free(&aliases);
	for (i = 0; i < N_EXISTING; i++)
	{
		MatchFields fields = fields_of(&existing[i]);

		if (!mindex_add(builder, &fields))
			abort();
	}
	if (!mindex_finish(builder, index))
		abort();
}

/* A match and how sure it is. */
typedef struct Best
{
	MatchFound	found;
	float		confidence;
} Best;

/* Searches for an item.  Returns the id of the best match in a static buffer, "" where there is none. */
static const char *
best(const MatchIndex *index, const TestItem *wanted, Best *result)
{
	static char id[32];
	MatchScratch *scratch = scratch_create(index);
	MatchFields fields = fields_of(wanted);
	MatchItem  *item = malloc(sizeof(MatchItem));
	size_t		length = 0;
	const char *text = "";
	MatchFound	found[5];
	float		log_odds[5];
	int			n;

	memset(result, 0, sizeof(Best));
	item_prepare(item, &fields, index->seed, &index->aliases, false);
	n = match_search(index, scratch, item, found, 5);
	assign_alone(found, n, log_odds);
	if (n > 0)
	{
		result->found = found[0];
		result->confidence = calibrate(&calibration_shipped, log_odds[0]);
		text = mindex_item_id(index, found[0].item, &length);
	}
	memcpy(id, text, length);
	id[length] = '\0';
	free(item);
	scratch_free(scratch);
	return id;
}

static void
test_search(const MatchIndex *index)
{
	Best		found;
	const char *id;

	id = best(index, &(TestItem) {"x", NULL, "0036000291452", NULL, NULL, "camera", 0}, &found);
	ok(strcmp(id, "1") == 0 && found.found.method == METHOD_GTIN && found.confidence > 0.95f, "an equal GTIN is near certain");
	id = best(index, &(TestItem) {"x", NULL, "0036000291452", "Canon", NULL, "camera 3 pack", 0}, &found);
	ok(found.confidence < 0.95f, "a contradicted GTIN is not");
	id = best(index, &(TestItem) {"x", NULL, "96385074", "Acme", NULL, "stapler", 0}, &found);
	ok((found.found.doubts & DOUBT_KEY_SHARED) && found.confidence < 0.95f, "nor is one that two existing items have");
	id = best(index, &(TestItem) {"x", NULL, NULL, "SONY", "DSCW170B", "W170 camera", 0}, &found);
	ok(strcmp(id, "2") == 0 && found.found.method == METHOD_BRAND_MPN && found.confidence > 0.95f, "brand and part number, written another way");
	id = best(index, &(TestItem) {"x", NULL, NULL, "Timken", "59253", "Timken wheel bearing", 0}, &found);
	ok(found.confidence < 0.5f, "an equal part number of another brand is no match");
	id = best(index, &(TestItem) {"x", NULL, NULL, NULL, NULL, "Cyber-shot DSCW150 camera by Sony", 0}, &found);
	ok(strcmp(id, "1") == 0 && found.found.method == METHOD_TOKENS && found.confidence > 0.5f, "a title finds its item");
	id = best(index, &(TestItem) {"x", NULL, NULL, "HP", NULL, "HP 35A toner cartridge CB435A black", 58}, &found);
	ok(strcmp(id, "3") == 0, "the original and not the remanufactured one");
	id = best(index, &(TestItem) {"x", NULL, NULL, "Kingston", NULL, "Kingston DataTraveler 32GB USB drive", 0}, &found);
	ok(strcmp(id, "6") == 0, "the right size");
	id = best(index, &(TestItem) {"x", NULL, NULL, "Bic", NULL, "Bic ballpoint pens 36 pack blue", 0}, &found);
	ok(found.confidence < 0.95f, "another pack is not approved by itself");
	id = best(index, &(TestItem) {"x", NULL, "36000291452", NULL, NULL, "garden hose", 0}, &found);
	ok(found.confidence < 0.95f, "a damaged GTIN alone is weak");
	id = best(index, &(TestItem) {"x", NULL, NULL, "Sony", "WH1000XM4", "Sony WH-1000XM4 wireless headphones black", 299}, &found);
	ok(found.confidence < 0.5f, "another product of the brand is new, in a small catalogue too");
	id = best(index, &(TestItem) {"x", NULL, NULL, "Kingston", NULL, "Kingston wired keyboard", 30}, &found);
	ok(found.confidence < 0.5f, "as is one of which less is known");
	id = best(index, &(TestItem) {"x", NULL, NULL, NULL, NULL, NULL, 0}, &found);
	ok(strcmp(id, "") == 0, "nothing matches nothing");
}

/* What differs only after the bytes that a token keeps of its text, and numbers of sizes that lie close to each other. */
static void
test_near(void)
{
	static const TestItem near[] = {
		{"red", NULL, NULL, "Acme", "6ES7214-1AG40-0XB0-EXTENDED-CABLE-RED", "Acme lead", 0},
		{"blue", NULL, NULL, "Acme", "6ES7214-1AG40-0XB0-EXTENDED-CABLE-BLUE", "Acme lead", 0},
		{"38", NULL, NULL, NULL, NULL, "Zorro leather boot size 38", 0},
		{"40", NULL, NULL, NULL, NULL, "Zorro leather boot size 40", 0},
	};
	IndexBuilder *builder = mindex_begin(SEED, 1, NULL);
	MatchIndex	index;
	Best		found;
	const char *id;
	int			i;

	for (i = 0; i < 4; i++)
	{
		MatchFields fields = fields_of(&near[i]);

		if (!mindex_add(builder, &fields))
			abort();
	}
	if (!mindex_finish(builder, &index))
		abort();
	id = best(&index, &(TestItem) {"x", NULL, NULL, "Acme", "6ES72141AG400XB0EXTENDEDCABLEBLUE", "lead", 0}, &found);
	ok(strcmp(id, "blue") == 0 && found.found.method == METHOD_BRAND_MPN && !(found.found.doubts & DOUBT_KEY_SHARED),
	   "a part number counts to its last character");
	best(&index, &(TestItem) {"x", NULL, NULL, NULL, NULL, "Zorro leather boot size 39", 0}, &found);
	ok((found.found.doubts & DOUBT_CONTRADICTED) != 0, "size 39 is neither 38 nor 40");
	mindex_free(&index);
}

/* Equal titles by the thousand, and a key that all share: bounded work, and a sound index. */
static void
test_equal_items(void)
{
	IndexBuilder *builder = mindex_begin(SEED, 1, NULL);
	MatchIndex	index;
	Best		found;
	char		number[16];
	int			i;

	for (i = 0; i < 50000; i++)
	{
		TestItem	item = {number, "same", "4006381333931", "Acme", "M1234", "the same title every time", 1};
		MatchFields fields;

		snprintf(number, sizeof(number), "%d", i);
		fields = fields_of(&item);
		if (!mindex_add(builder, &fields))
			abort();
	}
	ok(mindex_finish(builder, &index), "an index of equal items is built");
	best(&index, &(TestItem) {"x", "same", "4006381333931", "Acme", "M1234", "the same title every time", 1}, &found);
	ok((found.found.doubts & DOUBT_KEY_SHARED) && found.confidence < 0.95f, "among equal items none is approved");
	mindex_free(&index);
}

/* An item of common words alone, and misspelt ones: found none the less. */
static void
test_fallback(void)
{
	static const char *const words[] = {"alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett"};
	IndexBuilder *builder = mindex_begin(SEED, 1, NULL);
	MatchIndex	index;
	Best		found;
	char		number[16];
	char		title[128];
	int			i;

	for (i = 0; i < 100000; i++)
	{
		TestItem	item = {number, NULL, NULL, NULL, NULL, title, 0};
		MatchFields fields;

		snprintf(number, sizeof(number), "%d", i);
		snprintf(title, sizeof(title), "red%s blue%s green%s brown%s grey%s", words[i / 10000], words[i / 1000 % 10], words[i / 100 % 10],
				 words[i / 10 % 10], words[i % 10]);
		fields = fields_of(&item);
		if (!mindex_add(builder, &fields))
			abort();
	}
	if (!mindex_finish(builder, &index))
		abort();
	ok(strcmp(best(&index, &(TestItem) {"x", NULL, NULL, NULL, NULL, "redhotel bluehotel greenhotel brownhotel greyhotel", 0}, &found),
			  "77777") == 0, "an item of common words is found");
	ok(strcmp(best(&index, &(TestItem) {"x", NULL, NULL, NULL, NULL, "redhotle bluehotl greenhotell brownhotel greyhotel", 0}, &found),
			  "77777") == 0, "and where three of them are misspelt");
	ok(strcmp(best(&index, &(TestItem) {"x", NULL, NULL, NULL, NULL, "zzzzz qqqqqq", 0}, &found), "") == 0, "nonsense finds nothing");
	mindex_free(&index);
}

/* File ---------------------------------------------------------------------------------------------------------------- */

/* Opens a copy of the file's first length bytes with one byte changed; searches where that is accepted. */
static IndexStatus
open_damaged(const char *data, size_t length, size_t at, char change, const char *path)
{
	MatchIndex	index;
	IndexStatus status;
	int			fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	char	   *copy = malloc(length + 1);

	memcpy(copy, data, length);
	if (at < length)
		copy[at] ^= change;
	if (write(fd, copy, length) != (ssize_t) length)
		abort();
	close(fd);
	free(copy);
	status = mindex_open(&index, path);
	if (status == INDEX_OK)
	{
		Best		found;

		best(&index, &existing[0], &found);
	}
	mindex_free(&index);
	return status;
}

static void
test_file(const MatchIndex *index)
{
	char		path[] = "/tmp/test_match-XXXXXX";
	char		other[64];
	MatchIndex	mapped;
	Best		a;
	Best		b;
	struct stat info;
	char	   *data;
	size_t		size;
	size_t		i;
	int			fd = mkstemp(path);
	int			accepted = 0;

	snprintf(other, sizeof(other), "%s.damaged", path);
	ok(fd >= 0 && mindex_write(index, path), "an index is written");
	ok(mindex_open(&mapped, path) == INDEX_OK && mapped.version == 7, "and mapped");
	best(index, &existing[2], &a);
	best(&mapped, &existing[2], &b);
	ok(memcmp(&a, &b, sizeof(a)) == 0, "a mapped index gives the same as the one in memory");
	mindex_free(&mapped);
	ok(mindex_open(&mapped, "/nonexistent/file") == INDEX_MISSING, "a missing file is missing");
	ok(mindex_open(&mapped, "/tmp") == INDEX_UNREADABLE, "a folder is unreadable");

	close(fd);
	fd = open(path, O_RDONLY);
	if (fstat(fd, &info) != 0)
		abort();
	size = (size_t) info.st_size;
	data = malloc(size);
	if (read(fd, data, size) != (ssize_t) size)
		abort();
	close(fd);
	for (i = 0; i < size; i += i < 256 ? 1 : 97)
		accepted += open_damaged(data, i, SIZE_MAX, 0, other) == INDEX_OK;
	ok(accepted == 0, "no shortened file is accepted");
	for (i = 0; i < size; i += i < 256 ? 1 : 31)
		accepted += open_damaged(data, size, i, (char) (1 << i % 8), other) == INDEX_OK;
	/* Only the padding behind the header and the arrays is not covered. */
	ok(accepted <= 64, "a changed bit is noticed");
	ok(open_damaged(data, size, 8, 0x70, other) == INDEX_OTHER_FORMAT, "another format is told from damage");
	ok(!mindex_write(index, "/nonexistent/file"), "a folder that is not there is an error");
	free(data);
	unlink(path);
	unlink(other);
}

int
main(void)
{
	MatchIndex	index;

	test_gtin();
	test_tokens();
	test_hostile_text();
	build(&index);
	test_search(&index);
	test_near();
	test_file(&index);
	mindex_free(&index);
	test_equal_items();
	test_fallback();
	printf("1..%d\n", tests);
	return failures > 0;
}
