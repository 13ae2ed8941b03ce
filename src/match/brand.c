/*
 * brand.c
 *	  One name for a brand that is written in several ways.
 */
#include "match/normalise.h"

#include <string.h>

/* Endings of company names that say nothing. */
static const char *const company_endings[] = {"corporation", "technologies", "electronics", "company", "limited", "products",
	"gmbh", "corp", "inc", "llc", "ltd", "co", "ag", "usa"};

/* Names that are written in two ways. */
static const char *const brand_aliases[][2] = {
	{"hewlettpackard", "hp"}, {"westerndigital", "wd"}, {"generalelectric", "ge"}, {"blackdecker", "blackanddecker"},
	{"minnesotaminingmanufacturing", "3m"}, {"texasinstruments", "ti"}, {"lgelectronics", "lg"}, {"konicaminolta", "konica"},
	{"internationalbusinessmachines", "ibm"},
};

/*
 * Squeezes a brand's name, without the endings of a company and with its usual short form.  There must be room for NORM_TOKEN_BYTES.
 * Returns the bytes written.
 */
size_t
brand_squeeze(const char *text, size_t length, char *squeezed, size_t room)
{
	size_t		n = text_squeeze(text, length, squeezed, room);
	size_t		i;

	for (i = 0; i < sizeof(company_endings) / sizeof(company_endings[0]); i++)
	{
		size_t		k = strlen(company_endings[i]);

		if (n > k + 2 && memcmp(squeezed + n - k, company_endings[i], k) == 0)
		{
			n -= k;
			break;
		}
	}
	for (i = 0; i < sizeof(brand_aliases) / sizeof(brand_aliases[0]); i++)
		if (strlen(brand_aliases[i][0]) == n && memcmp(brand_aliases[i][0], squeezed, n) == 0)
		{
			n = strlen(brand_aliases[i][1]);
			memcpy(squeezed, brand_aliases[i][1], n);
			break;
		}
	return n;
}
