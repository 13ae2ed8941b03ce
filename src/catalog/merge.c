/*
 * merge.c
 *	  Where a product of the catalogue, the same product in a shop, and what both last agreed on differ.  See merge.h.
 *
 * Documents are walked together in the order of their keys, so the time is in proportion to their size.  A field is changed on a side
 * when it is not the same as what was agreed on for that side.  Without a base nothing was ever agreed: what differs has then changed on
 * both sides, and what is the same converged.
 *
 * A variant that only one side has is reported as a whole: new on that side where the base does not have it, else removed on the other.
 */
#include "catalog/merge.h"

typedef struct MergeRun
{
	MergeCallback callback;
	void	   *context;
	DiffPath	path;
	DiffResult	result;
} MergeRun;

typedef struct MergeField
{
	const char *name;
	MergeKind	kind;
} MergeField;

/* In the order of diff_key_compare(), as rows come. */
static const MergeField product_fields[] = {
	{"tags", MERGE_TAGS}, {"type", MERGE_TEXT}, {"title", MERGE_TEXT}, {"handle", MERGE_EXACT}, {"images", MERGE_IMAGES},
	{"status", MERGE_STATUS}, {"vendor", MERGE_TEXT}, {"description", MERGE_HTML}
};

static const MergeField attribute_fields[] = {
	{"seo_title", MERGE_TEXT}, {"seo_description", MERGE_TEXT}
};

static const MergeField variant_fields[] = {
	{"cost", MERGE_MONEY}, {"price", MERGE_MONEY}, {"weight", MERGE_WEIGHT}, {"barcode", MERGE_TEXT}, {"compare_at_price", MERGE_MONEY}
};

#define lengthof(array) (sizeof(array) / sizeof((array)[0]))

#define SIDES	4

const char *
merge_status_name(MergeStatus status)
{
	static const char *const names[] = {"converged", "shop", "local", "both", "drift"};

	return names[status];
}

static DiffText
text_of(const char *word)
{
	return (DiffText) {word, strlen(word)};
}

/* How values of this field compare: the name of a product's field, of a variant's, or of the map that it is in. */
MergeKind
merge_kind(DiffText field, bool variant)
{
	for (size_t i = 0; i < lengthof(variant_fields); i++)
		if (diff_text_is(field, variant_fields[i].name))
			return variant_fields[i].kind;
	for (size_t i = 0; i < lengthof(product_fields) && !variant; i++)
		if (diff_text_is(field, product_fields[i].name))
			return product_fields[i].kind;
	if (diff_text_is(field, "options") || diff_text_is(field, "attributes") || diff_text_is(field, "currency"))
		return MERGE_TEXT;
	return diff_text_is(field, "metafields") ? MERGE_JSON : MERGE_NUMBER;
}

/*
 * The same of a path or a bare name of a field: price, options.Color, variants[SKU].price, variants[SKU].stock[123].  scratch has room
 * for length bytes.
 */
MergeKind
merge_kind_of_path(const char *text, size_t length, char *scratch)
{
	DiffPath	path;
	const char *dot = memchr(text, '.', length);
	DiffText	name = {text, dot == NULL ? length : (size_t) (dot - text)};

	if (!diff_path_parse(text, length, &path, scratch))
		return merge_kind(name, false);
	if (!diff_text_is(path.keys[0], "variants"))
		return merge_kind(path.keys[0], false);
	return path.count == 2 ? MERGE_VARIANT : merge_kind(path.keys[2], true);
}

/* What each side has under a key. */
static MergeSides
sides_member(const MergeSides *sides, DiffText key)
{
	return (MergeSides) {
		diff_member(sides->base, key), diff_member(sides->base_local, key), diff_member(sides->local, key), diff_member(sides->shop, key)
	};
}

static void
report(MergeRun *run, const MergeSides *sides, MergeStatus status)
{
	MergeSides	shown = *sides;

	shown.base_local = NULL;
	run->callback(run->context, &run->path, &shown, status);
}

/* Compares one field, which run->path names. */
static void
merge_leaf(MergeRun *run, MergeKind kind, const MergeSides *sides, bool agreed)
{
	bool		same = merge_equal(kind, sides->local, sides->shop);
	bool		local_changed;
	bool		shop_changed;

	if (!agreed)
	{
		if (!same)
			report(run, sides, MERGE_BOTH);
		else if (!merge_equal(kind, sides->shop, NULL))
			report(run, sides, MERGE_CONVERGED);
		return;
	}
	local_changed = !merge_equal(kind, sides->local, sides->base_local != NULL ? sides->base_local : sides->base);
	shop_changed = !merge_equal(kind, sides->shop, sides->base);
	if (!local_changed && !shop_changed)
	{
		if (!same && sides->base_local == NULL)
			report(run, sides, MERGE_DRIFT);
	}
	else if (same)
		report(run, sides, MERGE_CONVERGED);
	else
		report(run, sides, local_changed && shop_changed ? MERGE_BOTH : local_changed ? MERGE_LOCAL : MERGE_SHOP);
}

/* Compares fields of these names below run->path. */
static void
merge_fields(MergeRun *run, const MergeField *fields, size_t count, const MergeSides *sides, bool agreed)
{
	int			depth = run->path.count;

	run->path.count = depth + 1;
	for (size_t i = 0; i < count; i++)
	{
		MergeSides	values = sides_member(sides, text_of(fields[i].name));

		run->path.keys[depth] = text_of(fields[i].name);
		merge_leaf(run, fields[i].kind, &values, agreed);
	}
	run->path.count = depth;
}

/* Finds what each side has of the map under this name.  False where one has something else there. */
static bool
find_maps(MergeRun *run, const char *name, const MergeSides *sides, MergeSides *maps)
{
	const DiffValue *found[SIDES];

	run->path.keys[run->path.count] = text_of(name);
	*maps = sides_member(sides, text_of(name));
	found[0] = maps->base;
	found[1] = maps->base_local;
	found[2] = maps->local;
	found[3] = maps->shop;
	for (int i = 0; i < SIDES; i++)
	{
		if (found[i] != NULL && found[i]->type != DIFF_OBJECT)
		{
			run->path.count++;
			run->result = DIFF_NOT_OBJECT;
			return false;
		}
	}
	return true;
}

/* The keys of several maps in their order, each once. */
typedef struct KeyWalk
{
	const DiffValue *maps[SIDES - 1];
	size_t		at[SIDES - 1];
} KeyWalk;

static KeyWalk
walk_keys(const MergeSides *maps)
{
	return (KeyWalk) {{maps->base, maps->local, maps->shop}, {0}};
}

static bool
next_key(KeyWalk *walk, DiffText *key)
{
	bool		found = false;

	for (int i = 0; i < SIDES - 1; i++)
	{
		const DiffValue *map = walk->maps[i];

		if (map != NULL && walk->at[i] < map->count && (!found || diff_key_compare(map->keys[walk->at[i]], *key) < 0))
		{
			*key = map->keys[walk->at[i]];
			found = true;
		}
	}
	for (int i = 0; i < SIDES - 1 && found; i++)
	{
		const DiffValue *map = walk->maps[i];

		if (map != NULL && walk->at[i] < map->count && diff_key_compare(map->keys[walk->at[i]], *key) == 0)
			walk->at[i]++;
	}
	return found;
}

/* Compares maps of free keys: metafields, options. */
static bool
merge_map(MergeRun *run, const char *name, MergeKind kind, const MergeSides *sides, bool agreed)
{
	int			depth = run->path.count;
	MergeSides	maps;
	KeyWalk		walk;
	DiffText	key;

	if (!find_maps(run, name, sides, &maps))
		return false;
	walk = walk_keys(&maps);
	run->path.count = depth + 2;
	while (next_key(&walk, &key))
	{
		MergeSides	values = sides_member(&maps, key);

		run->path.keys[depth + 1] = key;
		merge_leaf(run, kind, &values, agreed);
	}
	run->path.count = depth;
	return true;
}

/* A variant's currency: not ours to change, but prices in different ones do not compare, which a person has to know. */
static void
merge_currency(MergeRun *run, const MergeSides *sides, bool agreed)
{
	MergeSides	values = sides_member(sides, text_of("currency"));

	if (values.local == NULL || values.shop == NULL || merge_equal(MERGE_TEXT, values.local, values.shop) ||
		diff_member(sides->local, text_of("price")) == NULL || diff_member(sides->shop, text_of("price")) == NULL)
		return;
	run->path.keys[run->path.count++] = text_of("currency");
	merge_leaf(run, MERGE_TEXT, &values, agreed);
	run->path.count--;
}

/* Compares a variant that both sides have. */
static bool
merge_variant(MergeRun *run, const MergeSides *sides, bool agreed)
{
	merge_fields(run, variant_fields, lengthof(variant_fields), sides, agreed);
	merge_currency(run, sides, agreed);
	return merge_map(run, "options", MERGE_TEXT, sides, agreed);
}

static void
note_any(void *context, const DiffPath *path, const MergeSides *sides, MergeStatus status)
{
	(void) path;
	(void) sides;
	(void) status;
	*(bool *) context = true;
}

/* Whether these two variants, of which the first was agreed on, differ; base_local as in MergeSides. */
static bool
variant_changed(const DiffValue *agreed, const DiffValue *agreed_local, const DiffValue *present)
{
	bool		changed = false;
	MergeRun	run = {.callback = note_any,.context = &changed,.result = DIFF_OK};
	MergeSides	sides = {agreed, agreed_local, present, agreed};

	run.path.count = 2;
	merge_variant(&run, &sides, true);
	return changed || run.result != DIFF_OK;
}

/* Whether two variants are the same in all that a shop knows. */
bool
merge_variants_equal(const DiffValue *a, const DiffValue *b)
{
	if (a->type != DIFF_OBJECT || b->type != DIFF_OBJECT)
		return diff_equal(a, b);
	return !variant_changed(a, NULL, b);
}

/* Reports a variant that not both sides have. */
static void
merge_whole_variant(MergeRun *run, const MergeSides *sides)
{
	if (sides->base == NULL)
		report(run, sides, sides->local == NULL ? MERGE_SHOP : MERGE_LOCAL);
	else if (sides->local == NULL && sides->shop == NULL)
		report(run, sides, MERGE_CONVERGED);
	else if (sides->shop == NULL)
		report(run, sides, variant_changed(sides->base, sides->base_local, sides->local) ? MERGE_BOTH : MERGE_SHOP);
	else
		report(run, sides, variant_changed(sides->base, NULL, sides->shop) ? MERGE_BOTH : MERGE_LOCAL);
}

static bool
merge_variants(MergeRun *run, const MergeSides *documents)
{
	MergeSides	maps;
	KeyWalk		walk;
	DiffText	key;

	if (!find_maps(run, "variants", documents, &maps))
		return false;
	walk = walk_keys(&maps);
	while (next_key(&walk, &key))
	{
		MergeSides	variants = sides_member(&maps, key);
		const DiffValue *all[] = {variants.base, variants.base_local, variants.local, variants.shop};

		run->path.keys[1] = key;
		run->path.count = 2;
		for (int i = 0; i < SIDES; i++)
		{
			if (all[i] != NULL && all[i]->type != DIFF_OBJECT)
			{
				run->result = DIFF_NOT_OBJECT;
				return false;
			}
		}
		if (variants.local != NULL && variants.shop != NULL)
		{
			if (!merge_variant(run, &variants, variants.base != NULL))
				return false;
		}
		else if (variants.base != NULL || variants.local != NULL || variants.shop != NULL)
			merge_whole_variant(run, &variants);
	}
	run->path.count = 0;
	return true;
}

/*
 * Calls callback for each field that is not agreed on.  Local and shop are documents, base and base_local may be NULL.  Where one of
 * them is not shaped like a document, returns why and sets *wrong to the place; rows before it have been called.
 */
DiffResult
merge_documents(const MergeSides *documents, MergeCallback callback, void *context, DiffPath *wrong)
{
	MergeRun	run = {.callback = callback,.context = context,.result = DIFF_OK};
	bool		agreed = documents->base != NULL;
	MergeSides	attributes;

	*wrong = run.path;
	if (documents->local->type != DIFF_OBJECT || documents->shop->type != DIFF_OBJECT ||
		(agreed && documents->base->type != DIFF_OBJECT) || (documents->base_local != NULL && documents->base_local->type != DIFF_OBJECT))
		return DIFF_NOT_OBJECT;
	merge_fields(&run, product_fields, lengthof(product_fields), documents, agreed);
	if (find_maps(&run, "attributes", documents, &attributes))
	{
		run.path.count = 1;
		merge_fields(&run, attribute_fields, lengthof(attribute_fields), &attributes, agreed);
		run.path.count = 0;
		if (merge_map(&run, "metafields", MERGE_JSON, documents, agreed))
			merge_variants(&run, documents);
	}
	*wrong = run.path;
	return run.result;
}
