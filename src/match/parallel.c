/*
 * parallel.c
 *	  Threads that share the items of a piece of work.
 *
 * The thread that starts a piece of work takes a share of it too, once it waits; until then it may do something else.  Items are handed
 * out in small shares, so that it does not matter if some take longer.
 */
#include "match/parallel.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#define SHARE 16				/* items taken at a time */
#define STACK_BYTES (1024 * 1024)

typedef struct Helper
{
	ParallelPool *pool;
	int			number;			/* from 1 on; 0 is the thread that owns the pool */
	pthread_t	thread;
} Helper;

struct ParallelPool
{
	pthread_mutex_t mutex;
	pthread_cond_t wanted;		/* there is work, or it is time to end */
	pthread_cond_t done;		/* the last share of the work was done */
	ParallelWork work;
	void	   *arg;
	size_t		n;
	size_t		next;			/* the first item that nobody has taken */
	int			busy;			/* helpers that are at a share */
	bool		ending;
	int			n_helpers;
	Helper		helpers[PARALLEL_MAX_THREADS - 1];
};

/* Takes shares until none is left.  The mutex is held when it is called and when it returns. */
static void
take_shares(ParallelPool *pool, int thread)
{
	while (pool->next < pool->n && !pool->ending)
	{
		size_t		first = pool->next;
		size_t		end = pool->n - first > SHARE ? first + SHARE : pool->n;

		pool->next = end;
		pthread_mutex_unlock(&pool->mutex);
		pool->work(pool->arg, thread, first, end);
		pthread_mutex_lock(&pool->mutex);
	}
}

static void *
helper_main(void *arg)
{
	Helper	   *helper = arg;
	ParallelPool *pool = helper->pool;

	pthread_mutex_lock(&pool->mutex);
	while (!pool->ending)
	{
		if (pool->next >= pool->n)
		{
			pthread_cond_wait(&pool->wanted, &pool->mutex);
			continue;
		}
		pool->busy++;
		take_shares(pool, helper->number);
		if (--pool->busy == 0)
			pthread_cond_signal(&pool->done);
	}
	pthread_mutex_unlock(&pool->mutex);
	return NULL;
}

/* Starts as many helpers as can be.  They take no signals: those are for the thread that PostgreSQL knows. */
static void
start_helpers(ParallelPool *pool, int wanted)
{
	sigset_t	all;
	sigset_t	before;
	pthread_attr_t attributes;

	if (pthread_attr_init(&attributes) != 0)
		return;
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (pool->n_helpers < wanted)
	{
		Helper	   *helper = &pool->helpers[pool->n_helpers];

		helper->pool = pool;
		helper->number = pool->n_helpers + 1;
		if (pthread_create(&helper->thread, &attributes, helper_main, helper) != 0)
			break;
		pool->n_helpers++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
}

/* A pool of this many threads, the caller's included; of fewer where the system gives no more.  Returns NULL when memory is out. */
ParallelPool *
parallel_create(int threads)
{
	ParallelPool *pool = calloc(1, sizeof(ParallelPool));

	if (pool == NULL)
		return NULL;
	if (pthread_mutex_init(&pool->mutex, NULL) != 0 || pthread_cond_init(&pool->wanted, NULL) != 0 ||
		pthread_cond_init(&pool->done, NULL) != 0)
	{
		free(pool);
		return NULL;
	}
	start_helpers(pool, (threads > PARALLEL_MAX_THREADS ? PARALLEL_MAX_THREADS : threads) - 1);
	return pool;
}

/* Threads of the pool, the caller's included. */
int
parallel_threads(const ParallelPool *pool)
{
	return pool->n_helpers + 1;
}

/* Lets the helpers begin with the work on n items and returns; parallel_wait() must follow before the next piece of work. */
void
parallel_start(ParallelPool *pool, ParallelWork work, void *arg, size_t n)
{
	pthread_mutex_lock(&pool->mutex);
	pool->work = work;
	pool->arg = arg;
	pool->next = 0;
	pool->n = n;
	pthread_cond_broadcast(&pool->wanted);
	pthread_mutex_unlock(&pool->mutex);
}

/* Takes a part in the work and returns when all of it is done. */
void
parallel_wait(ParallelPool *pool)
{
	pthread_mutex_lock(&pool->mutex);
	take_shares(pool, 0);
	while (pool->busy > 0)
		pthread_cond_wait(&pool->done, &pool->mutex);
	pthread_mutex_unlock(&pool->mutex);
}

/* Ends the threads.  Of work under way, shares that were taken are finished and the others left. */
void
parallel_free(ParallelPool *pool)
{
	int			i;

	if (pool == NULL)
		return;
	pthread_mutex_lock(&pool->mutex);
	pool->ending = true;
	pthread_cond_broadcast(&pool->wanted);
	pthread_mutex_unlock(&pool->mutex);
	for (i = 0; i < pool->n_helpers; i++)
		pthread_join(pool->helpers[i].thread, NULL);
	pthread_cond_destroy(&pool->done);
	pthread_cond_destroy(&pool->wanted);
	pthread_mutex_destroy(&pool->mutex);
	free(pool);
}
