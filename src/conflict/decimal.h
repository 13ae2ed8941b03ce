/*
 * decimal.h
 *	  Exact decimal numbers for prices and quantities: no floating point, so that 5 % is 5 %.  Plain C.
 *
 * A number is kept as an integer number of billionths in 128 bits.  What does not fit (more than 15 digits before the point, more than 9
 * behind it) is no price and no quantity; decimal_parse() refuses it.  So a product of a value and a percentage, 10^24 * 10^13, fits.
 */
#ifndef CONFLICT_DECIMAL_H
#define CONFLICT_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>

#define DECIMAL_SCALE	9		/* digits kept behind the point */
#define DECIMAL_WHOLE	15		/* most digits before it */
#define DECIMAL_TEXT	32		/* bytes that decimal_format() writes at most, with the NUL */

/* Aligned as memory is allocated, not as 128 bits would be on their own. */
typedef __int128 Decimal __attribute__((aligned(8)));

/* A whole number as a Decimal. */
#define DECIMAL(n)		((Decimal) (n) * 1000000000)
#define DECIMAL_ONE		DECIMAL(1)

static inline Decimal
decimal_abs(Decimal value)
{
	return value < 0 ? -value : value;
}

static inline Decimal
decimal_min(Decimal a, Decimal b)
{
	return a < b ? a : b;
}

extern bool decimal_parse(const char *text, size_t length, Decimal *value);
extern const char *decimal_format(Decimal value, char *out);
extern Decimal decimal_round(Decimal value, int digits);
extern Decimal decimal_floor(Decimal value);

#endif
