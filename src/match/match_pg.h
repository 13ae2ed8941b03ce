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
#include "utils/tuplestore.h"

#include "match/search.h"

#define MATCH_BATCH 1024		/* rows that are fetched and searched at a time */

/*
 * The columns of every query that the matcher reads, in this order, all of type text: id, SKU, GTIN, brand, part number, title,
 * description, price.
 */
#define MATCH_COLUMNS 8

/* What malloc gave, freed with a memory context. */
typedef struct MatchOwner
{
	IndexBuilder *builder;
	MatchIndex	index;
	MatchScratch *scratch;
	MemoryContextCallback callback;
} MatchOwner;

/* The best match of an incoming item. */
typedef struct MatchOutcome
{
	size_t		id;				/* where the incoming id begins in MatchOutcomes.ids */
	int64		group;
	uint32_t	id_length;
	bool		shared;			/* another incoming item has the better claim to the same existing one */
	MatchFound	found;
} MatchOutcome;

typedef struct MatchOutcomes
{
	MatchOutcome *rows;
	size_t		n;
	size_t		room;
	size_t		n_without;		/* incoming items that are like nothing */
	float		shift;			/* of all scores; see score_shift() */
	char	   *ids;
	size_t		ids_used;
	size_t		ids_room;
} MatchOutcomes;

/* match_outcome.c */
extern void outcomes_add(MatchOutcomes *outcomes, const MatchText *id, int64 group, const MatchFound *found);
extern void outcomes_settle(MatchOutcomes *outcomes, const MatchIndex *index);

/* match_rows.c */
extern MatchOwner *match_owner_create(MemoryContext context);
extern void match_read_row(HeapTuple tuple, TupleDesc desc, int first, MatchFields *fields);
extern double match_read_price(MatchText text);
extern void match_build_index(MatchOwner *owner, const char *query, uint64 version);
extern void match_need_scratch(MatchOwner *owner);
extern uint64 match_seed(void);

/* match_evidence.c */
extern Jsonb *match_evidence(const MatchFound *found, float shift, bool shared);
extern const char *match_method_name(const MatchFound *found);

/* match_item.c */
extern void match_read_json(Jsonb *item, MatchFields *fields);

/* match_columns.c */
extern char *match_columns_query(Oid relation, bool incoming, Jsonb *columns);

#endif
