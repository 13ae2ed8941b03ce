/*
 * bulk_table.h
 *	  Rows for sync.shopify_bulk_line, many at a time.
 */
#ifndef SHOP_BULK_TABLE_H
#define SHOP_BULK_TABLE_H

#include "postgres.h"

#include "utils/jsonb.h"

typedef struct BulkTable BulkTable;

typedef struct BulkLine
{
	int64		line;
	const char *kind;
	int64		owner_id;
	text	   *parent;			/* NULL: none */
	Jsonb	   *node;
} BulkLine;

extern BulkTable *bulk_table_open(int64 crawl_id);

/* Where the values of rows that are to be added live; reset when they are written. */
extern MemoryContext bulk_table_context(BulkTable *table);
extern void bulk_table_add(BulkTable *table, const BulkLine *line);
extern void bulk_table_relieve(BulkTable *table);
extern void bulk_table_close(BulkTable *table);

#endif
