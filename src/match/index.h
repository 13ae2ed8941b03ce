/*
 * index.h
 *	  An inverted index over the items of a catalogue, and the search in it.
 *
 * Plain C.  The index is one set of flat arrays without pointers between them, so it can be written to a file and mapped by any process.
 * Once built it never changes: any number of threads may search it, each with its own MatchScratch.
 */
#ifndef MATCH_INDEX_H
#define MATCH_INDEX_H

#include "match/brand.h"
#include "match/gtin.h"
#include "match/normalise.h"

#define MATCH_CANDIDATES 24		/* of an item, that are compared in full */
#define ITEM_BEGUN 2			/* the word, and the code that it ends: w1 and dscw1 of dsc-w1 */

/* A field of an item; data is NULL where the item has none. */
typedef struct MatchText
{
	const char *data;
	size_t		length;
} MatchText;

typedef struct MatchFields
{
	MatchText	id;
	MatchText	sku;
	MatchText	gtin;
	MatchText	brand;
	MatchText	mpn;
	MatchText	title;
	MatchText	description;
	double		price;			/* 0 where unknown */
} MatchFields;

/* An item made ready for indexing or searching. */
typedef struct MatchItem
{
	TokenList	tokens;
	uint64_t	gtin;			/* 0 where there is none */
	GtinGuess	guess;			/* of a damaged GTIN; high is 0 where there is none */
	uint64_t	sku;			/* hashes of squeezed texts, 0 where there is none */
	uint64_t	mpn;
	uint32_t	mpn_stem;
	bool		mpn_short;		/* few digits and no letter: many makers have such */
	uint32_t	brand;
	uint32_t	brand_head;		/* of the brand's first word */
	float		price;
	uint8_t		n_begun;
	uint8_t		begun[ITEM_BEGUN];	/* tokens that the last, unfinished word of the title gave; see item_note_begun() */
} MatchItem;

/* A distinct token. */
typedef struct IndexTerm
{
	uint64_t	hash;
	uint32_t	df;				/* items that have it */
	uint32_t	postings;		/* where its items are in MatchIndex.postings */
	union
	{
		uint32_t	stem;		/* of a code */
		float		value;		/* of a number or quantity */
	}			detail;
	uint8_t		kind;
	uint8_t		unit;
	uint16_t	suffix;			/* of a code */
} IndexTerm;

/* An existing item. */
typedef struct IndexItem
{
	uint64_t	gtin;
	uint32_t	forward;		/* where its tokens are in MatchIndex.forward */
	uint32_t	id;				/* where its id is in MatchIndex.ids */
	uint32_t	sku;			/* lower halves of the hashes */
	uint32_t	mpn;
	uint32_t	mpn_stem;
	uint32_t	brand;
	uint32_t	brand_head;
	uint32_t	colours;
	float		price;
	float		pack;
	uint8_t		conditions;
	uint8_t		gtin_damaged;	/* gtin is only a guess */
	uint8_t		unused[2];
} IndexItem;

/* An entry of an exact key's table: upper half of the key's hash, item + 1; 0 is empty. */
typedef struct IndexKey
{
	uint32_t	tag;
	uint32_t	item;
} IndexKey;

/* An entry of the forward list: term, its span less 1, whether the item has it already, whether it is of the description. */
#define FORWARD_TERM(entry) ((entry) & 0x07FFFFFFu)
#define FORWARD_SPAN(entry) ((((entry) >> 27) & 3u) + 1)
#define FORWARD_REPEATED 0x20000000u
#define FORWARD_EXTRA 0x40000000u
#define FORWARD_AFTER_FOR 0x80000000u
#define INDEX_MAX_TERMS 0x07FFFFFFu

typedef struct MatchIndex
{
	uint64_t	version;		/* of the catalogue */
	uint64_t	seed;
	uint32_t	n_items;
	uint32_t	n_terms;
	uint32_t	n_forward;
	uint32_t	n_postings;
	uint32_t	n_ids;			/* bytes */
	uint32_t	n_named;		/* terms that have a text, and stand first, in the order of the texts; 0 where texts are not kept */
	uint32_t	n_texts;		/* bytes */
	uint32_t	term_mask;		/* sizes of the hash tables less 1 */
	uint32_t	gtin_mask;
	uint32_t	mpn_mask;
	uint32_t	sku_mask;
	const IndexItem *items;		/* n_items + 1: the last closes the ranges of the others */
	const IndexTerm *terms;
	const uint32_t *term_slots; /* term + 1, 0 is empty */
	const uint32_t *forward;
	const uint32_t *postings;
	const IndexKey *gtin_keys;
	const IndexKey *mpn_keys;
	const IndexKey *sku_keys;
	const char *ids;
	const uint32_t *text_at;	/* where a term's text is in texts: a byte with its length, then the text */
	const char *texts;
	BrandAliases aliases;		/* with which items are to be prepared */
	void	   *mapping;		/* of a file, else NULL */
	size_t		mapping_size;
	size_t		bytes;			/* of all arrays */
} MatchIndex;

typedef enum IndexStatus
{
	INDEX_OK, INDEX_MISSING, INDEX_UNREADABLE, INDEX_DAMAGED, INDEX_OTHER_FORMAT
} IndexStatus;

typedef struct IndexBuilder IndexBuilder;

/* item.c */
extern void item_prepare(MatchItem *item, const MatchFields *fields, uint64_t seed, const BrandAliases *aliases, bool existing);

/* price.c */
extern double match_read_price(MatchText text);

/* index_build.c */
extern IndexBuilder *mindex_begin(uint64_t seed, uint64_t version, const BrandAliases *aliases);
extern void mindex_keep_texts(IndexBuilder *builder);
extern void mindex_prepare(const IndexBuilder *builder, MatchItem *item, const MatchFields *fields);
extern bool mindex_add(IndexBuilder *builder, const MatchFields *fields);
extern bool mindex_add_item(IndexBuilder *builder, const MatchItem *item, const MatchText *item_id);
extern bool mindex_finish(IndexBuilder *builder, MatchIndex *index);
extern void mindex_abandon(IndexBuilder *builder);
extern void mindex_free(MatchIndex *index);

/* dictionary.c */
extern bool terms_order(const uint32_t *text_at, const char *texts, uint32_t n, uint32_t *numbers, uint32_t *n_named);
extern void terms_renumber(IndexTerm *terms, uint32_t *text_at, uint32_t *numbers, uint32_t n);

/* prefix.c */
extern void item_note_begun(MatchItem *item, const MatchText *title);

/* index_file.c */
extern bool mindex_write(const MatchIndex *index, const char *path);
extern IndexStatus mindex_open(MatchIndex *index, const char *path);
extern const char *mindex_status_text(IndexStatus status);

/* The hash under which a GTIN is filed: seeded, since a feed may choose its GTINs. */
static inline uint64_t
mindex_gtin_hash(uint64_t seed, uint64_t gtin)
{
	return text_hash(seed, (const char *) &gtin, sizeof(gtin));
}

/* Id of an item, not NUL-terminated. */
static inline const char *
mindex_item_id(const MatchIndex *index, uint32_t item, size_t *length)
{
	uint32_t	start = index->items[item].id;
	uint32_t	end = index->items[item + 1].id;

	if (start > end || end > index->n_ids)
		start = end = 0;
	*length = end - start;
	return index->ids + start;
}

/* The term of this hash, or UINT32_MAX. */
static inline uint32_t
mindex_find_term(const MatchIndex *index, uint64_t hash)
{
	uint32_t	slot = (uint32_t) hash & index->term_mask;
	uint32_t	probes;

	for (probes = 0; probes <= index->term_mask && index->term_slots[slot] != 0; probes++)
	{
		uint32_t	term = index->term_slots[slot] - 1;

		if (term < index->n_terms && index->terms[term].hash == hash)
			return term;
		slot = (slot + 1) & index->term_mask;
	}
	return UINT32_MAX;
}

#endif
