/*
 * keys.c
 *	  Keys made up for sets that have none: GTIN and SKU, right, missing, damaged and wrong as often as suppliers' are.
 *
 * No public set has GTINs on both sides.  Without such rows the weights of keys would be a guess, and the model would never have seen
 * one that lies.
 */
#include "fit.h"

#include <stdlib.h>
#include <string.h>

#define KEY_BYTES 24

/* Of the existing items with a match: what the keys of the two sides are. */
#define GTIN_BOTH 0.60			/* the same on both */
#define GTIN_EXISTING_ONLY 0.20
#define GTIN_INCOMING_ONLY 0.10

/* Of the incoming rows that share one: what has happened to it. */
#define GTIN_DAMAGED 0.15
#define GTIN_WRONG 0.10

#define GTIN_OTHERS 0.80		/* of the items and rows without a match, that have one of their own */
#define GTIN_OF_NEIGHBOUR 0.02	/* of the existing items, that carry the one of their most similar other */
#define UPC_SHARE 0.30			/* of the numbers, that begin with two zeros, which a spreadsheet loses */

#define SKU_EQUAL 0.50			/* of the rows with a match */
#define SKU_ACCIDENT 0.03		/* of the others */
#define SKU_SHORT 0.30			/* of the existing items, whose SKU is four digits */

enum
{
	SALT_GTIN = 16, SALT_GTIN_ROW, SALT_STATE, SALT_DAMAGE, SALT_WRONG, SALT_HAS, SALT_NEIGHBOUR, SALT_UPC, SALT_SKU, SALT_SKU_ROW,
	SALT_SKU_STATE, SALT_SKU_SHORT, SALT_RETRY = 1000
};

/* A valid GTIN-13 that follows from an item's id. */
static void
make_gtin(MatchText id, uint64_t salt, char *text)
{
	uint64_t	retry;
	uint64_t	gtin;
	int			i;

	for (retry = 0;; retry++)
	{
		uint64_t	number = fit_hash(id, salt + retry * SALT_RETRY) % UINT64_C(1000000000000);
		unsigned	sum = 0;

		if (fit_chance(id, salt + SALT_UPC) < UPC_SHARE)
			number %= UINT64_C(10000000000);
		snprintf(text, KEY_BYTES, "%012llu", (unsigned long long) number);
		for (i = 0; i < 12; i++)
			sum += (unsigned) (text[i] - '0') * (i % 2 == 0 ? 1 : 3);
		text[12] = (char) ('0' + (10 - sum % 10) % 10);
		text[13] = '\0';
		if (gtin_parse(text, 13, &gtin))
			return;
	}
}

/* Does to a GTIN what a spreadsheet does that takes it for a number. */
static void
damage_gtin(char *text)
{
	uint64_t	value = strtoull(text, NULL, 10);

	if (value < UINT64_C(100000000000))
		snprintf(text, KEY_BYTES, "%llu", (unsigned long long) value);
	else
		snprintf(text, KEY_BYTES, "%.5E", (double) value);
}

/* Puts a wrong GTIN in place of a right one: mistyped, mistyped with a check digit that fits, or that of another existing item. */
static void
spoil_gtin(const View *view, uint32_t row, char *text, const char *items)
{
	uint64_t	h = fit_hash(view->rows[row].id, SALT_WRONG);
	int			at = 3 + (int) (h / 3 % 9);

	if (h % 3 == 0)
		text[at] = (char) ('0' + (text[at] - '0' + 1) % 10);
	else if (h % 3 == 1)
		make_gtin(view->rows[row].id, SALT_WRONG, text);
	else
		memcpy(text, items + (size_t) (h / 27 % view->n_items) * KEY_BYTES, KEY_BYTES);
}

/* Marks the items that are a row's match, by the row + 1. */
static uint32_t *
rows_of_items(const View *view)
{
	uint32_t   *rows = need(calloc((size_t) view->n_items + 1, sizeof(uint32_t)));
	uint32_t	i;
	uint32_t	j;

	for (i = 0; i < view->n_rows; i++)
		for (j = view->true_first[i]; j < view->true_first[i + 1]; j++)
			if (rows[view->true_items[j]] == 0)
				rows[view->true_items[j]] = i + 1;
	return rows;
}

static void
set_text(MatchText *text, const char *key, bool has)
{
	text->data = has ? key : NULL;
	text->length = has ? strlen(key) : 0;
}

/* GTINs of the rows; true_gtins are those of the items before anything happened to them. */
static void
give_rows_gtins(View *view, char *rows, char *items, const char *true_gtins)
{
	uint32_t	i;

	for (i = 0; i < view->n_rows; i++)
	{
		MatchText	id = view->rows[i].id;
		char	   *text = rows + (size_t) i * KEY_BYTES;
		double		damage = fit_chance(id, SALT_DAMAGE);
		uint32_t	item;
		double		state;

		make_gtin(id, SALT_GTIN_ROW, text);
		if (view->true_first[i] == view->true_first[i + 1])
		{
			set_text(&view->rows[i].gtin, text, fit_chance(id, SALT_HAS) < GTIN_OTHERS);
			continue;
		}
		item = view->true_items[view->true_first[i]];
		state = fit_chance(view->items[item].id, SALT_STATE);
		if (state < GTIN_BOTH)
		{
			memcpy(text, true_gtins + (size_t) item * KEY_BYTES, KEY_BYTES);
			if (damage < GTIN_DAMAGED / 2)
				damage_gtin(text);
			else if (damage < GTIN_DAMAGED)
				damage_gtin(items + (size_t) item * KEY_BYTES);
			else if (damage < GTIN_DAMAGED + GTIN_WRONG)
				spoil_gtin(view, i, text, true_gtins);
		}
		set_text(&view->rows[i].gtin, text, state < GTIN_BOTH ||
				 (state >= GTIN_BOTH + GTIN_EXISTING_ONLY && state < GTIN_BOTH + GTIN_EXISTING_ONLY + GTIN_INCOMING_ONLY));
	}
}

/* Gives some existing items the GTIN of the other that is most like them. */
static void
mix_up_gtins(View *view, char *items, const char *true_gtins)
{
	uint32_t	i;

	view_index(view);
	for (i = 0; i < view->n_items; i++)
	{
		uint32_t	candidates[MAX_CANDIDATES];
		int			n;
		int			k;

		if (fit_chance(view->items[i].id, SALT_NEIGHBOUR) >= GTIN_OF_NEIGHBOUR)
			continue;
		item_prepare(&view->item, &view->items[i], view->index.seed, &view->index.aliases, false);
		n = match_candidates(&view->index, view->scratch, &view->item, candidates);
		for (k = 0; k < n && candidates[k] == i; k++)
			;
		if (k == n)
			continue;
		memcpy(items + (size_t) i * KEY_BYTES, true_gtins + (size_t) candidates[k] * KEY_BYTES, KEY_BYTES);
		set_text(&view->items[i].gtin, items + (size_t) i * KEY_BYTES, true);
	}
}

static void
make_gtins(View *view, char *rows, char *items)
{
	size_t		size = ((size_t) view->n_items + 1) * KEY_BYTES;
	char	   *true_gtins = need(malloc(size));
	uint32_t   *matched = rows_of_items(view);
	uint32_t	i;

	for (i = 0; i < view->n_items; i++)
		make_gtin(view->items[i].id, SALT_GTIN, items + (size_t) i * KEY_BYTES);
	memcpy(true_gtins, items, size);
	mix_up_gtins(view, items, true_gtins);
	for (i = 0; i < view->n_items; i++)
	{
		double		chance = fit_chance(view->items[i].id, matched[i] != 0 ? SALT_STATE : SALT_HAS);

		if (view->items[i].gtin.data == NULL)
			set_text(&view->items[i].gtin, items + (size_t) i * KEY_BYTES,
					 chance < (matched[i] != 0 ? GTIN_BOTH + GTIN_EXISTING_ONLY : GTIN_OTHERS));
	}
	give_rows_gtins(view, rows, items, true_gtins);
	/* Damage has changed lengths. */
	for (i = 0; i < view->n_items; i++)
		set_text(&view->items[i].gtin, items + (size_t) i * KEY_BYTES, view->items[i].gtin.data != NULL);
	free(true_gtins);
	free(matched);
}

static void
make_sku(MatchText id, uint64_t salt, bool is_short, char *text)
{
	uint64_t	h = fit_hash(id, salt);

	if (is_short)
		snprintf(text, KEY_BYTES, "%04u", (unsigned) (h % 9000 + 1000));
	else
		snprintf(text, KEY_BYTES, "%c%c-%07u", (char) ('A' + h % 26), (char) ('A' + h / 26 % 26), (unsigned) (h / 676 % 10000000));
}

static void
make_skus(View *view, char *rows, char *items)
{
	uint32_t	i;

	for (i = 0; i < view->n_items; i++)
	{
		make_sku(view->items[i].id, SALT_SKU, fit_chance(view->items[i].id, SALT_SKU_SHORT) < SKU_SHORT, items + (size_t) i * KEY_BYTES);
		set_text(&view->items[i].sku, items + (size_t) i * KEY_BYTES, true);
	}
	for (i = 0; i < view->n_rows; i++)
	{
		MatchText	id = view->rows[i].id;
		char	   *text = rows + (size_t) i * KEY_BYTES;
		bool		matched = view->true_first[i] < view->true_first[i + 1];
		double		state = fit_chance(id, SALT_SKU_STATE);
		uint32_t	item = UINT32_MAX;
		uint32_t	tries;

		make_sku(id, SALT_SKU_ROW, false, text);
		if (matched && state < SKU_EQUAL)
			item = view->true_items[view->true_first[i]];
		else if (state >= 1 - SKU_ACCIDENT)
			for (tries = 0; tries < 100 && (item == UINT32_MAX || view->items[item].sku.length > 4); tries++)
				item = (uint32_t) (fit_hash(id, SALT_SKU_ROW + (tries + 1) * SALT_RETRY) % view->n_items);
		if (item != UINT32_MAX)
			memcpy(text, items + (size_t) item * KEY_BYTES, KEY_BYTES);
		set_text(&view->rows[i].sku, text, true);
	}
}

/* Gives the view's rows and items the keys of its kind. */
void
view_make_keys(View *view)
{
	char	   *items;

	view->texts = need(calloc((size_t) view->n_rows + view->n_items + 1, KEY_BYTES));
	items = view->texts + (size_t) view->n_rows * KEY_BYTES;
	if (view->n_items == 0)
		return;
	if (view->kind->keys == KEYS_GTIN)
		make_gtins(view, view->texts, items);
	else
		make_skus(view, view->texts, items);
}
