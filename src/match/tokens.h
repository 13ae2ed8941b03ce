/*
 * tokens.h
 *	  Between the files that make tokens of product text: normalise.c, code.c and quantity.c.
 */
#ifndef MATCH_TOKENS_H
#define MATCH_TOKENS_H

#include "match/normalise.h"

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

/* normalise.c */
extern Token *token_new(TokenList *list, const char *text, size_t length);

/* code.c */
extern void token_add_code(TokenList *list, const char *text, size_t length, int span);
extern void token_add_code_part(TokenList *list, const char *text, size_t length);
extern void note_colour(TokenList *list, const char *text, size_t length, bool ending);

/* quantity.c */
extern float read_number(const char *s, size_t n, size_t *taken);
extern int	read_quantity(TokenList *list, const char *s, const Run *runs, int n, int i);
extern uint8_t word_condition(const char *s, size_t n);

static inline bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (unsigned char) c >= 0x80;
}

#endif
