/*
 * brand.h
 *	  Names of brands, of which one brand may have several.
 */
#ifndef MATCH_BRAND_H
#define MATCH_BRAND_H

#include "match/normalise.h"

#define BRAND_MAX_ALIASES 10000

/* Another name of a brand, both squeezed. */
typedef struct BrandPair
{
	uint8_t		alias_length;
	uint8_t		brand_length;
	char		alias[NORM_TOKEN_BYTES];	/* zeros after the name */
	char		brand[NORM_TOKEN_BYTES];
} BrandPair;

/* An entry of the hash table of aliases; length is 0 where it is empty. */
typedef struct BrandAlias
{
	uint64_t	hash;			/* of the squeezed alias */
	char		brand[NORM_TOKEN_BYTES];
	uint8_t		length;			/* of brand */
	uint8_t		unused[7];
} BrandAlias;

typedef struct BrandAliases
{
	const BrandAlias *slots;
	uint32_t	mask;			/* size of the hash table less 1 */
} BrandAliases;

/* A name as it is shipped. */
typedef struct BrandName
{
	const char *alias;
	const char *brand;
} BrandName;

extern const BrandName brand_shipped[];
extern const int brand_n_shipped;

extern bool brand_pair(BrandPair *pair, const char *alias, size_t alias_length, const char *brand, size_t brand_length);
extern bool brand_aliases_build(BrandAliases *aliases, BrandPair *pairs, size_t n);
extern bool brand_aliases_build_shipped(BrandAliases *aliases);
extern uint64_t brand_aliases_hash(const BrandAliases *aliases);
extern void brand_aliases_free(BrandAliases *aliases);
extern size_t brand_resolve(const BrandAliases *aliases, char *squeezed, size_t length);

#endif
