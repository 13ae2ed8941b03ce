/*
 * brand.c
 *	  One name for a brand that is written in several ways.
 *
 * Names are squeezed and lose the endings of companies; the aliases that are data are then looked up in a hash table, in which chains of
 * aliases are resolved already.
 */
#include "match/brand.h"

#include <stdlib.h>
#include <string.h>

/* Endings of company names that say nothing. */
static const char *const company_endings[] = {"corporation", "technologies", "electronics", "company", "limited", "products",
	"gmbh", "corp", "inc", "llc", "ltd", "co", "ag", "usa"};

const BrandName brand_shipped[] = {
#define ALIAS(alias, brand) {alias, brand},
#include "match/brand_alias.def"
#undef ALIAS
};
const int	brand_n_shipped = (int) (sizeof(brand_shipped) / sizeof(brand_shipped[0]));

/*
 * Squeezes a brand's name, without the endings of a company.  There must be room for NORM_TOKEN_BYTES.  Returns the bytes written.
 */
size_t
brand_squeeze(const char *text, size_t length, char *squeezed, size_t room)
{
	size_t		n = text_squeeze(text, length, squeezed, room);
	size_t		before;
	size_t		i;

	do
	{
		before = n;
		for (i = 0; i < sizeof(company_endings) / sizeof(company_endings[0]); i++)
		{
			size_t		k = strlen(company_endings[i]);

			if (n > k + 2 && memcmp(squeezed + n - k, company_endings[i], k) == 0)
				n -= k;
		}
	} while (n < before);
	return n;
}

/* Squeezes an alias and its brand.  Returns false where either has no letter or digit. */
bool
brand_pair(BrandPair *pair, const char *alias, size_t alias_length, const char *brand, size_t brand_length)
{
	memset(pair, 0, sizeof(BrandPair));
	pair->alias_length = (uint8_t) brand_squeeze(alias, alias_length, pair->alias, sizeof(pair->alias));
	pair->brand_length = (uint8_t) brand_squeeze(brand, brand_length, pair->brand, sizeof(pair->brand));
	memset(pair->alias + pair->alias_length, 0, sizeof(pair->alias) - pair->alias_length);
	memset(pair->brand + pair->brand_length, 0, sizeof(pair->brand) - pair->brand_length);
	return pair->alias_length > 0 && pair->brand_length > 0;
}

static int
compare_pairs(const void *a, const void *b)
{
	return memcmp(((const BrandPair *) a)->alias, ((const BrandPair *) b)->alias, 2 * NORM_TOKEN_BYTES);
}

/* The place of a name in the sorted pairs, or SIZE_MAX where it is no alias. */
static size_t
find_pair(const BrandPair *pairs, size_t n, const char *name)
{
	size_t		low = 0;
	size_t		high = n;

	while (low < high)
	{
		size_t		middle = low + (high - low) / 2;
		int			order = memcmp(pairs[middle].alias, name, NORM_TOKEN_BYTES);

		if (order == 0)
			return middle;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return SIZE_MAX;
}

/*
 * Lets each alias name its brand at once.  Aliases that name each other in a circle all mean the one that sorts first; so an alias of
 * itself is none.  visit has n zeros: the walk in which an alias was met, SIZE_MAX once it is resolved.
 */
static void
resolve_chains(BrandPair *pairs, size_t n, size_t *visit, size_t *path)
{
	size_t		start;

	for (start = 0; start < n; start++)
	{
		size_t		length = 0;
		size_t		at = start;
		const BrandPair *end;
		char		name[NORM_TOKEN_BYTES];
		uint8_t		name_length;

		while (at != SIZE_MAX && visit[at] == 0)
		{
			visit[at] = start + 1;
			path[length++] = at;
			at = find_pair(pairs, n, pairs[at].brand);
		}
		if (length == 0)
			continue;
		end = &pairs[path[length - 1]];
		memcpy(name, at == SIZE_MAX || visit[at] != SIZE_MAX ? end->brand : pairs[at].brand, NORM_TOKEN_BYTES);
		name_length = at == SIZE_MAX || visit[at] != SIZE_MAX ? end->brand_length : pairs[at].brand_length;
		if (at != SIZE_MAX && visit[at] != SIZE_MAX)
		{
			size_t		k = length;

			do
			{
				if (memcmp(pairs[path[--k]].alias, name, NORM_TOKEN_BYTES) < 0)
				{
					memcpy(name, pairs[path[k]].alias, NORM_TOKEN_BYTES);
					name_length = pairs[path[k]].alias_length;
				}
			} while (path[k] != at);
		}
		while (length-- > 0)
		{
			memcpy(pairs[path[length]].brand, name, NORM_TOKEN_BYTES);
			pairs[path[length]].brand_length = name_length;
			visit[path[length]] = SIZE_MAX;
		}
	}
}

/* Takes out of the sorted pairs those with an alias that stands before.  Returns how many stay. */
static size_t
drop_repeated(BrandPair *pairs, size_t n)
{
	size_t		used = 0;
	size_t		i;

	for (i = 0; i < n; i++)
		if (used == 0 || memcmp(pairs[used - 1].alias, pairs[i].alias, NORM_TOKEN_BYTES) != 0)
			pairs[used++] = pairs[i];
	return used;
}

/* Makes the hash table of resolved pairs. */
static bool
fill_slots(BrandAliases *aliases, const BrandPair *pairs, size_t n)
{
	size_t		size = 1;
	BrandAlias *slots;
	size_t		i;

	while (size < 2 * n)
		size *= 2;
	slots = calloc(size, sizeof(BrandAlias));
	if (slots == NULL)
		return false;
	for (i = 0; i < n; i++)
	{
		uint64_t	hash = text_hash(0, pairs[i].alias, pairs[i].alias_length);
		size_t		slot = hash & (size - 1);

		if (memcmp(pairs[i].alias, pairs[i].brand, NORM_TOKEN_BYTES) == 0)
			continue;
		while (slots[slot].length != 0)
			slot = (slot + 1) & (size - 1);
		slots[slot].hash = hash;
		slots[slot].length = pairs[i].brand_length;
		memcpy(slots[slot].brand, pairs[i].brand, NORM_TOKEN_BYTES);
	}
	aliases->slots = slots;
	aliases->mask = (uint32_t) (size - 1);
	return true;
}

/*
 * Makes the table of at most BRAND_MAX_ALIASES pairs, which it puts into another order: the same set of pairs gives the same table.
 * Returns false when memory is out.
 */
bool
brand_aliases_build(BrandAliases *aliases, BrandPair *pairs, size_t n)
{
	size_t	   *visit = calloc(2 * n + 1, sizeof(size_t));
	bool		ok;

	memset(aliases, 0, sizeof(BrandAliases));
	if (visit == NULL)
		return false;
	if (n > 0)
	{
		qsort(pairs, n, sizeof(BrandPair), compare_pairs);
		n = drop_repeated(pairs, n);
		resolve_chains(pairs, n, visit, visit + n);
	}
	ok = fill_slots(aliases, pairs, n);
	free(visit);
	return ok;
}

/* The table of what is shipped, for where nobody has installed the tables. */
bool
brand_aliases_build_shipped(BrandAliases *aliases)
{
	BrandPair	pairs[sizeof(brand_shipped) / sizeof(brand_shipped[0])];
	size_t		n = 0;
	int			i;

	for (i = 0; i < brand_n_shipped; i++)
	{
		const BrandName *name = &brand_shipped[i];

		n += brand_pair(&pairs[n], name->alias, strlen(name->alias), name->brand, strlen(name->brand));
	}
	return brand_aliases_build(aliases, pairs, n);
}

/* A number that differs where the aliases do. */
uint64_t
brand_aliases_hash(const BrandAliases *aliases)
{
	return text_hash(0, (const char *) aliases->slots, ((size_t) aliases->mask + 1) * sizeof(BrandAlias));
}

void
brand_aliases_free(BrandAliases *aliases)
{
	free((void *) aliases->slots);
	memset(aliases, 0, sizeof(BrandAliases));
}

/* Puts the brand's own name in the place of a squeezed alias; there is room for NORM_TOKEN_BYTES.  Returns its length. */
size_t
brand_resolve(const BrandAliases *aliases, char *squeezed, size_t length)
{
	uint64_t	hash;
	uint32_t	slot;
	uint32_t	probes;

	if (aliases == NULL || aliases->slots == NULL || length == 0)
		return length;
	hash = text_hash(0, squeezed, length);
	slot = (uint32_t) hash & aliases->mask;
	for (probes = 0; probes <= aliases->mask && aliases->slots[slot].length != 0; probes++)
	{
		const BrandAlias *alias = &aliases->slots[slot];

		if (alias->hash == hash && alias->length <= NORM_TOKEN_BYTES)
		{
			memcpy(squeezed, alias->brand, alias->length);
			return alias->length;
		}
		slot = (slot + 1) & aliases->mask;
	}
	return length;
}
