/*
 * diff.h
 *	  What differs between two product documents, field by field, and how a field is named.  Plain C: no PostgreSQL.
 *
 * A document is a JSON object (docs/architecture.md §5).  Its caller lays it out as a tree of DiffValue; the kernel reads it, allocates
 * nothing, and hands each difference to a callback.  A tree that is not shaped like a document is refused, with the place.
 *
 * How fields are named
 *
 *		title								a field of the product: a name of [a-z][a-z0-9_]*
 *		metafields.custom.CWS_A				one metafield: its key is all that follows the first dot, whatever it contains
 *		attributes.seo_title				one attribute, likewise
 *		variants[CWS-1042]					a whole variant
 *		variants[CWS-1042].price			a field of a variant
 *		variants[CWS-1042].options.Color	one option of a variant; the key is all that follows, as above
 *		variants["A]B \"C\""].price			a SKU with one of " \ [ ] or a control character in it, or an empty one, is written as a
 *											JSON string, escaped as PostgreSQL's to_json(text) does it
 *
 * Every key has exactly one name, and diff_path_parse() takes back all that diff_path_format() writes.
 */
#ifndef CATALOG_DIFF_H
#define CATALOG_DIFF_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define DIFF_PATH_KEYS	4		/* variants, SKU, options, name */
#define DIFF_MAX_DEPTH	32		/* deepest nesting of a document, for whoever builds the tree */
#define DIFF_MAX_TAGS	1000	/* longer lists of tags are compared in their order */
#define DIFF_MAX_NAME	63		/* longest name of a field, in bytes */

typedef enum DiffType
{
	DIFF_NULL, DIFF_BOOLEAN, DIFF_NUMBER, DIFF_STRING, DIFF_ARRAY, DIFF_OBJECT
} DiffType;

typedef struct DiffText
{
	const char *data;
	size_t		length;
} DiffText;

typedef struct DiffValue
{
	DiffType	type;
	bool		boolean;
	DiffText	text;			/* a string's bytes; a number as [-]digits[.digits] */
	size_t		count;			/* elements of an array, members of an object */
	const DiffText *keys;		/* of an object, ascending by diff_key_compare(), each once */
	const struct DiffValue *items;	/* elements, or values beside their keys */
	const void *origin;			/* the caller's own; not looked at */
} DiffValue;

/* The keys that lead from a document to one of its fields. */
typedef struct DiffPath
{
	int			count;
	DiffText	keys[DIFF_PATH_KEYS];
} DiffPath;

typedef enum DiffResult
{
	DIFF_OK,
	DIFF_NOT_OBJECT,			/* the document, a map or a variant is something else */
	DIFF_BAD_NAME				/* a field's name is no [a-z][a-z0-9_]* of at most 63 bytes */
} DiffResult;

/* One difference.  old_value is NULL where the old document has nothing there. */
typedef void (*DiffCallback) (void *context, const DiffPath *path, const DiffValue *old_value, const DiffValue *new_value);

static inline bool
diff_text_is(DiffText text, const char *word)
{
	return text.length == strlen(word) && memcmp(text.data, word, text.length) == 0;
}

extern bool diff_is_name(DiffText text);
extern int	diff_key_compare(DiffText a, DiffText b);
extern const DiffValue *diff_member(const DiffValue *object, DiffText key);
extern bool diff_equal(const DiffValue *a, const DiffValue *b);
extern DiffResult diff_documents(const DiffValue *old_document, const DiffValue *new_document, DiffCallback callback, void *context,
								 DiffPath *wrong);
extern size_t diff_path_format(const DiffPath *path, char *out, size_t size);
extern bool diff_path_parse(const char *text, size_t length, DiffPath *path, char *scratch);

#endif
