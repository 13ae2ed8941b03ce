/*
 * item.c
 *	  Reads the fields of an item into the form in which items are compared.
 */
#include "match/index.h"

#include <math.h>
#include <string.h>

/* Of a description, that are looked at beside the title, and that an index keeps. */
#define DESCRIPTION_BYTES 600
#define DESCRIPTION_TOKENS 20

static uint64_t
squeezed_hash(uint64_t seed, const MatchText *text)
{
	char		squeezed[NORM_INPUT_BYTES];
	size_t		n = text_squeeze(text->data, text->length, squeezed, sizeof(squeezed));

	return n == 0 ? 0 : text_hash(seed, squeezed, n);
}

/* Whether a squeezed part number is one that many makers may have. */
static bool
is_short_number(const char *text, size_t n)
{
	size_t		i;

	for (i = 0; i < n; i++)
		if (text[i] < '0' || text[i] > '9')
			return n < 4;
	return n < 7;
}

/* Adds the tokens of the brand that the title does not have, and sets the keys by which brands are compared. */
static void
prepare_brand(MatchItem *item, const MatchText *brand, const BrandAliases *aliases)
{
	TokenList	words;
	char		squeezed[NORM_TOKEN_BYTES];
	size_t		n = brand_squeeze(brand->data, brand->length, squeezed, sizeof(squeezed));
	int			i;
	int			j;

	if (n == 0)
		return;
	n = brand_resolve(aliases, squeezed, n);
	item->brand = (uint32_t) text_hash(item->tokens.seed, squeezed, n) | 1;
	tokens_clear(&words, item->tokens.seed);
	tokens_add(&words, brand->data, brand->length > NORM_TOKEN_BYTES ? NORM_TOKEN_BYTES : brand->length);
	for (i = 0; i < words.n; i++)
	{
		if (words.tokens[i].span > 1)
			continue;
		if (item->brand_head == 0 && words.tokens[i].length > 1)
			item->brand_head = (uint32_t) words.tokens[i].hash | 1;
		for (j = 0; j < item->tokens.n; j++)
			if (item->tokens.tokens[j].hash == words.tokens[i].hash)
				break;
		if (j == item->tokens.n && words.tokens[i].kind == TOKEN_WORD)
			tokens_add(&item->tokens, words.text + words.tokens[i].start, words.tokens[i].length);
	}
}

/*
 * Makes an item ready.  Without a title its description serves as one; beside one an existing item's gives its most telling tokens only,
 * which keeps the index small.  Fields that cannot be used (a price that is no positive number, a GTIN that is none) count as missing.
 * aliases may be NULL.
 */
void
item_prepare(MatchItem *item, const MatchFields *fields, uint64_t seed, const BrandAliases *aliases, bool existing)
{
	bool		has_title = fields->title.data != NULL && fields->title.length > 0;

	item->gtin = item->sku = item->mpn = 0;
	item->guess.low = item->guess.high = 0;
	item->mpn_stem = item->brand = item->brand_head = 0;
	item->mpn_short = false;
	item->n_begun = 0;
	tokens_clear(&item->tokens, seed);
	if (has_title)
		tokens_add(&item->tokens, fields->title.data, fields->title.length);
	else if (fields->description.data != NULL)
		tokens_add(&item->tokens, fields->description.data, fields->description.length);
	if (fields->brand.data != NULL)
		prepare_brand(item, &fields->brand, aliases);
	if (fields->mpn.data != NULL)
	{
		char		squeezed[NORM_INPUT_BYTES];
		size_t		n = text_squeeze(fields->mpn.data, fields->mpn.length, squeezed, sizeof(squeezed));

		if (n > 0)
		{
			item->mpn = text_hash(seed, squeezed, n);
			item->mpn_stem = code_stem(seed, squeezed, n);
			item->mpn_short = is_short_number(squeezed, n);
			tokens_add_code(&item->tokens, fields->mpn.data, fields->mpn.length);
		}
	}
	item->tokens.n_title = item->tokens.n;
	if (has_title && fields->description.data != NULL)
		tokens_add_description(&item->tokens, fields->description.data,
							   fields->description.length > DESCRIPTION_BYTES ? DESCRIPTION_BYTES : fields->description.length,
							   existing ? DESCRIPTION_TOKENS : NORM_TOKENS);
	if (fields->gtin.data != NULL && !gtin_parse(fields->gtin.data, fields->gtin.length, &item->gtin) &&
		!gtin_guess(fields->gtin.data, fields->gtin.length, &item->guess))
		item->guess.low = item->guess.high = 0;
	if (fields->sku.data != NULL)
		item->sku = squeezed_hash(seed, &fields->sku);
	item->price = isfinite(fields->price) && fields->price > 0 && fields->price < 1e12 ? (float) fields->price : 0;
}
