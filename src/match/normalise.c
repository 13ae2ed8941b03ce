/*
 * normalise.c
 *	  Splits folded product text into tokens.
 *
 * A run of letters and digits is a token.  A number with its unit, attached or not, is one token whose hash is that of its value in the
 * base unit, so that "64 GB", "64gb" and 14" and "14 in" meet.  Runs that a hyphen joins, and a short word before a number, also give the
 * joined code as one further token: dsc-w150 gives dsc, w150 and, spanning both, dscw150.  So it meets the code written in one word, and
 * the parts that it spans then count as found.
 */
#include "match/normalise.h"

#include <string.h>

#define MAX_RUNS 96

/* Runs that hyphens join and that are taken for one code: mb13-red-see-v2. */
#define LONGEST_CHAIN 5

/* Letters and digits without a break, and what stands before it. */
typedef struct Run
{
	uint16_t	start;
	uint16_t	length;
	uint8_t		letters;
	uint8_t		digits;
	bool		point;			/* digits with a decimal point */
	char		joint;			/* the single character between this run and the one before; ' ' for anything else */
	bool		inches;			/* a double quote follows the number */
	bool		apart;			/* a dash, bar or bracket stands before it: what comes is about something else */
} Run;

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

/* Names of colours and finishes; several names of one colour stand for the same bit. */
typedef struct ColourName
{
	const char *name;
	uint8_t		length;
	uint8_t		bit;
} ColourName;

#define TEXT(s) s, sizeof(s) - 1

static const ColourName colour_names[] = {
	{TEXT("black"), 0}, {TEXT("bk"), 0}, {TEXT("blk"), 0}, {TEXT("white"), 1}, {TEXT("wh"), 1}, {TEXT("wht"), 1}, {TEXT("whi"), 1}, {TEXT("silver"), 2}, {TEXT("slv"), 2}, {TEXT("slvr"), 2}, {TEXT("gray"), 3},
	{TEXT("grey"), 3}, {TEXT("gry"), 3}, {TEXT("red"), 4}, {TEXT("rd"), 4}, {TEXT("blue"), 5}, {TEXT("blu"), 5}, {TEXT("green"), 6}, {TEXT("grn"), 6}, {TEXT("pink"), 7}, {TEXT("pnk"), 7},
	{TEXT("yellow"), 8}, {TEXT("ylw"), 8}, {TEXT("orange"), 9}, {TEXT("purple"), 10}, {TEXT("brown"), 11}, {TEXT("brn"), 11}, {TEXT("gold"), 12}, {TEXT("titanium"), 13},
	{TEXT("cyan"), 14}, {TEXT("magenta"), 15}, {TEXT("clear"), 16}, {TEXT("clr"), 16}, {TEXT("stainless"), 17}, {TEXT("ss"), 17}, {TEXT("beige"), 18}, {TEXT("ivory"), 19},
	{TEXT("bronze"), 20}, {TEXT("chrome"), 21}, {TEXT("cherry"), 22}, {TEXT("walnut"), 23}, {TEXT("oak"), 24}, {TEXT("maple"), 25}, {TEXT("mahogany"), 26},
};

static const WordMeaning word_meanings[] = {
	{TEXT("compatible"), CONDITION_COMPATIBLE, 0}, {TEXT("replacement"), CONDITION_COMPATIBLE, 0}, {TEXT("replaces"), CONDITION_COMPATIBLE, 0},
	{TEXT("remanufactured"), CONDITION_REMADE, 0}, {TEXT("reman"), CONDITION_REMADE, 0}, {TEXT("recycled"), CONDITION_REMADE, 0},
	{TEXT("refurbished"), CONDITION_REFURBISHED, 0}, {TEXT("refurb"), CONDITION_REFURBISHED, 0}, {TEXT("renewed"), CONDITION_REFURBISHED, 0},
	{TEXT("reconditioned"), CONDITION_REFURBISHED, 0}, {TEXT("recertified"), CONDITION_REFURBISHED, 0}, {TEXT("preowned"), CONDITION_REFURBISHED, 0},
	{TEXT("bundle"), CONDITION_BUNDLE, 0}, {TEXT("bundled"), CONDITION_BUNDLE, 0}, {TEXT("twin"), 0, 2}, {TEXT("dual"), 0, 2}, {TEXT("triple"), 0, 3},
	{TEXT("dozen"), 0, 12},
};

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

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (unsigned char) c >= 0x80;
}

/* The number that the leading digits (with a point) spell. */
static float
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

/* Whether what stands between two runs sets them apart: " - ", a bar, a bracket. */
static bool
is_apart(const char *s, size_t n)
{
	size_t		i;

	for (i = 0; i < n; i++)
		if (s[i] == '|' || s[i] == '(' || s[i] == ')' || s[i] == ';' || (s[i] == '-' && n > 1))
			return true;
	return false;
}

/* Cuts folded text into runs.  A comma before three digits is dropped in place (1,000), which is why the text is writable. */
static int
find_runs(char *s, size_t n, Run runs[MAX_RUNS])
{
	int			count = 0;
	size_t		end_before = 0;
	size_t		i = 0;

	while (i < n && count < MAX_RUNS)
	{
		Run		   *run = &runs[count];
		size_t		out;
		size_t		letters = 0;
		size_t		digits = 0;

		if (!is_letter(s[i]) && !is_digit(s[i]))
		{
			i++;
			continue;
		}
		memset(run, 0, sizeof(Run));
		run->start = (uint16_t) i;
		run->joint = count > 0 && i == end_before + 1 ? s[end_before] : ' ';
		run->apart = is_apart(s + end_before, i - end_before);
		for (out = i; i < n; i++)
		{
			bool		number = letters == 0 && i + 1 < n && i > run->start && is_digit(s[i - 1]) && is_digit(s[i + 1]);

			if (is_digit(s[i]))
				digits++;
			else if (is_letter(s[i]))
				letters++;
			else if (s[i] == '.' && number && !run->point)
				run->point = true;
			else if (s[i] == ',' && number && i + 3 < n && is_digit(s[i + 2]) && is_digit(s[i + 3]))
				continue;
			else
				break;
			s[out++] = s[i];
		}
		run->length = (uint16_t) (out - run->start);
		run->letters = letters > 255 ? 255 : (uint8_t) letters;
		run->digits = digits > 255 ? 255 : (uint8_t) digits;
		run->inches = letters == 0 && i < n && s[i] == '"';
		end_before = i;
		count++;
	}
	return count;
}

/* Notes the colour that a word or the ending of a code names.  Short forms are believed at the end of a code only: blu-ray. */
static void
note_colour(TokenList *list, const char *text, size_t length, bool ending)
{
	size_t		i;

	if (!ending && (length < 3 || (length == 3 && memcmp(text, "blu", 3) == 0) || (length == 3 && memcmp(text, "clr", 3) == 0)))
		return;
	for (i = 0; i < sizeof(colour_names) / sizeof(colour_names[0]); i++)
		if (colour_names[i].length == length && memcmp(colour_names[i].name, text, length) == 0)
			list->colours |= 1u << colour_names[i].bit;
}

/* Makes room for a token with a copy of its text, cut to NORM_TOKEN_BYTES.  Returns NULL when the list is full. */
static Token *
new_token(TokenList *list, const char *text, size_t length)
{
	Token	   *token;
	size_t		kept = length > NORM_TOKEN_BYTES ? NORM_TOKEN_BYTES : length;

	if (list->n == NORM_TOKENS)
		return NULL;
	token = &list->tokens[list->n++];
	memset(token, 0, sizeof(Token));
	token->hash = text_hash(list->seed, text, length);
	token->span = 1;
	token->after_for = list->after_for;
	token->start = (uint16_t) list->text_used;
	token->length = (uint8_t) kept;
	memcpy(list->text + list->text_used, text, kept);
	list->text_used += (int) kept;
	return token;
}

/* Length of a code without its ending of up to four letters, or all of it where too little would be left. */
static size_t
stem_length(const char *text, size_t length)
{
	size_t		n = length;

	while (n > 0 && is_letter(text[n - 1]))
		n--;
	return n < 4 || length - n > 4 ? length : n;
}

/* Hash of a code without its ending of letters, which is what colours and regions differ in. */
uint32_t
code_stem(uint64_t seed, const char *text, size_t length)
{
	return (uint32_t) text_hash(seed, text, stem_length(text, length)) | 1;
}

/* The letters after a code's stem, five bits each, the first three; 0 where there are none. */
static uint16_t
code_suffix(const char *text, size_t length, size_t stem)
{
	uint16_t	suffix = 0;
	int			i;

	for (i = 0; i < 3; i++)
	{
		size_t		at = stem + (size_t) i;
		bool		letter = at < length && text[at] >= 'a' && text[at] <= 'z';

		suffix = (uint16_t) (suffix << 5 | (letter ? text[at] - 'a' + 1 : 0));
	}
	return suffix;
}

/* The colour that a suffix names, as a bit, or 0. */
static uint32_t
suffix_colour(uint16_t suffix)
{
	char		text[3];
	size_t		n;
	size_t		i;

	for (n = 0; n < 3 && (suffix >> (10 - 5 * n) & 31) != 0; n++)
		text[n] = (char) ('a' + (suffix >> (10 - 5 * n) & 31) - 1);
	for (i = 0; n > 1 && i < sizeof(colour_names) / sizeof(colour_names[0]); i++)
		if (memcmp(colour_names[i].name, text, n) == 0 && (n == 3 || colour_names[i].length == n))
			return 1u << colour_names[i].bit;
	return 0;
}

/* Sets what a code is compared by. */
void
code_describe(uint64_t seed, const char *text, size_t length, Token *token)
{
	size_t		stem = stem_length(text, length);
	size_t		i;

	token->hash = text_hash(seed, text, length);
	token->kind = TOKEN_CODE;
	token->stem = code_stem(seed, text, length);
	token->suffix = code_suffix(text, length, stem);
	token->unit = CODE_DIGITS;
	for (i = 0; i < length; i++)
		if (!is_digit(text[i]))
			token->unit = 0;
}

/* Whether the endings of two codes of one stem may mean the same: w and wh, none and bk, bk and blk. */
bool
suffixes_agree(uint16_t a, uint16_t b)
{
	int			n;
	uint32_t	colour;

	for (n = 0; n < 3; n++)
	{
		unsigned	x = a >> (10 - 5 * n) & 31;
		unsigned	y = b >> (10 - 5 * n) & 31;

		if (x == 0 || y == 0)
			return true;
		if (x != y)
			break;
	}
	colour = suffix_colour(a);
	return n == 3 || (colour != 0 && colour == suffix_colour(b));
}

/* Adds what a code is found by beside itself: its stem, or its text after three letters. */
static void
add_code_part(TokenList *list, const char *text, size_t length)
{
	Token	   *token = new_token(list, text, length);

	if (token == NULL)
		return;
	code_describe(list->seed, text, length, token);
	token->suffix = 0;
	token->span = SPAN_STEM;
}

/* Letters before a code that are likely not to be the maker's, or 0: hon10707rnn, tv24734, but not dscw150. */
static size_t
foreign_prefix(const char *text, size_t length)
{
	size_t		letters = 0;
	size_t		run = 0;
	size_t		digits = 0;
	size_t		i;

	while (letters < length && is_letter(text[letters]))
		letters++;
	while (letters + run < length && is_digit(text[letters + run]))
		run++;
	if (letters >= 1 && letters <= 4 && run >= 4)
		return letters;
	for (i = 3; i < length; i++)
		digits += is_digit(text[i]);
	return letters >= 3 && length >= 7 && digits >= 3 ? 3 : 0;
}

/* Adds a code, and its parts. */
static void
add_code(TokenList *list, const char *text, size_t length, int span)
{
	Token	   *token = new_token(list, text, length);
	size_t		stem = stem_length(text, length);
	size_t		prefix;

	if (token == NULL)
		return;
	code_describe(list->seed, text, length, token);
	token->span = (uint8_t) span;
	if (stem < length)
	{
		note_colour(list, text + stem, length - stem, true);
		add_code_part(list, text, stem);
	}
	prefix = foreign_prefix(text, length);
	if (prefix > 0)
		add_code_part(list, text + prefix, length - prefix);
}

static void
add_quantity(TokenList *list, const char *text, size_t length, float value, const UnitName *unit)
{
	Token	   *token = new_token(list, text, length);
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

/* Copies a word, cut to NORM_TOKEN_BYTES, without the s of a plural: cables, batteries, boxes.  Returns its length. */
size_t
word_singular(const char *text, size_t length, char one[NORM_TOKEN_BYTES])
{
	size_t		n = length > NORM_TOKEN_BYTES ? NORM_TOKEN_BYTES : length;

	memcpy(one, text, n);
	if (n < 4 || n < length || one[n - 1] != 's' || strchr("sui", one[n - 2]) != NULL)
		return n;
	if (n > 4 && memcmp(one + n - 3, "ies", 3) == 0)
	{
		one[n - 3] = 'y';
		return n - 2;
	}
	if (n > 4 && one[n - 2] == 'e' && (one[n - 3] == 'x' || one[n - 3] == 's' || (one[n - 3] == 'h' && (one[n - 4] == 'c' || one[n - 4] == 's'))))
		return n - 2;
	return n - 1;
}

/* A Roman number of two letters and more is the number that it spells: Kingdom Hearts II, 2. */
static void
read_roman(TokenList *list, Token *token, const char *text, size_t length)
{
	static const char *const numbers[] = {"ii", "iii", "iv", "vi", "vii", "viii", "ix"};
	static const char digits[] = "2346789";
	size_t		i;

	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (strlen(numbers[i]) == length && memcmp(numbers[i], text, length) == 0)
		{
			token->kind = TOKEN_NUMBER;
			token->value = (float) (digits[i] - '0');
			token->hash = text_hash(list->seed, &digits[i], 1);
		}
}

/* Adds a run that is no quantity, and notes what the word means. */
static void
add_plain(TokenList *list, const char *s, const Run *run)
{
	const char *text = s + run->start;
	Token	   *token;
	char		one[NORM_TOKEN_BYTES];
	size_t		length;
	size_t		taken;
	size_t		i;

	if (run->digits > 0 && run->letters > 0 && !run->point)
	{
		add_code(list, text, run->length, 1);
		return;
	}
	token = new_token(list, text, run->length);
	if (token == NULL)
		return;
	if (run->digits > 0)
	{
		token->value = read_number(text, run->length, &taken);
		token->kind = run->digits >= 4 && !run->point ? TOKEN_CODE : TOKEN_NUMBER;
		token->stem = token->kind == TOKEN_CODE ? (uint32_t) token->hash | 1 : 0;
		token->unit = token->kind == TOKEN_CODE ? CODE_DIGITS : 0;
		/* The maker's own number inside a UPC is what others write alone. */
		if (run->length == 12 && run->digits == 12)
			add_code_part(list, text + 6, 5);
		return;
	}
	token->kind = TOKEN_WORD;
	length = word_singular(text, run->length, one);
	token->hash = text_hash(list->seed, one, length);
	note_colour(list, text, run->length, false);
	if (run->length <= 4)
		read_roman(list, token, text, run->length);
	for (i = 0; i < sizeof(word_meanings) / sizeof(word_meanings[0]); i++)
		if (word_meanings[i].length == run->length && memcmp(word_meanings[i].word, text, run->length) == 0)
			list->conditions |= word_meanings[i].condition;
}

/*
 * Reads a quantity that starts at run i: 64gb, 64 gb, 8-port, 14", 2 pack, pack of 2, dual pack.  Returns the runs taken, 0 where
 * there is none.
 */
static int
read_quantity(TokenList *list, const char *s, const Run *runs, int n, int i)
{
	static const UnitName inch = {"in", UNIT_METRE, false, 0.0254f};
	static const UnitName pack = {"pack", UNIT_PACK, false, 1};
	static const UnitName size = {"size", UNIT_SIZE, false, 1};
	const Run  *run = &runs[i];
	const char *text = s + run->start;
	const UnitName *unit;
	size_t		taken;
	size_t		j;
	float		value;

	if (run->length == 4 && memcmp(text, "size", 4) == 0 && i + 1 < n && !runs[i + 1].point)
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
	value = read_size(text, run->length, false);
	if (value > 0)
	{
		add_quantity(list, text, run->length, value, &size);
		return 1;
	}
	if (run->digits == 0)
	{
		if (is_pack_word(text, run->length) && i + 2 < n && runs[i + 1].length == 2 && memcmp(s + runs[i + 1].start, "of", 2) == 0 &&
			runs[i + 2].letters == 0 && !runs[i + 2].point)
		{
			value = read_number(s + runs[i + 2].start, runs[i + 2].length, &taken);
			add_quantity(list, s + runs[i + 2].start, runs[i + 2].length, value, &pack);
			return 3;
		}
		for (j = 0; j < sizeof(word_meanings) / sizeof(word_meanings[0]); j++)
			if (word_meanings[j].pack > 0 && word_meanings[j].length == run->length &&
				memcmp(word_meanings[j].word, text, run->length) == 0 && i + 1 < n &&
				is_pack_word(s + runs[i + 1].start, runs[i + 1].length))
			{
				add_quantity(list, text, run->length, word_meanings[j].pack, &pack);
				return 2;
			}
		return 0;
	}
	if (!is_digit(text[0]))
		return 0;
	value = read_number(text, run->length, &taken);
	if (run->inches && taken == run->length)
	{
		add_quantity(list, text, run->length, value, &inch);
		return 1;
	}
	if (taken < run->length)
	{
		unit = find_unit(text + taken, run->length - taken, true);
		if (unit == NULL || run->digits > 6)
			return 0;
		add_quantity(list, text, run->length, value, unit);
		return 1;
	}
	if (i + 1 < n && runs[i + 1].digits == 0 && (runs[i + 1].joint == '-' || runs[i + 1].joint == ' ' || runs[i + 1].joint == '/'))
	{
		unit = find_unit(s + runs[i + 1].start, runs[i + 1].length, false);
		/* 12/case */
		if (unit == NULL && runs[i + 1].joint == '/' && is_pack_word(s + runs[i + 1].start, runs[i + 1].length))
			unit = &pack;
		if (unit != NULL)
		{
			add_quantity(list, text, run->length, value, unit);
			return 2;
		}
	}
	return 0;
}

/* Whether run b continues the code that run a began. */
static bool
continues_code(const Run *a, const Run *b)
{
	if (b->joint == '-' || b->joint == '_')
		return true;
	if (b->joint == '/')
		return a->digits > 0 && a->letters > 0 && b->digits == 0 && b->length <= 4;
	return b->joint == '.' && a->digits + b->digits > 0 && a->letters + b->letters > 0;
}

/* Adds runs first to last as one code that spans their tokens, if it is likely to be one. */
static void
add_joined(TokenList *list, const char *s, const Run *runs, int first, int last)
{
	char		joined[4 * NORM_TOKEN_BYTES];
	char		one[NORM_TOKEN_BYTES];
	size_t		n = 0;
	size_t		digits = 0;
	int			span = last - first + 1 < SPAN_STEM ? last - first + 1 : SPAN_STEM - 1;
	int			i;

	for (i = first; i <= last; i++)
	{
		if (n + runs[i].length > NORM_TOKEN_BYTES || runs[i].point)
			return;
		memcpy(joined + n, s + runs[i].start, runs[i].length);
		n += runs[i].length;
		digits += runs[i].digits;
	}
	if (digits == 0 ? n > 16 : n < (runs[last].joint == '-' ? 3 : 4))
		return;
	/* 6-disc, blu-ray and ipad 2 are words. */
	if (digits == 0 || (digits < 3 && last - first == 1 && (runs[first].letters == 0 || runs[last].joint == ' ')))
	{
		Token	   *token = new_token(list, joined, n);

		if (token == NULL)
			return;
		token->kind = TOKEN_WORD;
		token->hash = text_hash(list->seed, one, word_singular(joined, n, one));
		token->span = (uint8_t) span;
	}
	else
		add_code(list, joined, n, span);
}

/* A short word before a number or code, as in "iwdc 6125": the two may be one code elsewhere. */
static bool
may_join_over_space(const Run *a, const Run *b)
{
	return a->digits == 0 && a->letters <= 5 && b->joint == ' ' && b->digits >= 2 && b->length <= 12 && !b->point;
}

/* Whether the token before the last plain one is a plain word, so that the two stand side by side. */
static bool
follows_word(const TokenList *list)
{
	int			last = list->n - 1;

	while (last > 0 && list->tokens[last].span != 1)
		last--;
	return last > 0 && list->tokens[last - 1].kind == TOKEN_WORD && list->tokens[last - 1].span == 1;
}

/* Makes the list empty.  The seed keeps others from choosing words whose hashes collide; lists that are compared have the same. */
void
tokens_clear(TokenList *list, uint64_t seed)
{
	list->seed = seed;
	list->n = 0;
	list->n_title = 0;
	list->text_used = 0;
	list->conditions = 0;
	list->colours = 0;
	list->pack = 1;
	list->after_for = false;
}

/* Whether run i ends a code that a hyphen joins (xj-10w) and so is no quantity; in "usb-8-port" it still is one. */
static bool
belongs_to_code(const Run *runs, int n, int i)
{
	if (i == 0 || runs[i - 1].letters == 0 || (runs[i].joint != '-' && runs[i].joint != '_'))
		return false;
	return runs[i].letters > 0 || i + 1 == n || runs[i + 1].joint != '-';
}

/* Whether what comes next names the thing that this one is for: case for iphone. */
static bool
says_for(const char *s, const Run *run)
{
	return (run->length == 3 && memcmp(s + run->start, "for", 3) == 0) || (run->length == 4 && memcmp(s + run->start, "fits", 4) == 0);
}

/* Adds the tokens of a text, as far as there is room. */
void
tokens_add(TokenList *list, const char *text, size_t length)
{
	char		folded[NORM_INPUT_BYTES + 8];
	size_t		n = text_fold(text, length, folded, sizeof(folded));
	Run			runs[MAX_RUNS];
	int			n_runs = find_runs(folded, n, runs);
	int			chain = 0;
	int			i = 0;

	list->after_for = false;
	while (i < n_runs)
	{
		int			taken;

		list->after_for = list->after_for && !runs[i].apart;
		taken = belongs_to_code(runs, n_runs, i) ? 0 : read_quantity(list, folded, runs, n_runs, i);

		if (taken > 0)
		{
			i += taken;
			chain = i;
			continue;
		}
		if (i > chain && !continues_code(&runs[i - 1], &runs[i]))
			chain = i;
		add_plain(list, folded, &runs[i]);
		if (says_for(folded, &runs[i]))
			list->after_for = true;
		if (i > chain && i - chain < LONGEST_CHAIN && (i + 1 == n_runs || !continues_code(&runs[i], &runs[i + 1])))
			add_joined(list, folded, runs, chain, i);
		else if (i > 0 && i == chain && list->n > 1 && may_join_over_space(&runs[i - 1], &runs[i]) &&
				 follows_word(list))
			add_joined(list, folded, runs, i - 1, i);
		i++;
	}
}

/*
 * Adds tokens of a description after those of the title; where few are wanted, codes and quantities first, then longer words.  What it
 * says of packs and conditions does not count, since it tells of other products too; its colours do where the title names none.
 */
void
tokens_add_description(TokenList *list, const char *text, size_t length, int most)
{
	uint32_t	conditions = list->conditions;
	uint32_t	colours = list->colours;
	float		pack = list->pack;
	Token		words[NORM_TOKENS];
	int			n_words = 0;
	int			kept = list->n_title = list->n;
	int			i;

	tokens_add(list, text, length);
	list->conditions = conditions;
	list->pack = pack;
	if (colours != 0)
		list->colours = colours;
	if (list->n - kept <= most)
		return;
	for (i = list->n_title; i < list->n; i++)
	{
		const Token *token = &list->tokens[i];

		if (token->span != 1)
			continue;
		if ((token->kind == TOKEN_CODE && token->length >= 5) || token->kind == TOKEN_QUANTITY)
		{
			if (kept < list->n_title + most)
				list->tokens[kept++] = *token;
		}
		else if (token->kind == TOKEN_WORD && token->length >= 4)
			words[n_words++] = *token;
	}
	for (i = 0; i < n_words && kept < list->n_title + most; i++)
		list->tokens[kept++] = words[i];
	list->n = kept;
}

/* Adds a part number as one token, unless it is in the list already.  Returns whether it has any letter or digit. */
bool
tokens_add_code(TokenList *list, const char *text, size_t length)
{
	char		squeezed[NORM_TOKEN_BYTES];
	size_t		n = text_squeeze(text, length, squeezed, sizeof(squeezed));
	uint64_t	hash;
	int			i;

	if (n == 0)
		return false;
	hash = text_hash(list->seed, squeezed, n);
	list->after_for = false;
	for (i = 0; i < list->n; i++)
		if (list->tokens[i].hash == hash)
		{
			list->tokens[i].after_for = false;
			return true;
		}
	add_code(list, squeezed, n, 1);
	return true;
}
