/*
 * match_outcome.c
 *	  The matches of many incoming items, and what follows from seeing them together.
 */
#include "match/match_pg.h"

#include "utils/memutils.h"

/* Matches below this are not worth a reviewer's time. */
#define CONFIDENCE_FLOOR 0.3f

/* Makes room for more of an array, which may be large. */
static void *
grow(void *data, size_t size)
{
	return data == NULL ? MemoryContextAllocHuge(CurrentMemoryContext, size) : repalloc_huge(data, size);
}

/* Adds an incoming item and its n best candidates.  The id is copied; group is the caller's. */
void
outcomes_add(MatchOutcomes *outcomes, const MatchText *id, int64 group, const MatchFound *found, int n)
{
	MatchRow   *row;
	MatchRowId *row_id;

	if (outcomes->n == outcomes->room)
	{
		outcomes->room = Max(outcomes->room * 2, 1024);
		outcomes->rows = grow(outcomes->rows, outcomes->room * sizeof(MatchRow));
		outcomes->row_ids = grow(outcomes->row_ids, outcomes->room * sizeof(MatchRowId));
	}
	while (outcomes->ids_used + id->length > outcomes->ids_room || outcomes->ids == NULL)
	{
		outcomes->ids_room = Max(outcomes->ids_room * 2, 16384);
		outcomes->ids = grow(outcomes->ids, outcomes->ids_room);
	}
	row_id = &outcomes->row_ids[outcomes->n];
	row_id->start = outcomes->ids_used;
	row_id->length = (uint32_t) id->length;
	row_id->group = group;
	memcpy(outcomes->ids + row_id->start, id->data, id->length);
	outcomes->ids_used += id->length;
	row = &outcomes->rows[outcomes->n++];
	row->n = (uint8_t) n;
	memcpy(row->found, found, (size_t) n * sizeof(MatchFound));
}

/*
 * Chooses, once all are known, an existing item for each, and how sure that is.  Where the caller does not know what the rows tell of
 * the supplier (estimate), they tell it themselves.
 */
void
outcomes_settle(MatchOutcomes *outcomes, bool estimate, const MatchCalibration *calibration)
{
	if ((estimate && !assign_estimate(outcomes->rows, outcomes->n, &outcomes->shares)) ||
		!assign_rows(outcomes->rows, outcomes->n, &outcomes->shares, calibration))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory while matching products")));
}

/* Whether the row has a match that is worth telling. */
bool
outcome_worth(const MatchRow *row)
{
	return row->chosen >= 0 && row->confidence >= CONFIDENCE_FLOOR;
}
