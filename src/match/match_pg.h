/*
 * match_pg.h
 *	  Between the matcher's kernels and SQL: indexes that memory contexts own, rows that queries give, evidence as jsonb.
 */
#ifndef MATCH_PG_H
#define MATCH_PG_H

#include "postgres.h"

#include "compat.h"
#include "lib/stringinfo.h"
#include "utils/jsonb.h"
#include "utils/portal.h"
#include "utils/tuplestore.h"

#include "match/assign.h"
#include "match/batch.h"

/*
 * The columns of every query that the matcher reads, in this order, all of type text: id, SKU, GTIN, brand, part number, title,
 * description, price.
 */
#define MATCH_COLUMNS 8

/* Where the existing items are read. */
typedef struct MatchSource
{
	Oid			relation;
	AttrNumber	columns[MATCH_COLUMNS];	/* 0 where it has none */
	char	   *query;
	char	   *alone_query;	/* without tables that inherit from it */
} MatchSource;

/* What malloc gave and threads that run, ended and freed with a memory context. */
typedef struct MatchOwner
{
	IndexBuilder *builder;
	BatchBuild *build;
	BatchSearch *search;
	MatchBatch *batches[2];
	BrandAliases aliases;		/* for an index that is built */
	bool		keep_texts;		/* in an index that is built */
	MatchIndex	own;			/* empty where the index is a kept one */
	const MatchIndex *index;	/* that is searched */
	bool		pinned;			/* it is the one that match_cache.c keeps */
	MemoryContextCallback callback;
} MatchOwner;

/* Takes what was found of an item of a batch, in the order of the query. */
typedef void (*MatchReceiver) (void *arg, const MatchOwner *owner, const MatchBatch *batch, int item);

/* Id of an incoming item. */
typedef struct MatchRowId
{
	size_t		start;			/* in MatchOutcomes.ids */
	int64		group;
	uint32_t	length;
} MatchRowId;

typedef struct MatchOutcomes
{
	MatchRow   *rows;
	MatchRowId *row_ids;
	size_t		n;
	size_t		room;
	MatchShares shares;
	char	   *ids;
	size_t		ids_used;
	size_t		ids_room;
} MatchOutcomes;

/* match_outcome.c */
extern void outcomes_add(MatchOutcomes *outcomes, const MatchText *id, int64 group, const MatchFound *found, int n);
extern void outcomes_settle(MatchOutcomes *outcomes, bool estimate, const MatchCalibration *calibration);
extern bool outcome_worth(const MatchRow *row);

/* match_rows.c */
extern MatchOwner *match_owner_create(MemoryContext context);
extern MatchText match_utf8(MatchText text);
extern void match_read_row(HeapTuple tuple, TupleDesc desc, int first, MatchFields *fields);
extern void match_build_index(MatchOwner *owner, const char *query, uint64 version);
extern void match_search_rows(MatchOwner *owner, Portal portal, int first, int want, MatchReceiver receive, void *arg);
extern uint64 match_seed(void);

/* match_evidence.c */
extern Jsonb *match_evidence(const MatchFound *found, float shift, float log_odds, const MatchCalibration *calibration, bool shared);
extern const char *match_method_name(const MatchFound *found);

/* match_item.c */
extern void match_read_json(Jsonb *item, MatchFields *fields);

/* match_learn.c */
extern MatchCalibration match_supplier_calibration(const char *supplier);

/* match_columns.c */
extern char *match_columns_supplier(Jsonb *columns);
extern void match_columns_read(MatchSource *source, Oid relation, bool incoming, Jsonb *columns);

/* match_alias.c */
extern void match_load_aliases(MatchOwner *owner);

/* match_cache.c */
extern void match_existing_index(MatchOwner *owner, const MatchSource *source);
extern void match_cache_release(void);

#endif
