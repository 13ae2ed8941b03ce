/*
 * profile.h
 *	  How the columns of a feed become the fields of a document: a feed profile applied to a header.
 *
 * A target (product.title, variant.options.1.value ...) that the header gives is a slot.  Several columns may have the same target, by
 * alias or because the header repeats itself: the first that is not empty in a record fills the slot.  Columns that the profile does not
 * know have no slot and are ignored.
 */
#ifndef FEED_PROFILE_H
#define FEED_PROFILE_H

#include "postgres.h"

#define FEED_OPTIONS	3		/* options of a variant, as in Shopify */

typedef enum FeedLevel
{
	FEED_PRODUCT,
	FEED_VARIANT,
	FEED_IMAGE
} FeedLevel;

#define FEED_LEVELS		(FEED_IMAGE + 1)

typedef enum FeedTransform
{
	FEED_TEXT,					/* gtin and html too: kept as they come, without outer blanks */
	FEED_NUMBER,
	FEED_INTEGER,
	FEED_BOOLEAN,
	FEED_LIST,
	FEED_URL,
	FEED_STATUS
} FeedTransform;

/* Where in its level's document a slot goes. */
typedef enum FeedPlace
{
	FEED_TOP,
	FEED_METAFIELDS,
	FEED_ATTRIBUTES,
	FEED_OPTION_NAME,
	FEED_OPTION_VALUE
} FeedPlace;

#define FEED_NESTED		(FEED_ATTRIBUTES + 1)

typedef struct FeedSlot
{
	const char *target;
	FeedLevel	level;
	FeedPlace	place;
	int			option;			/* from 0, for FEED_OPTION_* */
	const char *name;			/* the key in the document */
	int			name_len;
} FeedSlot;

typedef struct FeedColumn
{
	const char *header;
	int			slot;			/* -1: not in the profile */
	FeedTransform transform;
} FeedColumn;

/* The slots of one object of a document, in the order in which jsonb keeps keys. */
typedef struct FeedObject
{
	int			nslots;
	int		   *slots;
} FeedObject;

typedef struct FeedProfile
{
	const char *name;
	char		delimiter;
	const char *encoding;		/* auto, utf-8, windows-1252 */
	int			ncolumns;
	int			named_columns;	/* less the nameless ones at the end */
	FeedColumn *columns;
	int			nslots;
	FeedSlot   *slots;
	FeedObject	objects[FEED_LEVELS][FEED_NESTED];
	int			group;			/* slots with a meaning of their own; -1: not in the header */
	int			title;
	int			sku;
	int			option_name[FEED_OPTIONS];
	int			option_value[FEED_OPTIONS];

	/* from sync.feed_profile and its columns, before the header is known */
	const char *group_target;
	int			nrules;
	struct FeedRule *rules;
} FeedProfile;

extern FeedProfile *feed_profile_read(const char *name);
extern void feed_profile_apply(FeedProfile *profile, char **header, int nheader);
extern int	feed_key_compare(const char *a, int a_len, const char *b, int b_len);

#endif
