/*
 * diff.c
 *	  What differs between two product documents.  See diff.h for documents and for how fields are named.
 *
 * The new document speaks for a source that knows only part of a product, so a key that it does not mention says nothing.  Maps
 * (metafields, attributes, variants, and a variant's options and attributes) are compared key by key, everything else as a whole:
 *
 *		text		exactly, byte by byte
 *		numbers		by value: 12.5 is 12.50
 *		tags		as a set: shops keep them in an order of their own
 *		images		as a list in its order; of each image, the keys that the new one mentions
 *		null		is no value, the same as a key that is not there
 */
#include "diff.h"

typedef struct DiffRun
{
	DiffCallback callback;
	void	   *context;
	DiffPath	path;
	DiffResult	result;
} DiffRun;

static bool
text_equal(DiffText a, DiffText b)
{
	return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

/* Order of an object's keys: shorter first, then by bytes, which is how jsonb keeps them. */
int
diff_key_compare(DiffText a, DiffText b)
{
	if (a.length != b.length)
		return a.length < b.length ? -1 : 1;
	return memcmp(a.data, b.data, a.length);
}

/* The member of this key, or NULL where there is none or its value is null. */
const DiffValue *
diff_member(const DiffValue *object, DiffText key)
{
	size_t		low = 0;
	size_t		high = object == NULL ? 0 : object->count;

	while (low < high)
	{
		size_t		middle = low + (high - low) / 2;
		int			order = diff_key_compare(object->keys[middle], key);

		if (order == 0)
			return object->items[middle].type == DIFF_NULL ? NULL : &object->items[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* A number's digits without leading and trailing zeros: whole before the point, fraction after it. */
static void
number_parts(DiffText number, bool *negative, DiffText *whole, DiffText *fraction)
{
	const char *end = number.data + number.length;
	const char *at = number.data;
	const char *point;

	*negative = at < end && *at == '-';
	if (*negative)
		at++;
	while (at < end && *at == '0')
		at++;
	point = at;
	while (point < end && *point != '.')
		point++;
	if (point < end)
	{
		while (end > point + 1 && end[-1] == '0')
			end--;
		if (end == point + 1)
			end = point;
	}
	whole->data = at;
	whole->length = (size_t) ((point < end ? point : end) - at);
	fraction->data = point < end ? point + 1 : end;
	fraction->length = point < end ? (size_t) (end - point - 1) : 0;
}

static bool
number_equal(DiffText a, DiffText b)
{
	bool		a_negative;
	bool		b_negative;
	DiffText	a_whole;
	DiffText	b_whole;
	DiffText	a_fraction;
	DiffText	b_fraction;

	number_parts(a, &a_negative, &a_whole, &a_fraction);
	number_parts(b, &b_negative, &b_whole, &b_fraction);
	if (!text_equal(a_whole, b_whole) || !text_equal(a_fraction, b_fraction))
		return false;
	return a_negative == b_negative || a_whole.length + a_fraction.length == 0;
}

/* Whether two values are the same as a whole. */
bool
diff_equal(const DiffValue *a, const DiffValue *b)
{
	if (a->type != b->type)
		return false;
	switch (a->type)
	{
		case DIFF_NULL:
			return true;
		case DIFF_BOOLEAN:
			return a->boolean == b->boolean;
		case DIFF_NUMBER:
			return number_equal(a->text, b->text);
		case DIFF_STRING:
			return text_equal(a->text, b->text);
		case DIFF_ARRAY:
		case DIFF_OBJECT:
			break;
	}
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
	{
		if (a->type == DIFF_OBJECT && !text_equal(a->keys[i], b->keys[i]))
			return false;
		if (!diff_equal(&a->items[i], &b->items[i]))
			return false;
	}
	return true;
}

static bool
contains(const DiffValue *list, const DiffValue *item)
{
	for (size_t i = 0; i < list->count; i++)
		if (diff_equal(&list->items[i], item))
			return true;
	return false;
}

static bool
tags_equal(const DiffValue *a, const DiffValue *b)
{
	if (diff_equal(a, b))
		return true;
	if (a->type != DIFF_ARRAY || b->type != DIFF_ARRAY || a->count > DIFF_MAX_TAGS || b->count > DIFF_MAX_TAGS)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (!contains(b, &a->items[i]))
			return false;
	for (size_t i = 0; i < b->count; i++)
		if (!contains(a, &b->items[i]))
			return false;
	return true;
}

/* Whether old has all that new mentions. */
static bool
image_equal(const DiffValue *old_image, const DiffValue *new_image)
{
	if (old_image->type != DIFF_OBJECT || new_image->type != DIFF_OBJECT)
		return diff_equal(old_image, new_image);
	for (size_t i = 0; i < new_image->count; i++)
	{
		const DiffValue *old_value = diff_member(old_image, new_image->keys[i]);
		const DiffValue *new_value = &new_image->items[i];

		if (old_value == NULL ? new_value->type != DIFF_NULL : !diff_equal(old_value, new_value))
			return false;
	}
	return true;
}

static bool
images_equal(const DiffValue *old_images, const DiffValue *new_images)
{
	if (old_images->type != DIFF_ARRAY || new_images->type != DIFF_ARRAY || old_images->count != new_images->count)
		return diff_equal(old_images, new_images);
	for (size_t i = 0; i < new_images->count; i++)
		if (!image_equal(&old_images->items[i], &new_images->items[i]))
			return false;
	return true;
}

/* A list without elements is no value. */
static bool
is_nothing(const DiffValue *value)
{
	return value == NULL || value->type == DIFF_NULL || (value->type == DIFF_ARRAY && value->count == 0);
}

/* Compares one field, whose name is the last key of run->path. */
static void
diff_leaf(DiffRun *run, const DiffValue *old_value, const DiffValue *new_value)
{
	DiffText	name = run->path.keys[0];
	bool		equal;

	if (is_nothing(old_value) || is_nothing(new_value))
		equal = is_nothing(old_value) && is_nothing(new_value);
	else if (run->path.count == 1 && diff_text_is(name, "tags"))
		equal = tags_equal(old_value, new_value);
	else if (run->path.count == 1 && diff_text_is(name, "images"))
		equal = images_equal(old_value, new_value);
	else
		equal = diff_equal(old_value, new_value);
	if (!equal)
		run->callback(run->context, &run->path, old_value, new_value);
}

/* Notes that the tree is wrong at run->path; false, so that callers can return it. */
static bool
refuse(DiffRun *run, DiffResult result)
{
	run->result = result;
	return false;
}

/* Compares two maps below run->path key by key.  False when new is no map, or old neither a map nor missing. */
static bool
diff_map(DiffRun *run, const DiffValue *old_map, const DiffValue *new_map)
{
	int			depth = run->path.count;

	if (new_map->type != DIFF_OBJECT || (old_map != NULL && old_map->type != DIFF_OBJECT))
		return refuse(run, DIFF_NOT_OBJECT);
	run->path.count = depth + 1;
	for (size_t i = 0; i < new_map->count; i++)
	{
		run->path.keys[depth] = new_map->keys[i];
		diff_leaf(run, diff_member(old_map, new_map->keys[i]), &new_map->items[i]);
	}
	run->path.count = depth;
	return true;
}

/* Compares the variant that run->path names; one that old does not have is a difference as a whole. */
static bool
diff_variant(DiffRun *run, const DiffValue *old_variant, const DiffValue *new_variant)
{
	int			depth = run->path.count;

	if (new_variant->type == DIFF_NULL)
		return true;
	if (new_variant->type != DIFF_OBJECT || (old_variant != NULL && old_variant->type != DIFF_OBJECT))
		return refuse(run, DIFF_NOT_OBJECT);
	if (old_variant == NULL)
		run->callback(run->context, &run->path, NULL, new_variant);
	for (size_t i = 0; i < new_variant->count; i++)
	{
		DiffText	name = new_variant->keys[i];
		const DiffValue *value = &new_variant->items[i];
		bool		map = diff_text_is(name, "options") || diff_text_is(name, "attributes");

		run->path.keys[depth] = name;
		run->path.count = depth + 1;
		if (!diff_is_name(name))
			return refuse(run, DIFF_BAD_NAME);
		if (map && value->type != DIFF_NULL && value->type != DIFF_OBJECT)
			return refuse(run, DIFF_NOT_OBJECT);
		if (old_variant == NULL || (map && value->type == DIFF_NULL))
			continue;
		if (!map)
			diff_leaf(run, diff_member(old_variant, name), value);
		else if (!diff_map(run, diff_member(old_variant, name), value))
			return false;
	}
	run->path.count = depth;
	return true;
}

static bool
diff_variants(DiffRun *run, const DiffValue *old_variants, const DiffValue *new_variants)
{
	if (new_variants->type != DIFF_OBJECT || (old_variants != NULL && old_variants->type != DIFF_OBJECT))
		return refuse(run, DIFF_NOT_OBJECT);
	for (size_t i = 0; i < new_variants->count; i++)
	{
		run->path.keys[1] = new_variants->keys[i];
		run->path.count = 2;
		if (!diff_variant(run, diff_member(old_variants, new_variants->keys[i]), &new_variants->items[i]))
			return false;
	}
	return true;
}

/*
 * Calls callback for each field at which new_document differs from old_document, in the order of the keys.  Where one of them is not
 * shaped like a document, returns why and sets *wrong to the place; differences before it have been called.
 */
DiffResult
diff_documents(const DiffValue *old_document, const DiffValue *new_document, DiffCallback callback, void *context, DiffPath *wrong)
{
	DiffRun		run = {.callback = callback,.context = context,.result = DIFF_OK};

	if (old_document->type != DIFF_OBJECT || new_document->type != DIFF_OBJECT)
		run.result = DIFF_NOT_OBJECT;
	for (size_t i = 0; i < new_document->count && run.result == DIFF_OK; i++)
	{
		DiffText	name = new_document->keys[i];
		const DiffValue *old_value = diff_member(old_document, name);
		const DiffValue *new_value = &new_document->items[i];
		bool		variants = diff_text_is(name, "variants");

		run.path.count = 1;
		run.path.keys[0] = name;
		if (!diff_is_name(name))
			run.result = DIFF_BAD_NAME;
		else if (!variants && !diff_text_is(name, "metafields") && !diff_text_is(name, "attributes"))
			diff_leaf(&run, old_value, new_value);
		else if (new_value->type == DIFF_NULL)
			continue;
		else if (variants)
			diff_variants(&run, old_value, new_value);
		else
			diff_map(&run, old_value, new_value);
	}
	if (run.result != DIFF_OK)
		*wrong = run.path;
	return run.result;
}
