/*
 * index_build.c
 *	  Builds a match index, one item after another.
 *
 * Adding an item looks each of its tokens up in a growing hash table of terms and appends them to the forward list.  Finishing counts the
 * terms' items into ranges and fills the postings by one pass over the forward list.  Where texts are kept, the terms are numbered in the
 * order of their texts before that (dictionary.c).  All arrays grow by doubling (by remapping, where they are large), so memory peaks at
 * little more than the index itself.
 */
#include "match/index.h"

#include <stdlib.h>
#include <string.h>

/* A key that more items share than this is worthless as a key; the rest of them are left out. */
#define MAX_SAME_KEY 16

/* Place of the text of a term that has none. */
#define NO_TEXT UINT32_MAX

typedef struct Array
{
	void	   *data;
	size_t		used;
	size_t		room;
} Array;

struct IndexBuilder
{
	uint64_t	seed;
	uint64_t	version;
	Array		items;			/* IndexItem */
	Array		gtins;			/* KeyEntry, of the three tables of exact keys */
	Array		mpns;
	Array		skus;
	Array		terms;			/* IndexTerm */
	Array		last_item;		/* of each term: item + 1 that had it last */
	Array		forward;		/* uint32_t */
	Array		ids;			/* char */
	bool		keep_texts;
	uint32_t	n_named;
	Array		text_at;		/* uint32_t, of each term; NO_TEXT where it has none */
	Array		texts;			/* char */
	uint32_t   *slots;
	uint32_t	mask;
	BrandAliases aliases;
	MatchItem	item;
};

typedef struct KeyEntry
{
	uint64_t	hash;
	uint32_t	item;
} KeyEntry;

/* Makes room for n more elements.  Returns where they go, or NULL when memory is out or the array would pass 2^32 elements. */
static void *
array_extend(Array *array, size_t n, size_t size)
{
	void	   *place;

	if (array->data == NULL || array->used + n > array->room)
	{
		size_t		room = array->room == 0 ? 1024 : array->room * 2;
		void	   *data;

		while (room < array->used + n)
			room *= 2;
		if (array->used + n > UINT32_MAX || room > SIZE_MAX / size)
			return NULL;
		data = realloc(array->data, room * size);
		if (data == NULL)
			return NULL;
		array->data = data;
		array->room = room;
	}
	place = (char *) array->data + array->used * size;
	array->used += n;
	return place;
}

/* Gives back what an array has too much. */
static void
array_trim(Array *array, size_t size)
{
	void	   *data;

	if (array->used == 0 || array->used == array->room)
		return;
	data = realloc(array->data, array->used * size);
	if (data != NULL)
		array->data = data;
}

/*
 * Starts an index.  The seed should be random where hostile text may come in; of the aliases, which may be NULL, the index keeps a copy.
 * Returns NULL when memory is out.
 */
IndexBuilder *
mindex_begin(uint64_t seed, uint64_t version, const BrandAliases *aliases)
{
	IndexBuilder *builder = calloc(1, sizeof(IndexBuilder));
	BrandAlias *slots;

	if (builder == NULL)
		return NULL;
	builder->aliases.mask = aliases == NULL || aliases->slots == NULL ? 0 : aliases->mask;
	builder->aliases.slots = slots = calloc((size_t) builder->aliases.mask + 1, sizeof(BrandAlias));
	if (slots != NULL && builder->aliases.mask > 0)
		memcpy(slots, aliases->slots, ((size_t) aliases->mask + 1) * sizeof(BrandAlias));
	builder->seed = seed;
	builder->version = version;
	builder->mask = 4095;
	builder->slots = calloc(builder->mask + 1, sizeof(uint32_t));
	if (builder->slots == NULL || slots == NULL)
	{
		mindex_abandon(builder);
		return NULL;
	}
	return builder;
}

/* Doubles the table of terms. */
static bool
grow_slots(IndexBuilder *builder)
{
	uint32_t	mask = builder->mask * 2 + 1;
	uint32_t   *slots = calloc((size_t) mask + 1, sizeof(uint32_t));
	const IndexTerm *terms = builder->terms.data;
	uint32_t	i;

	if (slots == NULL)
		return false;
	for (i = 0; i < builder->terms.used; i++)
	{
		uint32_t	slot = (uint32_t) terms[i].hash & mask;

		while (slots[slot] != 0)
			slot = (slot + 1) & mask;
		slots[slot] = i + 1;
	}
	free(builder->slots);
	builder->slots = slots;
	builder->mask = mask;
	return true;
}

/* Makes the builder keep the texts of words and codes, so that terms can be found by how they begin.  Call it before the first item. */
void
mindex_keep_texts(IndexBuilder *builder)
{
	builder->keep_texts = true;
}

/* Keeps the text of a new term: of a word the singular, which is what its hash is of. */
static bool
keep_text(IndexBuilder *builder, const TokenList *list, const Token *token)
{
	uint32_t   *at = array_extend(&builder->text_at, 1, sizeof(uint32_t));
	const char *text = list->text + token->start;
	char		one[NORM_TOKEN_BYTES];
	size_t		length = token->length;
	char	   *place;

	if (at == NULL)
		return false;
	*at = NO_TEXT;
	if (token->kind != TOKEN_WORD && token->kind != TOKEN_CODE)
		return true;
	if (token->kind == TOKEN_WORD && length < NORM_TOKEN_BYTES)
	{
		length = word_singular(text, length, one);
		text = one;
	}
	place = array_extend(&builder->texts, length + 1, 1);
	if (place == NULL)
		return false;
	*at = (uint32_t) (builder->texts.used - length - 1);
	place[0] = (char) length;
	memcpy(place + 1, text, length);
	return true;
}

/* The number of a token's term, made when it is new; UINT32_MAX when memory is out. */
static uint32_t
get_term(IndexBuilder *builder, const TokenList *list, const Token *token)
{
	uint32_t	slot = (uint32_t) token->hash & builder->mask;
	const IndexTerm *terms = builder->terms.data;
	IndexTerm  *term;
	uint32_t   *last;

	for (; builder->slots[slot] != 0; slot = (slot + 1) & builder->mask)
		if (terms[builder->slots[slot] - 1].hash == token->hash)
			return builder->slots[slot] - 1;
	if (builder->terms.used >= INDEX_MAX_TERMS)
		return UINT32_MAX;
	term = array_extend(&builder->terms, 1, sizeof(IndexTerm));
	last = array_extend(&builder->last_item, 1, sizeof(uint32_t));
	if (term == NULL || last == NULL || (builder->keep_texts && !keep_text(builder, list, token)))
		return UINT32_MAX;
	memset(term, 0, sizeof(IndexTerm));
	term->hash = token->hash;
	term->kind = token->kind;
	term->unit = token->unit;
	term->suffix = token->suffix;
	if (token->kind == TOKEN_CODE)
		term->detail.stem = token->stem;
	else
		term->detail.value = token->value;
	*last = 0;
	builder->slots[slot] = (uint32_t) builder->terms.used;
	if (builder->terms.used * 10 > (size_t) builder->mask * 6 && !grow_slots(builder))
		return UINT32_MAX;
	return (uint32_t) builder->terms.used - 1;
}

static bool
add_key(Array *keys, uint64_t hash, uint32_t item)
{
	KeyEntry   *entry = array_extend(keys, 1, sizeof(KeyEntry));

	if (entry == NULL)
		return false;
	entry->hash = hash;
	entry->item = item;
	return true;
}

/* Prepares an item for mindex_add_item(). */
void
mindex_prepare(const IndexBuilder *builder, MatchItem *item, const MatchFields *fields)
{
	item_prepare(item, fields, builder->seed, &builder->aliases, true);
}

/* Adds an item.  Returns false when memory is out; the builder can then only be abandoned. */
bool
mindex_add(IndexBuilder *builder, const MatchFields *fields)
{
	mindex_prepare(builder, &builder->item, fields);
	return mindex_add_item(builder, &builder->item, &fields->id);
}

/* The same with an item that is prepared. */
bool
mindex_add_item(IndexBuilder *builder, const MatchItem *item, const MatchText *item_id)
{
	uint32_t	number = (uint32_t) builder->items.used;
	IndexItem  *entry = array_extend(&builder->items, 1, sizeof(IndexItem));
	uint32_t   *forward;
	char	   *id;
	int			i;

	forward = array_extend(&builder->forward, (size_t) item->tokens.n, sizeof(uint32_t));
	id = array_extend(&builder->ids, item_id->length, 1);
	if (entry == NULL || forward == NULL || id == NULL)
		return false;
	memset(entry, 0, sizeof(IndexItem));
	entry->gtin = item->gtin != 0 ? item->gtin : item->guess.low == item->guess.high ? item->guess.low : 0;
	entry->forward = (uint32_t) (builder->forward.used - (size_t) item->tokens.n);
	entry->id = (uint32_t) (builder->ids.used - item_id->length);
	if (item_id->length > 0)
		memcpy(id, item_id->data, item_id->length);
	entry->sku = (uint32_t) item->sku;
	entry->mpn = (uint32_t) item->mpn;
	entry->mpn_stem = item->mpn_stem;
	entry->brand = item->brand;
	entry->brand_head = item->brand_head;
	entry->price = item->price;
	entry->colours = item->tokens.colours;
	entry->pack = item->tokens.pack;
	entry->conditions = (uint8_t) item->tokens.conditions;
	entry->gtin_damaged = item->gtin == 0 && entry->gtin != 0;
	for (i = 0; i < item->tokens.n; i++)
	{
		const Token *token = &item->tokens.tokens[i];
		uint32_t	term = get_term(builder, &item->tokens, token);
		uint32_t   *last;

		if (term == UINT32_MAX)
			return false;
		forward[i] = term | (uint32_t) (token->span - 1) << 27 | (i >= item->tokens.n_title ? FORWARD_EXTRA : 0) |
			(token->after_for ? FORWARD_AFTER_FOR : 0);
		last = (uint32_t *) builder->last_item.data + term;
		/* Words of a description are compared, but nothing is found by them. */
		if (i >= item->tokens.n_title && token->kind != TOKEN_CODE)
		{
			forward[i] |= FORWARD_REPEATED;
			continue;
		}
		if (*last == number + 1)
			forward[i] |= FORWARD_REPEATED;
		else
			((IndexTerm *) builder->terms.data)[term].df++;
		*last = number + 1;
	}
	return (entry->gtin == 0 || add_key(&builder->gtins, mindex_gtin_hash(builder->seed, entry->gtin), number)) &&
		(item->mpn == 0 || add_key(&builder->mpns, item->mpn, number)) &&
		(item->sku == 0 || add_key(&builder->skus, item->sku, number));
}

/* Makes the hash table of an exact key.  Returns NULL when memory is out. */
static IndexKey *
build_keys(Array *keys, uint32_t *mask)
{
	const KeyEntry *entries = keys->data;
	size_t		size = 16;
	IndexKey   *table;
	size_t		i;

	while (size * 6 < keys->used * 10)
		size *= 2;
	table = calloc(size, sizeof(IndexKey));
	if (table == NULL)
		return NULL;
	*mask = (uint32_t) (size - 1);
	for (i = 0; i < keys->used; i++)
	{
		uint32_t	tag = (uint32_t) (entries[i].hash >> 32);
		uint32_t	slot = (uint32_t) entries[i].hash & *mask;
		int			same = 0;

		for (; table[slot].item != 0 && same < MAX_SAME_KEY; slot = (slot + 1) & *mask)
			if (table[slot].tag == tag)
				same++;
		if (same == MAX_SAME_KEY)
			continue;
		table[slot].tag = tag;
		table[slot].item = entries[i].item + 1;
	}
	free(keys->data);
	memset(keys, 0, sizeof(Array));
	return table;
}

/* Numbers the terms in the order of their texts.  Returns false when memory is out. */
static bool
order_terms(IndexBuilder *builder)
{
	uint32_t   *numbers = builder->last_item.data;	/* all items have been added: its room is free */
	uint32_t   *forward = builder->forward.data;
	uint32_t	n = (uint32_t) builder->terms.used;
	size_t		i;

	if (!terms_order(builder->text_at.data, builder->texts.data, n, numbers, &builder->n_named))
		return false;
	for (i = 0; i < builder->forward.used; i++)
		forward[i] = (forward[i] & ~INDEX_MAX_TERMS) | numbers[FORWARD_TERM(forward[i])];
	for (i = 0; i <= builder->mask; i++)
		if (builder->slots[i] != 0)
			builder->slots[i] = numbers[builder->slots[i] - 1] + 1;
	terms_renumber(builder->terms.data, builder->text_at.data, numbers, n);
	builder->text_at.used = builder->n_named;
	array_trim(&builder->text_at, sizeof(uint32_t));
	array_trim(&builder->texts, 1);
	return true;
}

/* Lays out the postings.  Returns NULL when memory is out. */
static uint32_t *
build_postings(IndexBuilder *builder, uint32_t *n_postings)
{
	IndexTerm  *terms = builder->terms.data;
	const IndexItem *items = builder->items.data;
	const uint32_t *forward = builder->forward.data;
	uint32_t   *next = builder->last_item.data;
	uint32_t   *postings;
	uint32_t	total = 0;
	uint32_t	n_items = (uint32_t) builder->items.used - 1;
	uint32_t	i;
	uint32_t	j;

	for (i = 0; i < builder->terms.used; i++)
	{
		terms[i].postings = next[i] = total;
		total += terms[i].df;
	}
	postings = malloc(total == 0 ? 1 : (size_t) total * sizeof(uint32_t));
	if (postings == NULL)
		return NULL;
	for (i = 0; i < n_items; i++)
		for (j = items[i].forward; j < items[i + 1].forward; j++)
			if (!(forward[j] & FORWARD_REPEATED))
				postings[next[FORWARD_TERM(forward[j])]++] = i;
	*n_postings = total;
	return postings;
}

/*
 * Completes the index and frees the builder.  Returns false, with the builder still to be abandoned, when memory is out.
 */
bool
mindex_finish(IndexBuilder *builder, MatchIndex *index)
{
	IndexItem  *end = array_extend(&builder->items, 1, sizeof(IndexItem));

	memset(index, 0, sizeof(MatchIndex));
	if (end == NULL)
		return false;
	memset(end, 0, sizeof(IndexItem));
	end->forward = (uint32_t) builder->forward.used;
	end->id = (uint32_t) builder->ids.used;
	index->gtin_keys = build_keys(&builder->gtins, &index->gtin_mask);
	index->mpn_keys = build_keys(&builder->mpns, &index->mpn_mask);
	index->sku_keys = build_keys(&builder->skus, &index->sku_mask);
	array_trim(&builder->items, sizeof(IndexItem));
	array_trim(&builder->terms, sizeof(IndexTerm));
	array_trim(&builder->forward, sizeof(uint32_t));
	array_trim(&builder->ids, 1);
	if (!builder->keep_texts || order_terms(builder))
		index->postings = build_postings(builder, &index->n_postings);
	if (index->gtin_keys == NULL || index->mpn_keys == NULL || index->sku_keys == NULL || index->postings == NULL)
	{
		mindex_free(index);
		return false;
	}
	index->version = builder->version;
	index->seed = builder->seed;
	index->n_items = (uint32_t) builder->items.used - 1;
	index->n_terms = (uint32_t) builder->terms.used;
	index->n_forward = (uint32_t) builder->forward.used;
	index->n_ids = (uint32_t) builder->ids.used;
	index->term_mask = builder->mask;
	index->items = builder->items.data;
	index->terms = builder->terms.data;
	index->term_slots = builder->slots;
	index->forward = builder->forward.data;
	index->ids = builder->ids.data;
	index->n_named = builder->n_named;
	index->n_texts = (uint32_t) builder->texts.used;
	index->text_at = builder->text_at.data;
	index->texts = builder->texts.data;
	index->aliases = builder->aliases;
	index->bytes = (size_t) (index->n_items + 1) * sizeof(IndexItem) + (size_t) index->n_terms * sizeof(IndexTerm) +
		((size_t) index->term_mask + 1 + index->n_forward + index->n_postings) * sizeof(uint32_t) +
		((size_t) index->gtin_mask + index->mpn_mask + index->sku_mask + 3) * sizeof(IndexKey) + index->n_ids +
		(size_t) index->n_named * sizeof(uint32_t) + index->n_texts;
	free(builder->last_item.data);
	free(builder);
	return true;
}

/* Frees a builder whose index is not wanted. */
void
mindex_abandon(IndexBuilder *builder)
{
	if (builder == NULL)
		return;
	free(builder->items.data);
	free(builder->gtins.data);
	free(builder->mpns.data);
	free(builder->skus.data);
	free(builder->terms.data);
	free(builder->last_item.data);
	free(builder->forward.data);
	free(builder->ids.data);
	free(builder->text_at.data);
	free(builder->texts.data);
	free(builder->slots);
	free((void *) builder->aliases.slots);
	free(builder);
}
