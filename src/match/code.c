/*
 * code.c
 *	  Model and part numbers: what of them stays the same between suppliers.
 *
 * A code is compared as a whole, by its stem (without an ending of letters, which colours and regions differ in), and without letters
 * before it, which many suppliers put there for the brand.
 */
#include "match/tokens.h"

#include <string.h>

/* Names of colours and finishes; several names of one colour stand for the same bit. */
typedef struct ColourName
{
	const char *name;
	uint8_t		length;
	uint8_t		bit;
} ColourName;

#define TEXT(s) s, sizeof(s) - 1

static const ColourName colour_names[] = {
	{TEXT("black"), 0}, {TEXT("bk"), 0}, {TEXT("blk"), 0}, {TEXT("white"), 1}, {TEXT("wh"), 1}, {TEXT("wht"), 1},
	{TEXT("whi"), 1}, {TEXT("silver"), 2}, {TEXT("slv"), 2}, {TEXT("slvr"), 2}, {TEXT("gray"), 3}, {TEXT("grey"), 3},
	{TEXT("gry"), 3}, {TEXT("red"), 4}, {TEXT("rd"), 4}, {TEXT("blue"), 5}, {TEXT("blu"), 5}, {TEXT("green"), 6},
	{TEXT("grn"), 6}, {TEXT("pink"), 7}, {TEXT("pnk"), 7}, {TEXT("yellow"), 8}, {TEXT("ylw"), 8}, {TEXT("orange"), 9},
	{TEXT("purple"), 10}, {TEXT("brown"), 11}, {TEXT("brn"), 11}, {TEXT("gold"), 12}, {TEXT("titanium"), 13},
	{TEXT("cyan"), 14}, {TEXT("magenta"), 15}, {TEXT("clear"), 16}, {TEXT("clr"), 16}, {TEXT("stainless"), 17},
	{TEXT("ss"), 17}, {TEXT("beige"), 18}, {TEXT("ivory"), 19}, {TEXT("bronze"), 20}, {TEXT("chrome"), 21},
	{TEXT("cherry"), 22}, {TEXT("walnut"), 23}, {TEXT("oak"), 24}, {TEXT("maple"), 25}, {TEXT("mahogany"), 26},
};

/* Notes the colour that a word or the ending of a code names.  Short forms are believed at the end of a code only: blu-ray. */
void
note_colour(TokenList *list, const char *text, size_t length, bool ending)
{
	size_t		i;

	if (!ending && (length < 3 || (length == 3 && memcmp(text, "blu", 3) == 0) || (length == 3 && memcmp(text, "clr", 3) == 0)))
		return;
	for (i = 0; i < sizeof(colour_names) / sizeof(colour_names[0]); i++)
		if (colour_names[i].length == length && memcmp(colour_names[i].name, text, length) == 0)
			list->colours |= 1u << colour_names[i].bit;
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
void
token_add_code_part(TokenList *list, const char *text, size_t length)
{
	Token	   *token = token_new(list, text, length);

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
void
token_add_code(TokenList *list, const char *text, size_t length, int span)
{
	Token	   *token = token_new(list, text, length);
	size_t		stem = stem_length(text, length);
	size_t		prefix;

	if (token == NULL)
		return;
	code_describe(list->seed, text, length, token);
	token->span = (uint8_t) span;
	if (stem < length)
	{
		note_colour(list, text + stem, length - stem, true);
		token_add_code_part(list, text, stem);
	}
	prefix = foreign_prefix(text, length);
	if (prefix > 0)
		token_add_code_part(list, text + prefix, length - prefix);
}
