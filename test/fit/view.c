/*
 * view.c
 *	  The ways in which a labelled set is seen.
 *
 * Two sets are not all suppliers.  What one of them happens to have (a brand column on one side, a price on both) must not carry the
 * model, so each is also seen without it, from the other side, with fewer or no matches, and with keys made up as suppliers have them.
 * Whatever is left to chance follows from a hash of the items' ids, so it is the same on every machine.
 */
#include "fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ALL_BUT(fields) (((1u << N_FIELDS) - 1) & ~(FIELD_BIT(FIELD_ID) | (fields)))

/* What a set's whole view weighs as much as three of: it is the only one that is as its supplier sent it. */
#define AS_SENT 3

const ViewKind view_kinds[] = {
	/* name, dropped, swapped, removed, keys, needed, weight */
	{"whole", 0, false, 0, KEYS_AS_THEY_ARE, 0, AS_SENT},
	{"no-price", FIELD_BIT(FIELD_PRICE), false, 0, KEYS_AS_THEY_ARE, 0, 1},
	{"no-brand", FIELD_BIT(FIELD_BRAND), false, 0, KEYS_AS_THEY_ARE, 0, 1},
	{"no-mpn", FIELD_BIT(FIELD_MPN), false, 0, KEYS_AS_THEY_ARE, 0, 1},
	{"no-description", FIELD_BIT(FIELD_DESCRIPTION), false, 0, KEYS_AS_THEY_ARE, 0, 1},
	{"no-gtin", FIELD_BIT(FIELD_GTIN), false, 0, KEYS_AS_THEY_ARE, 0, 1},
	{"no-sku", FIELD_BIT(FIELD_SKU), false, 0, KEYS_AS_THEY_ARE, 0, 1},
	{"title", ALL_BUT(FIELD_BIT(FIELD_TITLE)), false, 0, KEYS_AS_THEY_ARE, 0, 1},
	{"swapped", 0, true, 0, KEYS_AS_THEY_ARE, 0, 1},
	{"half", 0, false, 0.5f, KEYS_AS_THEY_ARE, 0, 1},
	{"new-only", 0, false, 1, KEYS_AS_THEY_ARE, 0, 1},
	{"gtin", 0, false, 0, KEYS_GTIN, 0, 1},
	{"sku", 0, false, 0, KEYS_SKU, 0, 1},
	{"gtin-only", ALL_BUT(FIELD_BIT(FIELD_BRAND) | FIELD_BIT(FIELD_PRICE)), false, 0, KEYS_GTIN, 0, 1},
	{"mpn-only", ALL_BUT(FIELD_BIT(FIELD_BRAND) | FIELD_BIT(FIELD_MPN) | FIELD_BIT(FIELD_PRICE)), false, 0, KEYS_AS_THEY_ARE,
	FIELD_BIT(FIELD_MPN), 1},
};

const int	n_view_kinds = sizeof(view_kinds) / sizeof(view_kinds[0]);

/* Limits of a view's share of rows that have a match: beyond them the labels tell more of themselves than of the supplier. */
#define LOWEST_SHARE 0.02
#define HIGHEST_SHARE 0.98

enum
{
	SALT_REMOVED = 1, SALT_FOLD
};

/* A hash that is the same everywhere and has nothing to do with the matcher's own: FNV-1a with the finaliser of splitmix64. */
uint64_t
fit_hash(MatchText text, uint64_t salt)
{
	uint64_t	h = UINT64_C(0xcbf29ce484222325) ^ (salt * UINT64_C(0x9e3779b97f4a7c15));
	size_t		i;

	for (i = 0; i < text.length; i++)
		h = (h ^ (unsigned char) text.data[i]) * UINT64_C(0x100000001b3);
	h = (h ^ (h >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	h = (h ^ (h >> 27)) * UINT64_C(0x94d049bb133111eb);
	return h ^ (h >> 31);
}

/* The same as a number from 0 up to, not including, 1. */
double
fit_chance(MatchText text, uint64_t salt)
{
	return (double) (fit_hash(text, salt) >> 11) * 0x1p-53;
}

const ViewKind *
view_kind(const char *name)
{
	int			i;

	for (i = 0; i < n_view_kinds; i++)
		if (strcmp(view_kinds[i].name, name) == 0)
			return &view_kinds[i];
	fail("there is no view \"%s\"", name);
}

/* Whether the view shows the set otherwise than others do. */
bool
view_applies(const LabelledSet *set, const ViewKind *kind)
{
	unsigned	has = set->sides[INCOMING].has | set->sides[EXISTING].has;

	if ((kind->dropped != 0 && !(has & kind->dropped)) || (has & kind->needed) != kind->needed)
		return false;
	return kind->keys == KEYS_AS_THEY_ARE || !(has & FIELD_BIT(kind->keys == KEYS_GTIN ? FIELD_GTIN : FIELD_SKU));
}

static MatchFields
fields_of(const MatchText texts[N_FIELDS], unsigned dropped)
{
	static const MatchText none = {NULL, 0};
	MatchFields fields;

#define KEPT(field) (dropped & FIELD_BIT(field) ? none : texts[field])
	fields.id = texts[FIELD_ID];
	fields.sku = KEPT(FIELD_SKU);
	fields.gtin = KEPT(FIELD_GTIN);
	fields.brand = KEPT(FIELD_BRAND);
	fields.mpn = KEPT(FIELD_MPN);
	fields.title = KEPT(FIELD_TITLE);
	fields.description = KEPT(FIELD_DESCRIPTION);
	fields.price = match_read_price(KEPT(FIELD_PRICE));
#undef KEPT
	return fields;
}

/* Fills in the items of the existing side.  Returns the new number of each old one, UINT32_MAX where it is taken out. */
static uint32_t *
fill_items(View *view, const SetSide *side, int number)
{
	uint32_t   *map = need(calloc((size_t) side->n + 1, sizeof(uint32_t)));
	uint32_t	i;

	for (i = 0; i < view->set->n_pairs; i++)
		map[view->set->pairs[i].of[number]] = 1;
	view->items = need(calloc((size_t) side->n + 1, sizeof(MatchFields)));
	for (i = 0; i < side->n; i++)
	{
		if (map[i] == 1 && fit_chance(side->items[i][FIELD_ID], SALT_REMOVED) < view->kind->removed)
		{
			map[i] = UINT32_MAX;
			continue;
		}
		map[i] = view->n_items;
		view->items[view->n_items++] = fields_of(side->items[i], view->kind->dropped);
	}
	return map;
}

/* Lists the true items of each row. */
static void
fill_pairs(View *view, const uint32_t *map, int rows, int items)
{
	const LabelledSet *set = view->set;
	uint32_t   *next;
	uint32_t	i;

	view->true_first = need(calloc((size_t) view->n_rows + 2, sizeof(uint32_t)));
	view->true_items = need(calloc((size_t) set->n_pairs + 1, sizeof(uint32_t)));
	for (i = 0; i < set->n_pairs; i++)
		if (map[set->pairs[i].of[items]] != UINT32_MAX)
			view->true_first[set->pairs[i].of[rows] + 1]++;
	for (i = 0; i < view->n_rows; i++)
	{
		view->n_matched += view->true_first[i + 1] > 0;
		view->true_first[i + 1] += view->true_first[i];
	}
	view->n_pairs = view->true_first[view->n_rows];
	next = need(malloc(((size_t) view->n_rows + 1) * sizeof(uint32_t)));
	memcpy(next, view->true_first, (size_t) view->n_rows * sizeof(uint32_t));
	for (i = 0; i < set->n_pairs; i++)
		if (map[set->pairs[i].of[items]] != UINT32_MAX)
			view->true_items[next[set->pairs[i].of[rows]]++] = map[set->pairs[i].of[items]];
	free(next);
}

/*
 * A row's fold is that of the incoming item; in a view from the other side, of its first match, so that no pair is in two folds.
 */
static void
fill_folds(View *view, int rows)
{
	const LabelledSet *set = view->set;
	uint32_t	i;

	view->folds = need(calloc((size_t) view->n_rows + 1, sizeof(int)));
	for (i = 0; i < view->n_rows; i++)
		view->folds[i] = (int) (fit_hash(view->rows[i].id, SALT_FOLD) % FOLDS);
	if (rows == INCOMING)
		return;
	for (i = set->n_pairs; i-- > 0;)
		view->folds[set->pairs[i].of[EXISTING]] =
			(int) (fit_hash(set->sides[INCOMING].items[set->pairs[i].of[INCOMING]][FIELD_ID], SALT_FOLD) % FOLDS);
}

/* Makes and indexes a view of a set; view_close() ends it. */
void
view_open(View *view, const LabelledSet *set, const ViewKind *kind)
{
	int			rows = kind->swapped ? EXISTING : INCOMING;
	int			items = kind->swapped ? INCOMING : EXISTING;
	const SetSide *side = &set->sides[rows];
	uint32_t   *map;
	uint32_t	i;

	memset(view, 0, sizeof(View));
	view->set = set;
	view->kind = kind;
	view->n_rows = side->n;
	view->rows = need(calloc((size_t) side->n + 1, sizeof(MatchFields)));
	for (i = 0; i < side->n; i++)
		view->rows[i] = fields_of(side->items[i], kind->dropped);
	map = fill_items(view, &set->sides[items], items);
	fill_pairs(view, map, rows, items);
	fill_folds(view, rows);
	free(map);
	if (kind->keys != KEYS_AS_THEY_ARE)
		view_make_keys(view);
	view_index(view);
}

/* Builds the view's index, in place of the one it may have. */
void
view_index(View *view)
{
	IndexBuilder *builder;
	BrandAliases aliases;
	uint32_t	i;

	if (!brand_aliases_build_shipped(&aliases))
		fail("out of memory");
	builder = need(mindex_begin(FIT_SEED, 0, &aliases));
	brand_aliases_free(&aliases);
	scratch_free(view->scratch);
	mindex_free(&view->index);
	for (i = 0; i < view->n_items; i++)
		if (!mindex_add(builder, &view->items[i]))
			fail("out of memory");
	if (!mindex_finish(builder, &view->index))
		fail("out of memory");
	view->scratch = need(scratch_create(&view->index));
}

void
view_close(View *view)
{
	scratch_free(view->scratch);
	mindex_free(&view->index);
	free(view->rows);
	free(view->items);
	free(view->folds);
	free(view->true_first);
	free(view->true_items);
	free(view->texts);
}

bool
view_is_true(const View *view, uint32_t row, uint32_t item)
{
	uint32_t	i;

	for (i = view->true_first[row]; i < view->true_first[row + 1]; i++)
		if (view->true_items[i] == item)
			return true;
	return false;
}

/*
 * Log odds of the share of the view's rows that have a match.  assign_estimate() finds the same from the rows themselves, and adds it to
 * all scores; so a score, and the model's bias, are for rows of which half have a match.
 */
double
view_offset(const View *view)
{
	double		share = view->n_rows == 0 ? 0.5 : (double) view->n_matched / view->n_rows;

	share = share < LOWEST_SHARE ? LOWEST_SHARE : share > HIGHEST_SHARE ? HIGHEST_SHARE : share;
	return log(share / (1 - share));
}

/* The candidates of a row, to be compared by features_compare() with match_query(view->scratch). */
int
view_candidates(View *view, uint32_t row, uint32_t candidates[MAX_CANDIDATES])
{
	item_prepare(&view->item, &view->rows[row], view->index.seed, &view->index.aliases, false);
	return match_candidates(&view->index, view->scratch, &view->item, candidates);
}
