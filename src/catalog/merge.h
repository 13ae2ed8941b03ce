/*
 * merge.h
 *	  Where a product of the catalogue, the same product in a shop, and what both last agreed on differ.  Plain C: no PostgreSQL.
 *
 * Documents and paths are diff.h's; variants have our SKUs in all of them.  The base has the shop's values at the last agreement, and
 * base_local ours where the agreed ones are not the same text.  Only fields that a Shopify shop knows are compared:
 *
 *		handle					exactly
 *		title, vendor, type,	without outer white space, as are barcode and the two attributes that a shop has, seo_title and
 *		options.*				seo_description
 *		description				as HTML (html.h)
 *		status					by word; a shop's "unlisted" is an active product
 *		tags					as a set, whatever their case
 *		images					as a list of address and alt; of the address, what is before its ?
 *		metafields.*			by value; 12 and "12" are the same
 *		price, compare_at_price, cost	rounded to the 4 digits that the catalogue keeps
 *		weight					rounded to 0.01 g; 0 is none
 *		currency				only where both sides have one and a price: then they may not differ
 *
 * Nothing, null, "", [] and {} are the same: no value.
 */
#ifndef CATALOG_MERGE_H
#define CATALOG_MERGE_H

#include "catalog/diff.h"

typedef enum MergeStatus
{
	MERGE_CONVERGED,			/* both sides have the same, which is not what was agreed */
	MERGE_SHOP,					/* only the shop's changed */
	MERGE_LOCAL,				/* only ours changed */
	MERGE_BOTH,					/* both did, or nothing was ever agreed, and they differ */
	MERGE_DRIFT					/* neither changed, and still they differ */
} MergeStatus;

/* How values of a field compare. */
typedef enum MergeKind
{
	MERGE_EXACT, MERGE_TEXT, MERGE_HTML, MERGE_STATUS, MERGE_TAGS, MERGE_IMAGES, MERGE_JSON, MERGE_MONEY, MERGE_WEIGHT, MERGE_NUMBER,
	MERGE_VARIANT
} MergeKind;

/* The documents, or what is at one place of each; NULL where one has nothing. */
typedef struct MergeSides
{
	const DiffValue *base;
	const DiffValue *base_local;
	const DiffValue *local;
	const DiffValue *shop;
} MergeSides;

/* One field that is not agreed on; of sides, base_local is not set. */
typedef void (*MergeCallback) (void *context, const DiffPath *path, const MergeSides *sides, MergeStatus status);

extern const char *merge_status_name(MergeStatus status);
extern MergeKind merge_kind(DiffText field, bool variant);
extern MergeKind merge_kind_of_path(const char *path, size_t length, char *scratch);
extern bool merge_equal(MergeKind kind, const DiffValue *a, const DiffValue *b);
extern bool merge_variants_equal(const DiffValue *a, const DiffValue *b);
extern DiffResult merge_documents(const MergeSides *documents, MergeCallback callback, void *context, DiffPath *wrong);

#endif
