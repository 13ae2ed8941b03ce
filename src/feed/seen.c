/*
 * seen.c
 *	  Texts with a number each; an open-addressing hash table that doubles when it is three quarters full.
 */
#include "feed/seen.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/memutils.h"

typedef struct SeenEntry
{
	uint64		low;
	uint64		high;			/* both 0: free */
	uint64		value;
} SeenEntry;

struct SeenTable
{
	uint64		seeds[2];
	uint64		mask;			/* number of entries - 1 */
	uint64		used;
	SeenEntry  *entries;
};

static SeenEntry *
allocate(uint64 n)
{
	return MemoryContextAllocExtended(CurrentMemoryContext, sizeof(SeenEntry) * n, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

/* An empty table, in the current context. */
SeenTable *
seen_create(void)
{
	SeenTable  *table = palloc(sizeof(SeenTable));

	if (!pg_strong_random(table->seeds, sizeof(table->seeds)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	table->mask = 1023;
	table->used = 0;
	table->entries = allocate(table->mask + 1);
	return table;
}

/* The entry of a hash, or the free one where it belongs. */
static SeenEntry *
place_of(const SeenTable *table, uint64 low, uint64 high)
{
	uint64		i = low & table->mask;

	while ((table->entries[i].low | table->entries[i].high) != 0 && (table->entries[i].low != low || table->entries[i].high != high))
		i = (i + 1) & table->mask;
	return &table->entries[i];
}

/* Doubles the table; in the context of its entries. */
static void
grow(SeenTable *table)
{
	SeenEntry  *old = table->entries;
	uint64		n = table->mask + 1;
	MemoryContext caller = MemoryContextSwitchTo(GetMemoryChunkContext(old));

	table->entries = allocate(n * 2);
	MemoryContextSwitchTo(caller);
	table->mask = n * 2 - 1;
	for (uint64 i = 0; i < n; i++)
	{
		if ((old[i].low | old[i].high) != 0)
			*place_of(table, old[i].low, old[i].high) = old[i];
	}
	pfree(old);
}

/* The number of a text, 0 and *found false when it is new; it holds until the next call. */
uint64 *
seen_lookup(SeenTable *table, const char *text, size_t len, bool *found)
{
	uint64		low = hash_bytes_extended((const unsigned char *) text, (int) len, table->seeds[0]);
	uint64		high = hash_bytes_extended((const unsigned char *) text, (int) len, table->seeds[1]);
	SeenEntry  *entry;

	if ((low | high) == 0)
		low = 1;
	if (table->used * 4 >= (table->mask + 1) * 3)
		grow(table);
	entry = place_of(table, low, high);
	*found = (entry->low | entry->high) != 0;
	if (!*found)
	{
		entry->low = low;
		entry->high = high;
		entry->value = 0;
		table->used++;
	}
	return &entry->value;
}
