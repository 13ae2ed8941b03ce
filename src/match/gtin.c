/*
 * gtin.c
 *	  Reads trade item numbers as shops and suppliers write them.
 *
 * The rules are those of the GS1 General Specifications: section 2.1 (the number's forms and its indicator digit), 1.4.2 (prefixes that
 * are only valid within a company or a region), 5.2.2.4.2 (UPC-E) and 7.9 (check digit).  All forms are padded with zeros to fourteen
 * digits, so that one item has one number.  The indicator digit 1 to 8 of a GTIN-14 names a case of the item, which is another thing
 * to sell; it is kept.
 */
#include "match/gtin.h"

#include <string.h>

/* Longest text that is looked at: fourteen digits with a separator after each, and some room. */
#define MAX_TEXT 64

/* Copies the digits of a code that has only digits, spaces and hyphens.  Returns their number, or 0 where there is anything else. */
static int
collect_digits(const char *text, size_t length, char digits[GTIN_DIGITS + 1])
{
	int			n = 0;
	size_t		i;

	if (length > MAX_TEXT)
		return 0;
	for (i = 0; i < length; i++)
	{
		char		c = text[i];

		if (c == ' ' || c == '-' || c == '\t' || c == '\r' || c == '\n')
			continue;
		if (c < '0' || c > '9' || n == GTIN_DIGITS)
			return 0;
		digits[n++] = c;
	}
	digits[n] = '\0';
	return n;
}

/* The number that n digits spell. */
static uint64_t
digits_value(const char *digits, int n)
{
	uint64_t	value = 0;
	int			i;

	for (i = 0; i < n; i++)
		value = value * 10 + (uint64_t) (digits[i] - '0');
	return value;
}

/* Whether the last digit is the check digit of the others: from the right, weights 3 and 1 in turn, sum a multiple of 10. */
static bool
check_digit_fits(uint64_t value)
{
	unsigned	sum = 0;
	unsigned	weight = 1;

	for (; value > 0; value /= 10)
	{
		sum += (unsigned) (value % 10) * weight;
		weight = 4 - weight;
	}
	return sum % 10 == 0;
}

static bool
all_equal(const char *digits, int n)
{
	int			i;

	for (i = 1; i < n; i++)
		if (digits[i] != digits[0])
			return false;
	return true;
}

/*
 * Whether the number is one that anybody may give to anything within a company or region (GS1 prefixes 02, 04 and 20 to 29), or is a
 * coupon or refund (980 to 984, 99): it says nothing about what the item is.  Numbers below 10^8 are GTIN-8, where a first digit of 0
 * or 2 means the same.
 */
static bool
restricted(uint64_t gtin)
{
	uint64_t	thirteen = gtin % UINT64_C(10000000000000);
	unsigned	prefix = (unsigned) (thirteen / UINT64_C(10000000000));

	/* Digits in order are what people type where a number is asked for: 012345678905, 1234567890128, 12345670. */
	if (gtin == UINT64_C(12345678905) || gtin == UINT64_C(1234567890128) || gtin == 12345670 || gtin == UINT64_C(123456789012) ||
		gtin == UINT64_C(12345678901231))
		return true;
	if (gtin < UINT64_C(100000000))
		return gtin / 10000000 == 0 || gtin / 10000000 == 2;
	return prefix / 10 == 2 || prefix / 10 == 4 || prefix / 100 == 2 || prefix / 10 == 99 || (prefix >= 980 && prefix <= 984);
}

/* UPC-E (number system, six digits, check digit) as the UPC-A that it abbreviates. */
static uint64_t
expand_upc_e(const char digits[8])
{
	char		upc[12];
	const char *d = digits + 1;

	memset(upc, '0', sizeof(upc));
	upc[0] = digits[0];
	upc[11] = digits[7];
	upc[1] = d[0];
	upc[2] = d[1];
	switch (d[5])
	{
		case '0':
		case '1':
		case '2':
			upc[3] = d[5];
			memcpy(upc + 8, d + 2, 3);
			break;
		case '3':
			upc[3] = d[2];
			memcpy(upc + 9, d + 3, 2);
			break;
		case '4':
			memcpy(upc + 3, d + 2, 2);
			upc[10] = d[4];
			break;
		default:
			memcpy(upc + 3, d + 2, 3);
			upc[10] = d[5];
	}
	return digits_value(upc, 12);
}

/*
 * Reads a code of eight digits.  EAN-8 never starts with 0, UPC-E only with 0 or 1; where both readings have a right check digit it is
 * an EAN-8, as number system 1 is hardly used.  Returns 0 where neither fits.
 */
static uint64_t
parse_eight(const char *digits)
{
	uint64_t	value = digits_value(digits, 8);

	if (digits[0] != '0' && check_digit_fits(value))
		return value;
	if (digits[0] == '0' || digits[0] == '1')
	{
		value = expand_upc_e(digits);
		if (check_digit_fits(value))
			return value;
	}
	return 0;
}

/*
 * Reads a UPC-A, UPC-E, EAN-8, EAN-13 or GTIN-14; spaces and hyphens do not matter.  Returns false, and sets *gtin to 0, where the
 * text is none: other characters or lengths, a wrong check digit, one digit repeated, or a prefix for restricted circulation.
 */
bool
gtin_parse(const char *text, size_t length, uint64_t *gtin)
{
	char		digits[GTIN_DIGITS + 1];
	int			n = collect_digits(text, length, digits);
	uint64_t	value;

	*gtin = 0;
	if (n != 8 && n != 12 && n != 13 && n != 14)
		return false;
	if (all_equal(digits, n))
		return false;
	value = n == 8 ? parse_eight(digits) : digits_value(digits, n);
	if (value == 0 || !check_digit_fits(value) || restricted(value))
		return false;
	*gtin = value;
	return true;
}

/* Reads what a spreadsheet made of a long number: 1.23457E+12.  Needs four digits, or too many numbers would fit. */
static bool
guess_scientific(const char *text, size_t length, GtinGuess *guess)
{
	size_t		i = 0;
	int			mantissa_digits = 0;
	uint64_t	mantissa = 0;
	int			exponent = 0;
	uint64_t	scale = 1;
	int			shift;

	for (; i < length && ((text[i] >= '0' && text[i] <= '9') || (i == 1 && text[i] == '.')); i++)
	{
		if (text[i] == '.')
			continue;
		if (++mantissa_digits > GTIN_DIGITS)
			return false;
		mantissa = mantissa * 10 + (uint64_t) (text[i] - '0');
	}
	if (mantissa_digits < 4 || text[0] == '0' || text[1] != '.' || i == length || (text[i] != 'e' && text[i] != 'E'))
		return false;
	if (++i < length && text[i] == '+')
		i++;
	if (i == length || length - i > 2)
		return false;
	for (; i < length; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return false;
		exponent = exponent * 10 + (text[i] - '0');
	}
	shift = exponent - (mantissa_digits - 1);
	if (exponent < 7 || exponent >= GTIN_DIGITS || shift < 0)
		return false;
	while (shift-- > 0)
		scale *= 10;
	guess->low = mantissa * scale - scale / 2;
	guess->high = mantissa * scale + scale / 2;
	return true;
}

/*
 * Says which numbers a code may have been before a spreadsheet damaged it: leading zeros lost, ".0" added, or rounded to a power of
 * ten.  Weak evidence only.  Returns false where the text is a sound GTIN or cannot be explained so.
 */
bool
gtin_guess(const char *text, size_t length, GtinGuess *guess)
{
	char		digits[GTIN_DIGITS + 1];
	uint64_t	value;
	int			n;

	while (length > 0 && text[0] == ' ')
		text++, length--;
	while (length > 0 && text[length - 1] == ' ')
		length--;
	if (length == 0 || length > MAX_TEXT || gtin_parse(text, length, &value))
		return false;
	if (guess_scientific(text, length, guess))
		return true;
	if (length > 2 && memcmp(text + length - 2, ".0", 2) == 0)
		length -= 2;
	n = collect_digits(text, length, digits);
	if (n < 7 || all_equal(digits, n))
		return false;
	value = digits_value(digits, n);
	if (!check_digit_fits(value) || restricted(value))
		return false;
	guess->low = guess->high = value;
	return true;
}

/* Writes the fourteen digits of a GTIN and a closing NUL. */
void
gtin_format(uint64_t gtin, char digits[GTIN_DIGITS + 1])
{
	int			i;

	for (i = GTIN_DIGITS - 1; i >= 0; i--, gtin /= 10)
		digits[i] = (char) ('0' + gtin % 10);
	digits[GTIN_DIGITS] = '\0';
}
