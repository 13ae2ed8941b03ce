/*
 * parallel.h
 *	  Threads that share the items of a piece of work.
 *
 * Plain C.  The threads run inside a PostgreSQL backend: what they run must call nothing of PostgreSQL, and they take no signals.
 */
#ifndef MATCH_PARALLEL_H
#define MATCH_PARALLEL_H

#include <stddef.h>

#define PARALLEL_MAX_THREADS 16

typedef struct ParallelPool ParallelPool;

/* Does the items from first to end - 1.  thread is from 0 to PARALLEL_MAX_THREADS - 1, and no two calls have the same at the same time. */
typedef void (*ParallelWork) (void *arg, int thread, size_t first, size_t end);

extern ParallelPool *parallel_create(int threads);
extern int	parallel_threads(const ParallelPool *pool);
extern void parallel_start(ParallelPool *pool, ParallelWork work, void *arg, size_t n);
extern void parallel_wait(ParallelPool *pool);
extern void parallel_free(ParallelPool *pool);

#endif
