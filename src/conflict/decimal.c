/*
 * decimal.c
 *	  Exact decimal numbers: reading, writing, rounding.  See decimal.h for what fits.
 */
#include "conflict/decimal.h"

/* 10^n, for n from 0 to DECIMAL_SCALE. */
static Decimal
power_of_ten(int n)
{
	Decimal		power = 1;

	while (n-- > 0)
		power *= 10;
	return power;
}

/* Reads [-]digits[.digits].  False for anything else, and for what does not fit; zeros at either end do not count. */
bool
decimal_parse(const char *text, size_t length, Decimal *value)
{
	const char *end = text + length;
	const char *at = text;
	bool		negative = at < end && *at == '-';
	bool		digits = false;
	int			whole = 0;
	int			fraction = 0;
	Decimal		sum = 0;

	if (negative)
		at++;
	for (; at < end && *at >= '0' && *at <= '9'; at++)
	{
		digits = true;
		if (sum == 0 && *at == '0')
			continue;
		if (++whole > DECIMAL_WHOLE)
			return false;
		sum = sum * 10 + (*at - '0');
	}
	if (at < end && *at == '.')
	{
		if (!digits || ++at == end)
			return false;
		while (end > at && end[-1] == '0')
			end--;
		for (; at < end && *at >= '0' && *at <= '9'; at++)
		{
			if (++fraction > DECIMAL_SCALE)
				return false;
			sum = sum * 10 + (*at - '0');
		}
	}
	if (!digits || at < end)
		return false;
	sum *= power_of_ten(DECIMAL_SCALE - fraction);
	*value = negative ? -sum : sum;
	return true;
}

/* Writes a number without needless zeros into out, of DECIMAL_TEXT bytes; returns out.  Larger numbers than are read are cut to "...". */
const char *
decimal_format(Decimal value, char *out)
{
	char		reversed[DECIMAL_TEXT];
	Decimal		rest = decimal_abs(value);
	int			n = 0;
	int			length = 0;
	bool		seen = false;

	for (int digit = 0; digit < DECIMAL_SCALE; digit++, rest /= 10)
	{
		seen |= rest % 10 != 0;
		if (seen)
			reversed[n++] = (char) ('0' + (int) (rest % 10));
	}
	if (seen)
		reversed[n++] = '.';
	do
	{
		reversed[n++] = (char) ('0' + (int) (rest % 10));
		rest /= 10;
	} while (rest > 0 && n < DECIMAL_TEXT - 2);
	if (rest > 0)
		n = 0;
	if (value < 0 && n > 0)
		out[length++] = '-';
	while (n > 0)
		out[length++] = reversed[--n];
	if (rest > 0)
		while (length < 3)
			out[length++] = '.';
	out[length] = '\0';
	return out;
}

/* Rounded to so many digits behind the point, halves away from zero, as numeric does. */
Decimal
decimal_round(Decimal value, int digits)
{
	Decimal		unit = power_of_ten(digits < DECIMAL_SCALE ? DECIMAL_SCALE - digits : 0);
	Decimal		half = value < 0 ? -(unit / 2) : unit / 2;

	return (value + half) / unit * unit;
}

/* The largest whole number that is not above it. */
Decimal
decimal_floor(Decimal value)
{
	Decimal		rest = value % DECIMAL_ONE;

	if (rest < 0)
		rest += DECIMAL_ONE;
	return value - rest;
}
