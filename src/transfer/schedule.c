/*
 * schedule.c
 *	  Which transfer goes next: a heap of those that may not start yet, and a queue for each server.
 *
 * curl could queue by itself, but it would count the time in its queue as time of the transfer, and one server with thousands of requests
 * would hold up all others.  Here a server that is at its limit only holds up its own, and servers take turns.  A server without requests
 * is forgotten.
 */
#include "transfer/internal.h"

#include <stdlib.h>
#include <string.h>

/* Whether a goes before b. */
static bool
sooner(const Transfer *a, const Transfer *b)
{
	return a->due_ms < b->due_ms || (a->due_ms == b->due_ms && a->order < b->order);
}

static void
heap_put(TransferEngine *engine, size_t index, Transfer *transfer)
{
	engine->delayed[index] = transfer;
	transfer->heap_index = index;
}

/* Moves a transfer to where it belongs in the heap, starting from a free place. */
static void
heap_settle(TransferEngine *engine, size_t index, Transfer *transfer)
{
	while (index > 0 && sooner(transfer, engine->delayed[(index - 1) / 2]))
	{
		heap_put(engine, index, engine->delayed[(index - 1) / 2]);
		index = (index - 1) / 2;
	}
	for (;;)
	{
		size_t		child = 2 * index + 1;

		if (child + 1 < engine->delayed_count && sooner(engine->delayed[child + 1], engine->delayed[child]))
			child++;
		if (child >= engine->delayed_count || !sooner(engine->delayed[child], transfer))
			break;
		heap_put(engine, index, engine->delayed[child]);
		index = child;
	}
	heap_put(engine, index, transfer);
}

/* Takes a transfer out of the heap. */
static void
heap_remove(TransferEngine *engine, Transfer *transfer)
{
	Transfer   *last = engine->delayed[--engine->delayed_count];

	if (last != transfer)
		heap_settle(engine, transfer->heap_index, last);
}

/* Adds to the heap; false when there is no memory. */
static bool
heap_add(TransferEngine *engine, Transfer *transfer)
{
	if (engine->delayed_count == engine->delayed_room)
	{
		size_t		room = engine->delayed_room ? engine->delayed_room * 2 : 64;
		Transfer  **larger = realloc(engine->delayed, room * sizeof(Transfer *));

		if (larger == NULL)
			return false;
		engine->delayed = larger;
		engine->delayed_room = room;
	}
	engine->delayed_count++;
	heap_settle(engine, engine->delayed_count - 1, transfer);
	return true;
}

/* Puts a transfer at the end of its server's queue. */
static void
host_queue(Transfer *transfer)
{
	TransferHost *host = transfer->host;

	transfer->at = TRANSFER_QUEUED;
	transfer->next = NULL;
	transfer->prev = host->last;
	if (host->last)
		host->last->next = transfer;
	else
		host->first = transfer;
	host->last = transfer;
}

/* Takes a transfer out of its server's queue. */
static void
host_dequeue(Transfer *transfer)
{
	TransferHost *host = transfer->host;

	if (transfer->prev)
		transfer->prev->next = transfer->next;
	else
		host->first = transfer->next;
	if (transfer->next)
		transfer->next->prev = transfer->prev;
	else
		host->last = transfer->prev;
	transfer->next = transfer->prev = NULL;
}

static void
hosts_append(TransferEngine *engine, TransferHost *host)
{
	host->next = NULL;
	if (engine->hosts_last)
		engine->hosts_last->next = host;
	else
		engine->hosts = host;
	engine->hosts_last = host;
}

/* Unlinks the server that follows "before", which is NULL for the first. */
static TransferHost *
hosts_unlink(TransferEngine *engine, TransferHost *before)
{
	TransferHost *host = before ? before->next : engine->hosts;

	if (before)
		before->next = host->next;
	else
		engine->hosts = host->next;
	if (engine->hosts_last == host)
		engine->hosts_last = before;
	host->next = NULL;
	return host;
}

/* The server of this key, made if it is new; NULL when there is no memory. */
static TransferHost *
host_get(TransferEngine *engine, const char *key)
{
	TransferHost *host;

	for (host = engine->hosts; host; host = host->next)
	{
		if (strcmp(host->key, key) == 0)
			return host;
	}
	host = calloc(1, sizeof(TransferHost));
	if (host == NULL)
		return NULL;
	host->key = strdup(key);
	if (host->key == NULL)
	{
		free(host);
		return NULL;
	}
	hosts_append(engine, host);
	return host;
}

/* One transfer of this server less; a server without any is forgotten. */
static void
host_release(TransferEngine *engine, TransferHost *host)
{
	TransferHost *before = NULL;

	if (--host->held > 0)
		return;
	if (engine->hosts != host)
	{
		for (before = engine->hosts; before->next != host; before = before->next)
			;
	}
	hosts_unlink(engine, before);
	free(host->key);
	free(host);
}

/* Takes a new transfer in.  False when there is no memory; the transfer is then still the caller's. */
bool
schedule_add(TransferEngine *engine, Transfer *transfer, const char *host_key, int64_t delay_ms)
{
	TransferHost *host = host_get(engine, host_key);

	if (host == NULL)
		return false;
	host->held++;
	transfer->host = host;
	transfer->order = engine->next_order++;
	if (delay_ms <= 0)
		host_queue(transfer);
	else
	{
		transfer->at = TRANSFER_DELAYED;
		/* A hundred years are enough, and keep the sum in range. */
		if (delay_ms > INT64_C(3155760000000))
			delay_ms = INT64_C(3155760000000);
		transfer->due_ms = transfer_now_ms() + delay_ms;
		if (!heap_add(engine, transfer))
		{
			host_release(engine, host);
			return false;
		}
	}
	engine->active++;
	return true;
}

/* Moves those whose time has come into their servers' queues. */
void
schedule_release(TransferEngine *engine, int64_t now_ms)
{
	while (engine->delayed_count > 0 && engine->delayed[0]->due_ms <= now_ms)
	{
		Transfer   *transfer = engine->delayed[0];
		TransferHost *host = transfer->host;

		heap_remove(engine, transfer);
		if (transfer->spacing_ms > 0 && host->released_ms > now_ms - transfer->spacing_ms)
		{
			/* There is room: it was in the heap a moment ago. */
			transfer->due_ms = host->released_ms + transfer->spacing_ms;
			(void) heap_add(engine, transfer);
			continue;
		}
		if (transfer->spacing_ms > 0)
			host->released_ms = now_ms;
		host_queue(transfer);
	}
}

/*
 * The next transfer to start, taken out of its queue and counted as running; NULL when limits are reached or nothing waits.  The server
 * that was served goes to the end of the list.
 */
Transfer *
schedule_take(TransferEngine *engine)
{
	TransferHost *before = NULL;

	if (engine->running >= engine->max_connections)
		return NULL;
	for (TransferHost *host = engine->hosts; host; before = host, host = host->next)
	{
		if (host->first && host->running < engine->max_per_host)
		{
			Transfer   *transfer = host->first;

			host_dequeue(transfer);
			host->running++;
			engine->running++;
			transfer->at = TRANSFER_RUNNING;
			hosts_append(engine, hosts_unlink(engine, before));
			return transfer;
		}
	}
	return NULL;
}

/* Gives back the place of a transfer that ran. */
void
schedule_finished(TransferEngine *engine, Transfer *transfer)
{
	transfer->host->running--;
	engine->running--;
	engine->active--;
	host_release(engine, transfer->host);
}

/* The waiting transfer with this tag, or NULL. */
Transfer *
schedule_find(TransferEngine *engine, uint64_t tag)
{
	for (size_t i = 0; i < engine->delayed_count; i++)
	{
		if (engine->delayed[i]->result->tag == tag)
			return engine->delayed[i];
	}
	for (TransferHost *host = engine->hosts; host; host = host->next)
	{
		for (Transfer *transfer = host->first; transfer; transfer = transfer->next)
		{
			if (transfer->result->tag == tag)
				return transfer;
		}
	}
	return NULL;
}

/* Takes a waiting transfer out; it is the caller's again. */
void
schedule_remove(TransferEngine *engine, Transfer *transfer)
{
	if (transfer->at == TRANSFER_DELAYED)
		heap_remove(engine, transfer);
	else
		host_dequeue(transfer);
	engine->active--;
	host_release(engine, transfer->host);
}

/* When the next delayed transfer is due, or -1. */
int64_t
schedule_next_due(const TransferEngine *engine)
{
	return engine->delayed_count > 0 ? engine->delayed[0]->due_ms : -1;
}

/* Frees all that waits, for the end of the engine: nothing may run any more. */
void
schedule_clear(TransferEngine *engine)
{
	while (engine->delayed_count > 0)
		transfer_destroy(engine->delayed[--engine->delayed_count]);
	free(engine->delayed);
	engine->delayed = NULL;
	engine->delayed_room = 0;
	while (engine->hosts)
	{
		TransferHost *host = hosts_unlink(engine, NULL);

		while (host->first)
		{
			Transfer   *transfer = host->first;

			host_dequeue(transfer);
			transfer_destroy(transfer);
		}
		free(host->key);
		free(host);
	}
	engine->active = 0;
}
