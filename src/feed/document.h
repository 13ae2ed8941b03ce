/*
 * document.h
 *	  Writes jsonb directly in its stored form.
 *
 * The general way (JsonbValue trees, sorting of keys, conversion) costs more than all other work on a record of a feed.  Here the keys of
 * an object come sorted, for the header is known, and values go straight to their place.
 */
#ifndef FEED_DOCUMENT_H
#define FEED_DOCUMENT_H

#include "postgres.h"
#include "utils/numeric.h"

typedef enum DocumentKind
{
	DOCUMENT_TEXT,
	DOCUMENT_NUMBER,
	DOCUMENT_BOOLEAN,
	DOCUMENT_LIST,				/* its elements are texts */
	DOCUMENT_OBJECT
} DocumentKind;

typedef struct DocumentNode
{
	const char *key;			/* NULL for an element of a list */
	int			key_len;
	DocumentKind kind;
	const char *text;
	size_t		text_len;
	Numeric		number;
	bool		boolean;
	struct DocumentNode *children;	/* of an object sorted by feed_key_compare(), without duplicates */
	int			nchildren;
} DocumentNode;

extern struct varlena *document_to_jsonb(const DocumentNode *object);

#endif
