/*
 * normalise.h
 *	  Product text as tokens that compare: folded case and accents, joined codes, quantities with one unit.
 *
 * Plain C.  All sizes are bounded, so that hostile text costs no more than long text.
 */
#ifndef MATCH_NORMALISE_H
#define MATCH_NORMALISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NORM_INPUT_BYTES 1024	/* of a field; what comes after is not looked at */
#define NORM_TOKENS 64			/* of an item */
#define NORM_TOKEN_BYTES 32		/* of a token's text; the hash covers all of it */
#define NORM_TEXT_BYTES (NORM_TOKENS * NORM_TOKEN_BYTES)

typedef enum TokenKind
{
	TOKEN_WORD,					/* letters only */
	TOKEN_NUMBER,				/* digits, perhaps a decimal point */
	TOKEN_CODE,					/* letters and digits, or digits long enough to be a model number */
	TOKEN_QUANTITY				/* a number and its unit */
} TokenKind;

typedef enum TokenUnit
{
	UNIT_NONE, UNIT_PACK, UNIT_BYTE, UNIT_METRE, UNIT_HERTZ, UNIT_WATT, UNIT_VOLT, UNIT_AMPERE_HOUR, UNIT_GRAM, UNIT_LITRE,
	UNIT_PIXEL, UNIT_TIMES, UNIT_PORT, UNIT_CHANNEL, UNIT_PAGE, UNIT_PER_MINUTE, UNIT_BIT, UNIT_DPI, UNIT_HOUR, UNIT_BTU, UNIT_CUBIC,
	UNIT_AMPERE, UNIT_SIZE
} TokenUnit;

/*
 * Span of a token that is no part of the text: a code without its ending of letters, by which its variants are found, or without three
 * letters before it, which many suppliers put there for the brand.
 */
#define SPAN_STEM 4

#define CODE_DIGITS 1

/* What an item says of its condition: two items that differ here are not the same thing to sell. */
#define CONDITION_COMPATIBLE	0x01
#define CONDITION_REMADE		0x02
#define CONDITION_REFURBISHED	0x04
#define CONDITION_BUNDLE		0x08

typedef struct Token
{
	uint64_t	hash;
	uint32_t	stem;			/* of a code: hash without its ending of letters, what colours and regions differ in; 0 if none */
	float		value;			/* of a quantity, in its base unit; of a number */
	uint16_t	suffix;			/* of a code: the letters after its stem; see code_suffix() */
	uint8_t		kind;
	uint8_t		unit;			/* of a code: CODE_DIGITS where it has no letter */
	uint8_t		span;			/* 1; how many of the plain tokens before it this one joins: dsc w150 dscw150; or SPAN_STEM */
	uint8_t		length;			/* bytes of text */
	bool		after_for;		/* what stands before it is for something of this name */
	uint16_t	start;			/* of its text in TokenList.text */
} Token;

typedef struct TokenList
{
	uint64_t	seed;			/* of the hashes */
	int			n;
	int			n_title;		/* the others are of the description */
	int			text_used;
	bool		after_for;		/* of the tokens that come next */
	uint32_t	conditions;
	uint32_t	colours;		/* one bit each */
	float		pack;			/* how many pieces are sold together, 1 if it does not say */
	Token		tokens[NORM_TOKENS];
	char		text[NORM_TEXT_BYTES];
} TokenList;

extern void tokens_clear(TokenList *list, uint64_t seed);
extern void tokens_add(TokenList *list, const char *text, size_t length);
extern void tokens_add_description(TokenList *list, const char *text, size_t length, int most);
extern bool tokens_add_code(TokenList *list, const char *text, size_t length);
extern size_t text_fold(const char *text, size_t length, char *folded, size_t room);
extern size_t text_squeeze(const char *text, size_t length, char *squeezed, size_t room);
extern size_t brand_squeeze(const char *text, size_t length, char *squeezed, size_t room);
extern size_t word_singular(const char *text, size_t length, char one[NORM_TOKEN_BYTES]);
extern uint32_t code_stem(uint64_t seed, const char *text, size_t length);
extern void code_describe(uint64_t seed, const char *text, size_t length, Token *token);
extern bool suffixes_agree(uint16_t a, uint16_t b);
extern uint64_t text_hash(uint64_t seed, const char *text, size_t length);

#endif
