/*
 * reader.c
 *	  Unpacks a feed in a thread; reader.h says why.
 */
#include "feed/reader.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define PIECES			4
#define PIECE_BYTES		((size_t) 1 << 18)

struct Reader
{
	Archive    *archive;
	pthread_t	thread;
	pthread_mutex_t lock;		/* guards what follows up to the pieces */
	pthread_cond_t filled;
	pthread_cond_t emptied;
	unsigned	head;			/* pieces filled so far */
	unsigned	tail;			/* pieces released so far */
	bool		done;			/* the thread adds no more */
	bool		stop;			/* nobody wants more */

	ArchiveError error;			/* written before done */
	unsigned char hash[ARCHIVE_HASH_BYTES];
	size_t		lens[PIECES];
	char	   *pieces[PIECES];
};

/* Waits for a free piece; false when nobody wants more. */
static bool
wait_for_room(Reader *r)
{
	bool		go_on;

	pthread_mutex_lock(&r->lock);
	while (!r->stop && r->head - r->tail == PIECES)
		pthread_cond_wait(&r->emptied, &r->lock);
	go_on = !r->stop;
	pthread_mutex_unlock(&r->lock);
	return go_on;
}

/* The thread. */
static void *
read_ahead(void *arg)
{
	Reader	   *r = arg;

	while (wait_for_room(r))
	{
		unsigned	slot = r->head % PIECES;
		ssize_t		n = archive_read(r->archive, r->pieces[slot], PIECE_BYTES, &r->error);

		if (n == 0 && archive_finish(r->archive, &r->error) && !archive_hash(r->archive, r->hash))
			r->error.status = ARCHIVE_NO_MEMORY;
		if (n <= 0)
			break;
		pthread_mutex_lock(&r->lock);
		r->lens[slot] = (size_t) n;
		r->head++;
		pthread_cond_signal(&r->filled);
		pthread_mutex_unlock(&r->lock);
	}
	pthread_mutex_lock(&r->lock);
	r->done = true;
	pthread_cond_signal(&r->filled);
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

/* Frees all but the archive. */
static void
free_reader(Reader *r)
{
	for (int i = 0; i < PIECES; i++)
		free(r->pieces[i]);
	pthread_mutex_destroy(&r->lock);
	pthread_cond_destroy(&r->filled);
	pthread_cond_destroy(&r->emptied);
	free(r);
}

/* Starts reading and takes over the archive; NULL when memory or threads are short, and the archive is still the caller's. */
Reader *
reader_start(Archive *archive)
{
	Reader	   *r = calloc(1, sizeof(Reader));
	pthread_condattr_t attr;
	sigset_t	all;
	sigset_t	before;
	bool		good = true;

	if (r == NULL)
		return NULL;
	pthread_mutex_init(&r->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&r->filled, &attr);
	pthread_cond_init(&r->emptied, &attr);
	pthread_condattr_destroy(&attr);
	for (int i = 0; i < PIECES; i++)
		good = (r->pieces[i] = malloc(PIECE_BYTES)) != NULL && good;
	r->archive = archive;

	/* A signal handler of PostgreSQL must never run in the thread; a new thread inherits the mask. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	good = good && pthread_create(&r->thread, NULL, read_ahead, r) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!good)
	{
		free_reader(r);
		return NULL;
	}
	return r;
}

/* The next piece, in order; waits for it at most wait_ms. */
ReaderResult
reader_take(Reader *r, const char **data, size_t *len, int wait_ms)
{
	struct timespec until;
	ReaderResult result = READER_WAIT;
	int			rc = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += wait_ms / 1000;
	until.tv_nsec += (long) (wait_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000)
	{
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&r->lock);
	while (r->head == r->tail && !r->done && rc == 0)
		rc = pthread_cond_timedwait(&r->filled, &r->lock, &until);
	if (r->head != r->tail)
	{
		*data = r->pieces[r->tail % PIECES];
		*len = r->lens[r->tail % PIECES];
		result = READER_DATA;
	}
	else if (r->done)
		result = r->error.status == ARCHIVE_OK ? READER_END : READER_ERROR;
	pthread_mutex_unlock(&r->lock);
	return result;
}

/* Gives the piece of the last reader_take() back. */
void
reader_release(Reader *r)
{
	pthread_mutex_lock(&r->lock);
	r->tail++;
	pthread_cond_signal(&r->emptied);
	pthread_mutex_unlock(&r->lock);
}

/* What went wrong, after READER_ERROR. */
const ArchiveError *
reader_error(const Reader *r)
{
	return &r->error;
}

/* SHA-256 of the CSV, after READER_END. */
const unsigned char *
reader_hash(const Reader *r)
{
	return r->hash;
}

/* Ends the thread, wherever it is, and closes the archive.  Takes as long as the reading of one piece. */
void
reader_stop(Reader *r)
{
	archive_abort(r->archive);
	pthread_mutex_lock(&r->lock);
	r->stop = true;
	pthread_cond_signal(&r->emptied);
	pthread_mutex_unlock(&r->lock);
	pthread_join(r->thread, NULL);
	archive_close(r->archive);
	free_reader(r);
}
