/*
 * price.c
 *	  Reads prices.
 */
#include "match/index.h"

#include <stdlib.h>

/* A price as people write it: currency signs, spaces and thousands' commas do not matter.  0 where it is no number. */
double
match_read_price(MatchText text)
{
	char		number[32];
	int			n = 0;
	size_t		i;
	char	   *end;
	double		value;

	for (i = 0; i < text.length && n < (int) sizeof(number) - 1; i++)
		if ((text.data[i] >= '0' && text.data[i] <= '9') || text.data[i] == '.')
			number[n++] = text.data[i];
		else if (n > 0 && text.data[i] != ',')
			break;
	number[n] = '\0';
	value = strtod(number, &end);
	return n == 0 || *end != '\0' ? 0 : value;
}
