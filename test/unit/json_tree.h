/*
 * json_tree.h
 *	  JSON as the tree that the kernels of documents read, for tests.  Numbers are given as strings that start with #, so that their digits
 *	  stay as they are written.
 */
#ifndef JSON_TREE_H
#define JSON_TREE_H

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/diff.h"

typedef struct Pair
{
	DiffText	key;
	json_t	   *value;
} Pair;

static int
by_key(const void *a, const void *b)
{
	return diff_key_compare(((const Pair *) a)->key, ((const Pair *) b)->key);
}

/* Lays out a value; its memory is the program's until the end of the test. */
static DiffValue
tree(json_t *json)
{
	DiffValue	value = {0};
	DiffValue  *items;
	DiffText   *keys;

	if (json_is_null(json))
		value.type = DIFF_NULL;
	else if (json_is_boolean(json))
	{
		value.type = DIFF_BOOLEAN;
		value.boolean = json_is_true(json);
	}
	else if (json_is_string(json))
	{
		value.type = DIFF_STRING;
		value.text.data = json_string_value(json);
		value.text.length = json_string_length(json);
		if (value.text.length > 0 && value.text.data[0] == '#')
		{
			value.type = DIFF_NUMBER;
			value.text.data++;
			value.text.length--;
		}
	}
	else
	{
		size_t		n = json_is_array(json) ? json_array_size(json) : json_object_size(json);

		value.type = json_is_array(json) ? DIFF_ARRAY : DIFF_OBJECT;
		value.count = n;
		value.items = items = calloc(n + 1, sizeof(DiffValue));
		value.keys = keys = calloc(n + 1, sizeof(DiffText));
		if (value.type == DIFF_ARRAY)
		{
			for (size_t i = 0; i < n; i++)
				items[i] = tree(json_array_get(json, i));
		}
		else
		{
			Pair	   *pairs = calloc(n + 1, sizeof(Pair));
			const char *key;
			json_t	   *member;
			size_t		i = 0;

			json_object_foreach(json, key, member)
			{
				pairs[i].key.data = key;
				pairs[i].key.length = strlen(key);
				pairs[i++].value = member;
			}
			qsort(pairs, n, sizeof(Pair), by_key);
			for (i = 0; i < n; i++)
			{
				keys[i] = pairs[i].key;
				items[i] = tree(pairs[i].value);
			}
			free(pairs);
		}
	}
	return value;
}

static void
free_tree(const DiffValue *value)
{
	for (size_t i = 0; i < value->count; i++)
		free_tree(&value->items[i]);
	free((void *) value->items);
	free((void *) value->keys);
}

#endif
