/*
 * seen.h
 *	  Remembers texts with a number each: the SKUs and grouping keys of a feed.
 *
 * A text is kept as 128 bits of a keyed hash, not as itself, which is 24 bytes for each.  The key is random, so nobody can prepare texts
 * that collide, and by chance two of a billion texts do with a probability below 10^-20.
 */
#ifndef FEED_SEEN_H
#define FEED_SEEN_H

#include "postgres.h"

typedef struct SeenTable SeenTable;

extern SeenTable *seen_create(void);
extern uint64 *seen_lookup(SeenTable *table, const char *text, size_t len, bool *found);

#endif
