/*
 * row.h
 *	  One record of a feed: its cells by slot, checked and turned into the documents of its levels.
 */
#ifndef FEED_ROW_H
#define FEED_ROW_H

#include "postgres.h"
#include "feed/csv.h"
#include "feed/document.h"
#include "feed/profile.h"

/* Why a record cannot be used. */
typedef struct FeedFault
{
	const char *header;			/* of the guilty cell, or NULL */
	const char *value;			/* of that cell, not terminated, or NULL */
	size_t		value_len;
	const char *reason;
} FeedFault;

/* The cell that fills a slot. */
typedef struct FeedCell
{
	const char *text;			/* without outer blanks, in UTF-8 */
	size_t		len;			/* 0: empty */
	int			column;
} FeedCell;

typedef struct FeedRow
{
	const FeedProfile *profile;
	FeedCell   *cells;			/* by slot */
	bool		blank;			/* no cell at all has text */
	char	   *option_names[FEED_OPTIONS];	/* of the product that the row belongs to, where the row does not repeat them */
	MemoryContext option_context;

	DocumentNode *nodes;
	int			nodes_used;
	int			nodes_room;
} FeedRow;

extern FeedRow *feed_row_create(const FeedProfile *profile);
extern bool feed_row_read(FeedRow *row, const CsvRecord *record, bool windows1252, FeedFault *fault);
extern void feed_row_keep_options(FeedRow *row);
extern bool feed_row_document(FeedRow *row, FeedLevel level, struct varlena **document, FeedFault *fault);

#endif
