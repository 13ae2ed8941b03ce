/*
 * features.c
 *	  What an item and an existing item have in common, and where they contradict each other.
 *
 * Both are lists of plain tokens, each followed by the joined codes that span it and those before it.  A plain token is covered if the
 * other item has it, or has the code that spans it.  Weights are inverse document frequencies, as shares of that of a term which one
 * item has, so that features are between 0 and 1 whatever the size of the catalogue.
 */
#include "match/pair.h"

#include <math.h>
#include <string.h>

/* Of the weight of a term that one item has. */
#define UNKNOWN_SHARE 0.6f

/* Of the overlap with an item that has the unfinished word only as the beginning of another. */
#define ONLY_BEGUN 0.95f

/* What a word that the query lacks takes from the overlap; where the query is still being typed, it may be to come. */
#define MISSING 0.15f
#define MISSING_TYPED 0.03f

/* Weight of a term that df of the items have; what none has tells less than what one has. */
float
mindex_idf(const MatchIndex *index, uint32_t df)
{
	if (df == 0)
		return UNKNOWN_SHARE * mindex_idf(index, 1);
	return logf(1.0f + (float) index->n_items / ((float) df + 0.5f));
}

/* Marks entry i, and the span plain tokens before it where it is a joined code. */
static void
cover(bool *covered, const uint8_t *spans, int i)
{
	int			left = spans[i] > 1 && spans[i] != SPAN_STEM ? spans[i] : 0;

	covered[i] = true;
	while (left > 0 && --i >= 0)
		if (spans[i] == 1)
		{
			covered[i] = true;
			left--;
		}
}

/* Range of the existing item's tokens in the forward list. */
static const uint32_t *
item_forward(const MatchIndex *index, uint32_t item, int *n)
{
	uint32_t	start = index->items[item].forward;
	uint32_t	end = index->items[item + 1].forward;

	if (start > end || end > index->n_forward)
		start = end = 0;
	*n = end - start > MAX_FORWARD ? MAX_FORWARD : (int) (end - start);
	return index->forward + start;
}

/* A cheap first measure of likeness: the query's covered weight against the length of both. */
float
features_overlap(const MatchIndex *index, const MatchQuery *query, uint32_t item)
{
	int			n;
	const uint32_t *forward = item_forward(index, item, &n);
	uint8_t		spans[QUERY_TOKENS];
	bool		covered[QUERY_TOKENS] = {false};
	float		weight2 = 0;
	float		stems = 0;
	int			missing = 0;
	int			begun = 0;
	int			i;

	for (i = 0; i < query->n; i++)
		spans[i] = query->tokens[i].span;
	for (i = 0; i < n; i++)
	{
		int			token = query_find(query, FORWARD_TERM(forward[i]));

		if (token >= 0 && spans[token] != SPAN_STEM && FORWARD_SPAN(forward[i]) != SPAN_STEM)
		{
			cover(covered, spans, token);
			begun |= query_how_begun(query, token, FORWARD_TERM(forward[i]));
		}
		else if (token >= 0)
			stems = larger(stems, 0.5f * query->tokens[token].idf * query->tokens[token].idf);
		else if (FORWARD_SPAN(forward[i]) == 1 && !(forward[i] & FORWARD_EXTRA))
			missing++;
	}
	for (i = 0; i < query->n; i++)
		if (covered[i] && spans[i] == 1 && !query->tokens[i].extra)
			weight2 += query->tokens[i].idf * query->tokens[i].idf;
	if (begun == BEGUN_ONLY)
		weight2 *= ONLY_BEGUN;
	return (stems + weight2) / (query->weight2 + (query->n_begun > 0 ? MISSING_TYPED : MISSING) * (float) missing * query->max_idf * query->max_idf + 1e-6f);
}

/* Reads the existing item's tokens and marks what is covered on both sides. */
static void
align(const MatchIndex *index, const MatchQuery *query, uint32_t item, Pair *pair)
{
	int			n;
	const uint32_t *forward = item_forward(index, item, &n);
	uint8_t		query_spans[QUERY_TOKENS];
	int			i;

	pair->query = query;
	pair->item = &index->items[item];
	pair->n = 0;
	pair->begun = 0;
	memset(pair->query_covered, 0, sizeof(pair->query_covered));
	memset(pair->query_described, 0, sizeof(pair->query_described));
	for (i = 0; i < query->n; i++)
		query_spans[i] = query->tokens[i].span;
	for (i = 0; i < n; i++)
	{
		uint32_t	term = FORWARD_TERM(forward[i]);

		if (term >= index->n_terms)
			continue;
		pair->terms[pair->n] = &index->terms[term];
		pair->hashes[pair->n] = (uint32_t) index->terms[term].hash;
		pair->idf[pair->n] = mindex_idf(index, index->terms[term].df);
		pair->span[pair->n] = (uint8_t) FORWARD_SPAN(forward[i]);
		pair->extra[pair->n] = (forward[i] & FORWARD_EXTRA) != 0;
		pair->after_for[pair->n] = (forward[i] & FORWARD_AFTER_FOR) != 0;
		pair->described[pair->n] = false;
		pair->covered[pair->n++] = false;
	}
	for (i = 0; i < pair->n; i++)
	{
		int			token = query_find(query, (uint32_t) (pair->terms[i] - index->terms));

		if (token < 0 || query_spans[token] == SPAN_STEM || pair->span[i] == SPAN_STEM)
			continue;
		/* A model number may stand in a description; any other word there says less. */
		if ((pair->extra[i] || query->tokens[token].extra) && pair->terms[i]->kind != TOKEN_CODE)
		{
			pair->described[i] = pair->query_described[token] = true;
			continue;
		}
		cover(pair->covered, pair->span, i);
		cover(pair->query_covered, query_spans, token);
		pair->begun |= query_how_begun(query, token, (uint32_t) (pair->terms[i] - index->terms));
	}
	for (i = 0; i < query->n; i++)
		if (query->tokens[i].repeated && query->tokens[i].span != SPAN_STEM)
			pair->query_covered[i] |= pair->query_covered[query_find(query, query->tokens[i].term)];
}

/* The same of words alone: many titles end in a model number that the other side does not give. */
static void
compare_words(const Pair *pair, float *f)
{
	const MatchQuery *query = pair->query;
	float		sum[2] = {0, 0};
	float		covered[2] = {0, 0};
	int			i;

	for (i = 0; i < query->n; i++)
	{
		if (pair->query_covered[i] && query->tokens[i].kind == TOKEN_WORD && query->tokens[i].df > 0 && query->tokens[i].span != SPAN_STEM)
			f[F_WORD_UNIQUE] = larger(f[F_WORD_UNIQUE], 1.0f / (float) query->tokens[i].df);
		if (query->tokens[i].span != 1 || query->tokens[i].extra || query->tokens[i].kind == TOKEN_CODE)
			continue;
		sum[0] += query->tokens[i].idf;
		covered[0] += pair->query_covered[i] ? query->tokens[i].idf : 0;
	}
	for (i = 0; i < pair->n; i++)
	{
		if (pair->span[i] != 1 || pair->extra[i] || pair->terms[i]->kind == TOKEN_CODE)
			continue;
		sum[1] += pair->idf[i];
		covered[1] += pair->covered[i] ? pair->idf[i] : 0;
	}
	if (sum[0] > 0 && sum[1] > 0)
	{
		f[F_WORDS] = sqrtf(covered[0] / sum[0] * covered[1] / sum[1]);
		f[F_WORDS_CONTAINED] = larger(covered[0] / sum[0], covered[1] / sum[1]);
	}
}

/* How much of each title is in the other. */
static void
compare_titles(const Pair *pair, float *f)
{
	const MatchQuery *query = pair->query;
	float		query_covered = 0;
	float		query_covered2 = 0;
	float		weight = 0;
	float		weight2 = 0;
	float		covered = 0;
	float		covered2 = 0;
	float		query_described = 0;
	float		described = 0;
	int			i;

	for (i = 0; i < query->n; i++)
	{
		float		idf = query->tokens[i].idf;

		if (query->tokens[i].span > 1 || query->tokens[i].extra)
			continue;
		if (pair->query_covered[i])
		{
			query_covered += idf;
			query_covered2 += idf * idf;
			continue;
		}
		if (pair->query_described[i])
			query_described += idf;
		else
			f[F_INCOMING_RARE_MISSING] = larger(f[F_INCOMING_RARE_MISSING], smaller(1, idf / query->max_idf));
	}
	for (i = 0; i < pair->n; i++)
	{
		float		idf = pair->idf[i];

		if (pair->span[i] > 1 || pair->extra[i])
			continue;
		weight += idf;
		weight2 += idf * idf;
		if (pair->covered[i])
		{
			covered += idf;
			covered2 += idf * idf;
			continue;
		}
		if (pair->described[i])
			described += idf;
		else
			f[F_EXISTING_RARE_MISSING] = larger(f[F_EXISTING_RARE_MISSING], smaller(1, idf / query->max_idf));
	}
	if (weight <= 0 || query->weight <= 0)
		return;
	f[F_INCOMING_COVERED] = query_covered / query->weight;
	f[F_EXISTING_COVERED] = covered / weight;
	f[F_TITLE] = sqrtf(query_covered2 / query->weight2 * covered2 / weight2);
	f[F_TITLE_NEAR] = larger(0, f[F_TITLE] - 0.75f) * 4;
	f[F_DESCRIBED] = (query_described / query->weight + described / weight) / 2;
	f[F_SHORT_TITLE] = 1.0f / (1.0f + smaller(query->weight, weight) / query->max_idf);
}

/* Whether one of two quantities may be the other without its fraction: 14 and 14.7 megapixels. */
static bool
is_rounded(float a, float b)
{
	float		whole = a == floorf(a) ? a : b;
	float		other = a == floorf(a) ? b : a;

	return whole == floorf(whole) && whole >= 10 && other != floorf(other) && fabsf(whole - other) < 1;
}

/* Plain numbers, and quantities by unit: 64gb against 32gb contradict each other. */
static void
compare_numbers(const Pair *pair, float *f)
{
	const MatchQuery *query = pair->query;
	uint32_t	units_equal = 0;
	uint32_t	units_other = 0;
	int			numbers = 0;
	int			query_numbers = 0;
	int			shared = 0;
	int			i;
	int			j;

	for (i = 0; i < query->n; i++)
	{
		const QueryToken *q = &query->tokens[i];

		if (q->kind == TOKEN_NUMBER && q->span == 1 && !q->extra)
		{
			if (pair->query_covered[i])
				shared++;
			else
				query_numbers++;
		}
		if (q->kind != TOKEN_QUANTITY || q->unit == UNIT_PACK)
			continue;
		for (j = 0; j < pair->n; j++)
		{
			if (pair->terms[j]->kind != TOKEN_QUANTITY || pair->terms[j]->unit != q->unit)
				continue;
			if (fabsf(pair->terms[j]->detail.value - q->value) <= (q->unit == UNIT_SIZE ? 0 : 0.03f * q->value))
				units_equal |= 1u << q->unit;
			else if (!q->extra && !pair->extra[j] && !is_rounded(q->value, pair->terms[j]->detail.value))
				units_other |= 1u << q->unit;
		}
	}
	for (j = 0; j < pair->n; j++)
		if (pair->terms[j]->kind == TOKEN_NUMBER && pair->span[j] == 1 && !pair->extra[j] && !pair->covered[j])
			numbers++;
	f[F_NUMBER_SHARED] = shared > 2 ? 1 : (float) shared / 2;
	f[F_NUMBER_CONFLICT] = numbers > 0 && query_numbers > 0 ? (shared > 0 ? 0.5f : 1) : 0;
	f[F_UNIT_SHARED] = smaller(2, (float) __builtin_popcount(units_equal)) / 2;
	f[F_UNIT_CONFLICT] = smaller(2, (float) __builtin_popcount(units_other & ~units_equal)) / 2;
}

/* Whether the query has a token of this hash (its lower half, made odd as brands' are). */
static bool
query_has(const MatchQuery *query, uint32_t hash)
{
	int			i;

	for (i = 0; i < query->n; i++)
		if ((query->tokens[i].hash | 1) == hash)
			return true;
	return false;
}

static bool
existing_has(const Pair *pair, uint32_t hash)
{
	int			i;

	for (i = 0; i < pair->n; i++)
		if ((pair->hashes[i] | 1) == hash)
			return true;
	return false;
}

/* Brands agree where they are equal or one stands in the other's title; they conflict where both are known and neither does. */
static void
compare_brands(const Pair *pair, float *f)
{
	const MatchItem *a = pair->query->item;
	const IndexItem *b = pair->item;
	bool		agree;
	bool		named;			/* the query names the other brand */
	bool		known;			/* the existing item names the query's */

	if (a->brand == 0 && b->brand == 0)
		return;
	agree = a->brand == b->brand || (a->brand_head != 0 && a->brand_head == b->brand_head);
	named = (b->brand != 0 && query_has(pair->query, b->brand)) || (b->brand_head != 0 && query_has(pair->query, b->brand_head));
	known = (a->brand != 0 && existing_has(pair, a->brand)) || (a->brand_head != 0 && existing_has(pair, a->brand_head));
	if (agree || ((a->brand == 0 || b->brand == 0) && (named || known)) || (named && known))
		f[F_BRAND_AGREES] = 1;
	else if (named || known)
		f[F_BRAND_AGREES] = f[F_BRAND_CONFLICT] = 0.5f;
	else
		f[F_BRAND_CONFLICT] = a->brand != 0 && b->brand != 0 ? 1 : 0.5f;
}

/* Part numbers of their own column. */
static void
compare_part_numbers(const Pair *pair, float *f)
{
	const MatchItem *a = pair->query->item;
	const IndexItem *b = pair->item;
	int			i;

	if (a->mpn != 0 && b->mpn != 0)
	{
		if ((uint32_t) a->mpn == b->mpn)
		{
			f[F_MPN_EQUAL] = 1;
			f[F_MPN_SHORT] = a->mpn_short ? 1 : 0;
			f[F_SHORT_CONFLICT] = f[F_MPN_SHORT] * f[F_BRAND_CONFLICT];
		}
		else if (a->mpn_stem == b->mpn_stem)
			f[F_MPN_VARIANT] = 1;
		else
			f[F_MPN_CONFLICT] = 1;
	}
	if (f[F_MPN_EQUAL] > 0)
		return;
	for (i = 0; i < pair->n && f[F_MPN_IN_TITLE] == 0; i++)
		if (a->mpn != 0 && pair->hashes[i] == (uint32_t) a->mpn)
			f[F_MPN_IN_TITLE] = 1;
	for (i = 0; i < pair->query->n && f[F_MPN_IN_TITLE] == 0; i++)
		if (b->mpn != 0 && pair->query->tokens[i].hash == b->mpn)
			f[F_MPN_IN_TITLE] = 1;
	if (f[F_MPN_IN_TITLE] > 0 || f[F_CODE_TAIL] > 0)
		f[F_MPN_CONFLICT] = f[F_MPN_VARIANT] = 0;
}

/* Whether both titles have a few words, so that having none in common tells something. */
static bool
says_enough(const Pair *pair)
{
	int			words = 0;
	int			query_words = 0;
	int			i;

	for (i = 0; i < pair->n; i++)
		words += pair->span[i] == 1 && !pair->extra[i];
	for (i = 0; i < pair->query->n; i++)
		query_words += pair->query->tokens[i].span == 1 && !pair->query->tokens[i].extra;
	return words > 2 && query_words > 2;
}

static void
compare_keys(const Pair *pair, float *f)
{
	const MatchItem *a = pair->query->item;
	const IndexItem *b = pair->item;

	if (b->gtin != 0 && a->gtin != 0 && !b->gtin_damaged)
	{
		/* A GTIN that many have is nobody's: a placeholder. */
		if (a->gtin == b->gtin)
			f[F_GTIN_EQUAL] = 1.0f / ((float) pair->query->gtin_items * (float) pair->query->gtin_items + 1e-6f);
		else
			f[F_GTIN_CONFLICT] = 1;
		f[F_GTIN_EQUAL] = smaller(1, f[F_GTIN_EQUAL]);
	}
	else if (b->gtin != 0 && ((a->gtin != 0 && a->gtin == b->gtin) ||
							  (a->guess.high != 0 && b->gtin >= a->guess.low && b->gtin <= a->guess.high)))
		f[F_GTIN_DAMAGED] = 1;
	if (f[F_GTIN_EQUAL] > 0 && says_enough(pair))
		f[F_KEY_ALONE] = larger(0, 1 - f[F_TITLE] / 0.25f);
	f[F_SKU_EQUAL] = a->sku != 0 && (uint32_t) a->sku == b->sku ? 1 : 0;
}

/* Packs, conditions and prices. */
static void
compare_offers(const Pair *pair, float *f)
{
	const MatchItem *a = pair->query->item;
	const IndexItem *b = pair->item;
	uint32_t	differ = a->tokens.conditions ^ b->conditions;

	if (a->tokens.pack != b->pack)
		f[F_PACK_CONFLICT] = a->tokens.pack != 1 && b->pack != 1 ? 1 : 0.5f;
	/* The maker's own spare parts are replacements too. */
	if ((differ & (CONDITION_REMADE | CONDITION_REFURBISHED)) != 0)
		f[F_CONDITION_CONFLICT] = 1;
	else if ((differ & CONDITION_COMPATIBLE) != 0)
		f[F_CONDITION_CONFLICT] = f[F_BRAND_AGREES] == 1 ? 0.3f : 1;
	if (a->tokens.colours != 0 && b->colours != 0)
		f[(a->tokens.colours & b->colours) != 0 ? F_COLOUR_AGREES : F_COLOUR_CONFLICT] = 1;
	f[F_BUNDLE_CONFLICT] = (differ & CONDITION_BUNDLE) != 0 ? 1 : 0;
	if (a->price > 0 && b->price > 0)
	{
		float		distance = fabsf(logf(a->price / b->price));

		f[F_PRICE_NEAR] = larger(0, 1 - distance * 5);
		f[F_PRICE_DISTANCE] = smaller(2, distance);
	}
}

/*
 * A catalogue of less than a thousand items counts as one of a thousand: that it has so few says little of what a supplier may bring, and
 * rarity among so few little of a word.
 */
#define LEAST_RARITY 6.5f

/*
 * The features that are measured in rarity.  In a catalogue e times as large a word that one item has tells one unit of log odds more,
 * which is what there is to be made up for among so many items.
 */
static const uint8_t rarities[] = {
	F_TITLE, F_TITLE_NEAR, F_INCOMING_COVERED, F_EXISTING_COVERED, F_INCOMING_RARE_MISSING, F_EXISTING_RARE_MISSING, F_WORDS,
	F_WORDS_CONTAINED, F_WORD_UNIQUE, F_DESCRIBED, F_CODE_SHARED, F_CODE_UNIQUE, F_CODE_TAIL, F_CODE_CONFLICT, F_CODE_UNLIKE,
	F_CODE_EXTRA, F_CODE_PREFIX, F_CODE_VARIANT, F_MPN_EQUAL, F_MPN_IN_TITLE, F_GTIN_EQUAL, F_GTIN_DAMAGED, F_SKU_EQUAL,
};

/* Fills in all features of a pair. */
void
features_compare(const MatchIndex *index, const MatchQuery *query, uint32_t item, float features[N_FEATURES])
{
	Pair		pair;
	float		scale;
	size_t		i;

	memset(features, 0, N_FEATURES * sizeof(float));
	align(index, query, item, &pair);
	compare_titles(&pair, features);
	compare_words(&pair, features);
	compare_codes(&pair, features);
	compare_numbers(&pair, features);
	compare_brands(&pair, features);
	compare_part_numbers(&pair, features);
	compare_keys(&pair, features);
	compare_offers(&pair, features);
	scale = larger(query->max_idf, LEAST_RARITY) / 10;
	features[F_CATALOGUE_SIZE] = scale;
	features[F_BEGUN] = pair.begun == BEGUN_ONLY ? 1 : 0;
	for (i = 0; i < sizeof(rarities); i++)
		features[rarities[i]] *= scale;
}
