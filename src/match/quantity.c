/*
 * quantity.c
 *	  Quantities in product text: a number and its unit, sizes of clothes, how many pieces are sold together.
 *
 * Each becomes one token whose hash is that of its value in the base unit, so that "64 GB" and "64gb", 14" and "14 in", "pack of 2" and
 * "dual pack" meet.
 */
#include "match/tokens.h"

#include <string.h>

typedef struct UnitName
{
	const char *name;
	uint8_t		unit;
	bool		attached_only;	/* too short to be believed after a space */
	float		scale;
} UnitName;

/* In order of names. */
static const UnitName unit_names[] = {
	{"a", UNIT_AMPERE, true, 1}, {"ah", UNIT_AMPERE_HOUR, false, 1}, {"amp", UNIT_AMPERE, false, 1}, {"amps", UNIT_AMPERE, false, 1},
	{"bit", UNIT_BIT, false, 1}, {"bits", UNIT_BIT, false, 1}, {"btu", UNIT_BTU, false, 1}, {"btus", UNIT_BTU, false, 1},
	{"ch", UNIT_CHANNEL, false, 1}, {"channel", UNIT_CHANNEL, false, 1}, {"channels", UNIT_CHANNEL, false, 1},
	{"cm", UNIT_METRE, false, 0.01f}, {"count", UNIT_PACK, false, 1}, {"cpm", UNIT_PER_MINUTE, false, 1}, {"ct", UNIT_PACK, false, 1},
	{"cu", UNIT_CUBIC, false, 1}, {"cubic", UNIT_CUBIC, false, 1}, {"dpi", UNIT_DPI, false, 1}, {"feet", UNIT_METRE, false, 0.3048f},
	{"foot", UNIT_METRE, false, 0.3048f}, {"ft", UNIT_METRE, false, 0.3048f}, {"g", UNIT_GRAM, true, 1},
	{"gal", UNIT_LITRE, false, 3.785f}, {"gallon", UNIT_LITRE, false, 3.785f}, {"gallons", UNIT_LITRE, false, 3.785f},
	{"gb", UNIT_BYTE, false, 1e9f}, {"ghz", UNIT_HERTZ, false, 1e9f}, {"gigabyte", UNIT_BYTE, false, 1e9f},
	{"gigabytes", UNIT_BYTE, false, 1e9f}, {"gram", UNIT_GRAM, false, 1}, {"grams", UNIT_GRAM, false, 1},
	{"hour", UNIT_HOUR, false, 1}, {"hours", UNIT_HOUR, false, 1}, {"hr", UNIT_HOUR, false, 1}, {"hrs", UNIT_HOUR, false, 1},
	{"hz", UNIT_HERTZ, false, 1}, {"in", UNIT_METRE, true, 0.0254f}, {"inch", UNIT_METRE, false, 0.0254f},
	{"inches", UNIT_METRE, false, 0.0254f}, {"kb", UNIT_BYTE, false, 1e3f}, {"kg", UNIT_GRAM, false, 1000},
	{"khz", UNIT_HERTZ, false, 1e3f}, {"kw", UNIT_WATT, false, 1000}, {"l", UNIT_LITRE, true, 1}, {"lb", UNIT_GRAM, false, 453.6f},
	{"lbs", UNIT_GRAM, false, 453.6f}, {"liter", UNIT_LITRE, false, 1}, {"liters", UNIT_LITRE, false, 1},
	{"litre", UNIT_LITRE, false, 1}, {"litres", UNIT_LITRE, false, 1}, {"mah", UNIT_AMPERE_HOUR, false, 0.001f},
	{"mb", UNIT_BYTE, false, 1e6f}, {"megapixel", UNIT_PIXEL, false, 1}, {"megapixels", UNIT_PIXEL, false, 1},
	{"meter", UNIT_METRE, false, 1}, {"meters", UNIT_METRE, false, 1}, {"metre", UNIT_METRE, false, 1},
	{"metres", UNIT_METRE, false, 1}, {"mhz", UNIT_HERTZ, false, 1e6f}, {"ml", UNIT_LITRE, false, 0.001f},
	{"mm", UNIT_METRE, false, 0.001f}, {"mp", UNIT_PIXEL, false, 1}, {"ounce", UNIT_GRAM, false, 28.35f},
	{"ounces", UNIT_GRAM, false, 28.35f}, {"oz", UNIT_GRAM, false, 28.35f}, {"pack", UNIT_PACK, false, 1},
	{"packs", UNIT_PACK, false, 1}, {"page", UNIT_PAGE, false, 1}, {"pages", UNIT_PAGE, false, 1}, {"pc", UNIT_PACK, false, 1},
	{"pcs", UNIT_PACK, false, 1}, {"piece", UNIT_PACK, false, 1}, {"pieces", UNIT_PACK, false, 1}, {"pk", UNIT_PACK, false, 1},
	{"port", UNIT_PORT, false, 1}, {"ports", UNIT_PORT, false, 1}, {"pound", UNIT_GRAM, false, 453.6f},
	{"pounds", UNIT_GRAM, false, 453.6f}, {"ppm", UNIT_PER_MINUTE, false, 1}, {"qt", UNIT_LITRE, false, 0.9464f},
	{"rpm", UNIT_PER_MINUTE, false, 1}, {"sheet", UNIT_PAGE, false, 1}, {"sheets", UNIT_PAGE, false, 1},
	{"tb", UNIT_BYTE, false, 1e12f}, {"v", UNIT_VOLT, true, 1}, {"volt", UNIT_VOLT, false, 1}, {"volts", UNIT_VOLT, false, 1},
	{"w", UNIT_WATT, true, 1}, {"watt", UNIT_WATT, false, 1}, {"watts", UNIT_WATT, false, 1}, {"x", UNIT_TIMES, true, 1},
	{"yd", UNIT_METRE, false, 0.9144f}, {"yds", UNIT_METRE, false, 0.9144f},
};

typedef struct WordMeaning
{
	const char *word;
	uint8_t		length;
	uint8_t		condition;
	float		pack;			/* 0 where it says nothing of it */
} WordMeaning;

#define TEXT(s) s, sizeof(s) - 1

static const WordMeaning word_meanings[] = {
	{TEXT("compatible"), CONDITION_COMPATIBLE, 0}, {TEXT("replacement"), CONDITION_COMPATIBLE, 0},
	{TEXT("replaces"), CONDITION_COMPATIBLE, 0}, {TEXT("remanufactured"), CONDITION_REMADE, 0},
	{TEXT("reman"), CONDITION_REMADE, 0}, {TEXT("recycled"), CONDITION_REMADE, 0},
	{TEXT("refurbished"), CONDITION_REFURBISHED, 0}, {TEXT("refurb"), CONDITION_REFURBISHED, 0},
	{TEXT("renewed"), CONDITION_REFURBISHED, 0}, {TEXT("reconditioned"), CONDITION_REFURBISHED, 0},
	{TEXT("recertified"), CONDITION_REFURBISHED, 0}, {TEXT("preowned"), CONDITION_REFURBISHED, 0},
	{TEXT("bundle"), CONDITION_BUNDLE, 0}, {TEXT("bundled"), CONDITION_BUNDLE, 0}, {TEXT("twin"), 0, 2}, {TEXT("dual"), 0, 2},
	{TEXT("triple"), 0, 3}, {TEXT("dozen"), 0, 12},
};

static const UnitName pack_unit = {"pack", UNIT_PACK, false, 1};

/* Words that say that the number before or after them counts pieces. */
static bool
is_pack_word(const char *s, size_t n)
{
	return (n == 4 && memcmp(s, "pack", 4) == 0) || (n == 2 && memcmp(s, "pk", 2) == 0) || (n == 3 && memcmp(s, "set", 3) == 0) ||
		(n == 3 && memcmp(s, "box", 3) == 0) || (n == 4 && memcmp(s, "case", 4) == 0) || (n == 6 && memcmp(s, "carton", 6) == 0) ||
		(n == 3 && memcmp(s, "lot", 3) == 0);
}

/* Sizes of clothes, in order; numbers of sizes come after them. */
static const char *const size_names[] = {"xxs", "xs", "s", "m", "l", "xl", "xxl", "xxxl", "2xl", "3xl", "4xl", "5xl"};
static const float size_values[] = {1, 2, 3, 4, 5, 6, 7, 8, 7, 8, 9, 10};

#define SIZE_NUMBERS 100.0f

/* The size that a name stands for, or 0.  A single letter is one only after the word size. */
static float
read_size(const char *s, size_t n, bool after_word)
{
	size_t		i;

	for (i = 0; i < sizeof(size_names) / sizeof(size_names[0]); i++)
		if (strlen(size_names[i]) == n && memcmp(size_names[i], s, n) == 0 && (n > 1 || after_word))
			return size_values[i];
	return 0;
}

/* The unit of this name, or NULL. */
static const UnitName *
find_unit(const char *s, size_t n, bool attached)
{
	int			low = 0;
	int			high = (int) (sizeof(unit_names) / sizeof(unit_names[0])) - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;
		const char *name = unit_names[middle].name;
		int			order = strncmp(s, name, n);

		if (order == 0 && name[n] != '\0')
			order = -1;
		if (order == 0)
			return unit_names[middle].attached_only && !attached ? NULL : &unit_names[middle];
		if (order < 0)
			high = middle - 1;
		else
			low = middle + 1;
	}
	return NULL;
}

/* The number that the leading digits (with a point) spell. */
float
read_number(const char *s, size_t n, size_t *taken)
{
	double		value = 0;
	double		place = 1;
	bool		fraction = false;
	size_t		i;

	for (i = 0; i < n && (is_digit(s[i]) || s[i] == '.'); i++)
	{
		if (s[i] == '.')
			fraction = true;
		else if (fraction)
			value += (s[i] - '0') * (place /= 10);
		else if (value < 1e15)
			value = value * 10 + (s[i] - '0');
	}
	*taken = i;
	return (float) value;
}

/* What a word says of an article's condition, as CONDITION_* bits. */
uint8_t
word_condition(const char *s, size_t n)
{
	size_t		i;

	for (i = 0; i < sizeof(word_meanings) / sizeof(word_meanings[0]); i++)
		if (word_meanings[i].length == n && memcmp(word_meanings[i].word, s, n) == 0)
			return word_meanings[i].condition;
	return 0;
}

static void
add_quantity(TokenList *list, const char *text, size_t length, float value, const UnitName *unit)
{
	Token	   *token = token_new(list, text, length);
	char		key[1 + sizeof(float)];

	if (token == NULL)
		return;
	token->kind = TOKEN_QUANTITY;
	token->unit = unit->unit;
	token->value = value * unit->scale;
	key[0] = (char) unit->unit;
	memcpy(key + 1, &token->value, sizeof(float));
	token->hash = text_hash(~list->seed, key, sizeof(key));
	if (unit->unit == UNIT_PACK && value >= 1)
		list->pack = value;
}

/* Reads a size of clothes: xl, size 38.  Returns the runs taken, 0 where there is none. */
static int
read_clothes_size(TokenList *list, const char *s, const Run *runs, int n, int i)
{
	static const UnitName size = {"size", UNIT_SIZE, false, 1};
	const char *text = s + runs[i].start;
	size_t		taken;
	float		value;

	if (runs[i].length == 4 && memcmp(text, "size", 4) == 0 && i + 1 < n && !runs[i + 1].point)
	{
		const char *name = s + runs[i + 1].start;

		value = runs[i + 1].letters == 0 ? SIZE_NUMBERS + read_number(name, runs[i + 1].length, &taken) :
			read_size(name, runs[i + 1].length, true);
		if (value > 0)
		{
			add_quantity(list, name, runs[i + 1].length, value, &size);
			return 2;
		}
	}
	value = read_size(text, runs[i].length, false);
	if (value == 0)
		return 0;
	add_quantity(list, text, runs[i].length, value, &size);
	return 1;
}

/* Reads a number of pieces that begins with a word: pack of 2, dual pack.  Returns the runs taken, 0 where there is none. */
static int
read_pack(TokenList *list, const char *s, const Run *runs, int n, int i)
{
	const char *text = s + runs[i].start;
	size_t		taken;
	size_t		j;

	if (is_pack_word(text, runs[i].length) && i + 2 < n && runs[i + 1].length == 2 && memcmp(s + runs[i + 1].start, "of", 2) == 0 &&
		runs[i + 2].letters == 0 && !runs[i + 2].point)
	{
		const char *number = s + runs[i + 2].start;

		add_quantity(list, number, runs[i + 2].length, read_number(number, runs[i + 2].length, &taken), &pack_unit);
		return 3;
	}
	for (j = 0; j < sizeof(word_meanings) / sizeof(word_meanings[0]); j++)
		if (word_meanings[j].pack > 0 && word_meanings[j].length == runs[i].length &&
			memcmp(word_meanings[j].word, text, runs[i].length) == 0 && i + 1 < n &&
			is_pack_word(s + runs[i + 1].start, runs[i + 1].length))
		{
			add_quantity(list, text, runs[i].length, word_meanings[j].pack, &pack_unit);
			return 2;
		}
	return 0;
}

/* The unit that the run after a number names, or NULL. */
static const UnitName *
following_unit(const char *s, const Run *run)
{
	const UnitName *unit;

	if (run->digits > 0 || (run->joint != '-' && run->joint != ' ' && run->joint != '/'))
		return NULL;
	unit = find_unit(s + run->start, run->length, false);
	/* 12/case */
	if (unit == NULL && run->joint == '/' && is_pack_word(s + run->start, run->length))
		unit = &pack_unit;
	return unit;
}

/*
 * Reads a quantity that starts at run i: 64gb, 64 gb, 8-port, 14", 2 pack, pack of 2, dual pack.  Returns the runs taken, 0 where
 * there is none.
 */
int
read_quantity(TokenList *list, const char *s, const Run *runs, int n, int i)
{
	static const UnitName inch = {"in", UNIT_METRE, false, 0.0254f};
	const Run  *run = &runs[i];
	const char *text = s + run->start;
	const UnitName *unit = NULL;
	int			runs_taken = read_clothes_size(list, s, runs, n, i);
	size_t		taken;
	float		value;

	if (runs_taken > 0)
		return runs_taken;
	if (run->digits == 0)
		return read_pack(list, s, runs, n, i);
	if (!is_digit(text[0]))
		return 0;
	value = read_number(text, run->length, &taken);
	runs_taken = 1;
	if (taken < run->length)
		unit = run->digits > 6 ? NULL : find_unit(text + taken, run->length - taken, true);
	else if (run->inches)
		unit = &inch;
	else if (i + 1 < n)
	{
		unit = following_unit(s, &runs[i + 1]);
		runs_taken = 2;
	}
	if (unit == NULL)
		return 0;
	add_quantity(list, text, run->length, value, unit);
	return runs_taken;
}
