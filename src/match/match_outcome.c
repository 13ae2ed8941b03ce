/*
 * match_outcome.c
 *	  The best matches of many incoming items, and what follows from seeing them together.
 *
 * How many of the incoming items have a match at all shows only in all of them, and so does which of them claim the same existing item.
 */
#include "match/match_pg.h"

#include "utils/memutils.h"

/* Matches below this are not worth a reviewer's time. */
#define CONFIDENCE_FLOOR 0.3f

/* Two incoming items cannot both be the same existing one without a person's look. */
#define SHARED_CAP 0.45f

/* Makes room for more of an array, which may be large. */
static void *
grow(void *data, size_t size)
{
	return data == NULL ? MemoryContextAllocHuge(CurrentMemoryContext, size) : repalloc_huge(data, size);
}

/* Adds an incoming item and its best match, NULL where there is none.  The id is copied; group is the caller's. */
void
outcomes_add(MatchOutcomes *outcomes, const MatchText *id, int64 group, const MatchFound *found)
{
	MatchOutcome *row;

	if (found == NULL)
	{
		outcomes->n_without++;
		return;
	}
	if (outcomes->n == outcomes->room)
	{
		outcomes->room = Max(outcomes->room * 2, 1024);
		outcomes->rows = grow(outcomes->rows, outcomes->room * sizeof(MatchOutcome));
	}
	while (outcomes->ids_used + id->length > outcomes->ids_room || outcomes->ids == NULL)
	{
		outcomes->ids_room = Max(outcomes->ids_room * 2, 16384);
		outcomes->ids = grow(outcomes->ids, outcomes->ids_room);
	}
	row = &outcomes->rows[outcomes->n++];
	row->id = outcomes->ids_used;
	row->id_length = (uint32_t) id->length;
	row->group = group;
	row->shared = false;
	row->found = *found;
	memcpy(outcomes->ids + row->id, id->data, id->length);
	outcomes->ids_used += id->length;
}

/* Sets the shift that the share of matches asks for, and the confidences with it. */
static void
shift_scores(MatchOutcomes *outcomes)
{
	size_t		n = outcomes->n + outcomes->n_without;
	float	   *logits = grow(NULL, (n + 1) * sizeof(float));
	size_t		i;

	for (i = 0; i < n; i++)
		logits[i] = i < outcomes->n ? outcomes->rows[i].found.logit : -10;
	outcomes->shift = score_shift(logits, n);
	pfree(logits);
	for (i = 0; i < outcomes->n; i++)
		outcomes->rows[i].found.confidence = score_confidence(&outcomes->rows[i].found, outcomes->shift);
}

/*
 * Completes the matches once all are known.  Of the items that claim one existing item the surest keeps it; the others are marked and
 * capped.  Those that are not worth a look are dropped.
 */
void
outcomes_settle(MatchOutcomes *outcomes, const MatchIndex *index)
{
	size_t	   *holder = MemoryContextAllocExtended(CurrentMemoryContext, ((Size) index->n_items + 1) * sizeof(size_t),
													MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	size_t		kept = 0;
	size_t		i;

	shift_scores(outcomes);
	for (i = 0; i < outcomes->n; i++)
	{
		const MatchFound *found = &outcomes->rows[i].found;
		size_t	   *held = &holder[found->item];

		if (*held == 0 || found->confidence > outcomes->rows[*held - 1].found.confidence ||
			(found->confidence == outcomes->rows[*held - 1].found.confidence && found->logit > outcomes->rows[*held - 1].found.logit))
			*held = i + 1;
	}
	for (i = 0; i < outcomes->n; i++)
	{
		MatchOutcome *row = &outcomes->rows[i];

		if (holder[row->found.item] != i + 1)
		{
			row->shared = true;
			row->found.confidence = Min(row->found.confidence, SHARED_CAP);
		}
	}
	for (i = 0; i < outcomes->n; i++)
		if (outcomes->rows[i].found.confidence >= CONFIDENCE_FLOOR)
			outcomes->rows[kept++] = outcomes->rows[i];
	outcomes->n = kept;
	pfree(holder);
}
