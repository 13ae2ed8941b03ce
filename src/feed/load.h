/*
 * load.h
 *	  The parts of loading a feed into its table.
 */
#ifndef FEED_LOAD_H
#define FEED_LOAD_H

#include "postgres.h"
#include "feed/csv.h"
#include "feed/row.h"

/* Bulk insertion into one partition of sync.feed_item (bulk.c). */
typedef struct FeedBulk FeedBulk;

typedef enum FeedRowKind
{
	FEED_ROW_PRODUCT,
	FEED_ROW_VARIANT,
	FEED_ROW_IMAGE
} FeedRowKind;

typedef struct FeedItem
{
	int64		id;
	int64		line;
	int32		product_no;
	FeedRowKind kind;
	const FeedCell *product_key;
	const FeedCell *sku;
	struct varlena *documents[FEED_LEVELS];
} FeedItem;

extern FeedBulk *feed_bulk_open(Oid table, int64 feed_file_id);
extern MemoryContext feed_bulk_context(FeedBulk *bulk);
extern void feed_bulk_add(FeedBulk *bulk, const FeedItem *item, size_t bytes);
extern void feed_bulk_close(FeedBulk *bulk);

/* Rejected records on their way to sync.feed_reject (reject.c). */
typedef struct FeedRejects FeedRejects;

extern FeedRejects *feed_rejects_create(int64 feed_file_id);
extern void feed_rejects_add(FeedRejects *rejects, const CsvRecord *record, const FeedCell *sku, const FeedFault *fault);
extern void feed_rejects_flush(FeedRejects *rejects);
extern int64 feed_rejects_count(const FeedRejects *rejects);

#endif
