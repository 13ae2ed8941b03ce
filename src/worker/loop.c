/*
 * loop.c
 *	  Waiting, for all that can wake a worker, in one call.
 *
 * A WaitEventSet cannot let go of a descriptor, and curl's sockets come and go.  So they live in an epoll descriptor of the transfer
 * engine's own, and that one descriptor is in the set, beside the latch and the postmaster's death.
 */
#include "worker/worker.h"

#include "compat.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

struct WaitLoop
{
	WaitEventSet *set;
	int			fd;				/* the transfer engine's, or -1 */
};

static void
build_set(WaitLoop *loop)
{
	loop->set = ps_create_wait_event_set(3);
	AddWaitEventToSet(loop->set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(loop->set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	if (loop->fd >= 0)
		AddWaitEventToSet(loop->set, WL_SOCKET_READABLE, loop->fd, NULL, NULL);
}

WaitLoop *
loop_create(void)
{
	WaitLoop   *loop = MemoryContextAllocZero(TopMemoryContext, sizeof(WaitLoop));

	loop->fd = -1;
	build_set(loop);
	return loop;
}

void
loop_free(WaitLoop *loop)
{
	FreeWaitEventSet(loop->set);
	pfree(loop);
}

/* Adds the transfer engine's descriptor; once. */
void
loop_watch(WaitLoop *loop, int fd)
{
	FreeWaitEventSet(loop->set);
	loop->fd = fd;
	build_set(loop);
}

/*
 * Waits for the latch, the descriptor, or so many milliseconds (-1: for ever).  Returns whether it was the descriptor.  Interrupts are
 * the caller's to check.
 */
bool
loop_wait(WaitLoop *loop, long timeout_ms)
{
	WaitEvent	event;

	if (WaitEventSetWait(loop->set, timeout_ms, &event, 1, PG_WAIT_EXTENSION) <= 0)
		return false;
	if (event.events & WL_LATCH_SET)
	{
		ResetLatch(MyLatch);
		return false;
	}
	return true;
}
