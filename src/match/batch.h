/*
 * batch.h
 *	  Items by the batch: searched for, or prepared for an index, by several threads.
 *
 * Plain C.
 */
#ifndef MATCH_BATCH_H
#define MATCH_BATCH_H

#include "match/parallel.h"
#include "match/search.h"

#define MATCH_BATCH 1024		/* items of a batch at most */
#define BUILD_BATCH 256			/* of one for building: what is prepared takes 4 kB each */

typedef struct TextBlock TextBlock;

/* Copies of items' fields, and what was found of them. */
typedef struct MatchBatch
{
	int			n;
	int			want;			/* to be found of each item at most */
	TextBlock  *texts;
	MatchFields fields[MATCH_BATCH];
	int64_t		groups[MATCH_BATCH];	/* the caller's */
	MatchFound *found;			/* want places for each item */
	int			n_found[MATCH_BATCH];
} MatchBatch;

typedef struct BatchSearch BatchSearch;
typedef struct BatchBuild BatchBuild;

extern MatchBatch *batch_create(int want);
extern void batch_clear(MatchBatch *batch);
extern bool batch_add(MatchBatch *batch, const MatchFields *fields, int64_t group);
extern void batch_free(MatchBatch *batch);

extern BatchSearch *batch_search_create(const MatchIndex *index, int threads);
extern void batch_search_start(BatchSearch *search, MatchBatch *batch);
extern void batch_search_wait(BatchSearch *search);
extern void batch_search_free(BatchSearch *search);

extern BatchBuild *batch_build_create(IndexBuilder *builder, int threads);
extern bool batch_build_add(BatchBuild *build, MatchBatch *batch);
extern bool batch_build_finish(BatchBuild *build, MatchIndex *index);
extern void batch_build_free(BatchBuild *build);

#endif
