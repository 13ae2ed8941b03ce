/*
 * shared.c
 *	  What the processes tell each other: who coordinates which database, and what each worker does.
 *
 * Shared memory holds process ids and counters only, never a pointer, a descriptor or a handle of one process.  Where the library is
 * not preloaded there is none, and every function here does nothing.
 */
#include "worker/worker.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "product_sync.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "utils/builtins.h"

#define MAX_COORDINATORS 128
#define MAX_SLOTS 512

typedef struct CoordinatorSlot
{
	Oid			database;
	pid_t		pid;			/* 0 where the slot is free */
} CoordinatorSlot;

typedef struct WorkerSlot
{
	pid_t		pid;			/* 0 where the slot is free */
	Oid			database;
	int64		run_id;			/* 0 where it works on no run */
	char		kind[NAMEDATALEN];
	pg_atomic_uint64 done;
} WorkerSlot;

typedef struct SharedState
{
	LWLock	   *lock;
	CoordinatorSlot coordinators[MAX_COORDINATORS];
	WorkerSlot	slots[MAX_SLOTS];
} SharedState;

static SharedState *shared = NULL;
static WorkerSlot *my_slot = NULL;
static shmem_request_hook_type prev_shmem_request = NULL;
static shmem_startup_hook_type prev_shmem_startup = NULL;

/* What this transaction asks for at its commit. */
static bool wake_at_commit = false;
static List *interrupt_at_commit = NIL;
static bool callback_registered = false;

PG_FUNCTION_INFO_V1(ps_wake);
PG_FUNCTION_INFO_V1(ps_interrupt_workers);
PG_FUNCTION_INFO_V1(ps_worker_activity);

static void
shared_request_hook(void)
{
	if (prev_shmem_request)
		prev_shmem_request();
	RequestAddinShmemSpace(MAXALIGN(sizeof(SharedState)));
	RequestNamedLWLockTranche("product_sync", 1);
}

static void
shared_startup_hook(void)
{
	bool		found;
	int			i;

	if (prev_shmem_startup)
		prev_shmem_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("product_sync", sizeof(SharedState), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(SharedState));
		shared->lock = &GetNamedLWLockTranche("product_sync")->lock;
		for (i = 0; i < MAX_SLOTS; i++)
			pg_atomic_init_u64(&shared->slots[i].done, 0);
	}
	LWLockRelease(AddinShmemInitLock);
}

/* Asks for shared memory; called while the library is preloaded. */
void
shared_request(void)
{
	prev_shmem_request = shmem_request_hook;
	shmem_request_hook = shared_request_hook;
	prev_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = shared_startup_hook;
}

/* Sets the latch of a process, if it still lives. */
static void
wake_process(pid_t pid)
{
	PGPROC	   *proc = pid == 0 ? NULL : BackendPidGetProc(pid);

	if (proc != NULL)
		SetLatch(&proc->procLatch);
}

static void
forget_coordinator(int code pg_attribute_unused(), Datum arg pg_attribute_unused())
{
	shared_clear_coordinator();
}

/* Makes this process the database's coordinator; false when there is one, or no room. */
bool
shared_set_coordinator(Oid database)
{
	CoordinatorSlot *free_slot = NULL;
	bool		taken = false;
	int			i;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (i = 0; i < MAX_COORDINATORS; i++)
	{
		CoordinatorSlot *slot = &shared->coordinators[i];

		if (slot->pid == 0)
			free_slot = free_slot ? free_slot : slot;
		else if (slot->database == database)
			taken = true;
	}
	if (!taken && free_slot)
	{
		free_slot->database = database;
		free_slot->pid = MyProcPid;
	}
	LWLockRelease(shared->lock);
	if (taken || !free_slot)
		return false;
	before_shmem_exit(forget_coordinator, (Datum) 0);
	return true;
}

void
shared_clear_coordinator(void)
{
	int			i;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (i = 0; i < MAX_COORDINATORS; i++)
		if (shared->coordinators[i].pid == MyProcPid)
			shared->coordinators[i].pid = 0;
	LWLockRelease(shared->lock);
}

static void
release_slot(int code pg_attribute_unused(), Datum arg pg_attribute_unused())
{
	if (my_slot)
	{
		LWLockAcquire(shared->lock, LW_EXCLUSIVE);
		my_slot->pid = 0;
		my_slot->run_id = 0;
		LWLockRelease(shared->lock);
		my_slot = NULL;
	}
}

/* Takes a slot for this worker.  Returns its number, or -1 where there is none: it then works unseen. */
int
shared_claim_slot(Oid database)
{
	int			i;

	if (!shared)
		return -1;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (i = 0; i < MAX_SLOTS && my_slot == NULL; i++)
		if (shared->slots[i].pid == 0)
		{
			my_slot = &shared->slots[i];
			my_slot->pid = MyProcPid;
			my_slot->database = database;
			my_slot->run_id = 0;
			my_slot->kind[0] = '\0';
			pg_atomic_write_u64(&my_slot->done, 0);
		}
	LWLockRelease(shared->lock);
	if (my_slot == NULL)
		return -1;
	before_shmem_exit(release_slot, (Datum) 0);
	return (int) (my_slot - shared->slots);
}

/* Says what this worker works on now; run 0 and an empty kind for nothing. */
void
shared_set_activity(int64 run_id, const char *kind)
{
	if (!my_slot)
		return;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	my_slot->run_id = run_id;
	strlcpy(my_slot->kind, kind, NAMEDATALEN);
	pg_atomic_write_u64(&my_slot->done, 0);
	LWLockRelease(shared->lock);
}

/* How much of the present job is done, for sync.progress: cheap enough for an inner loop's every thousandth turn. */
void
ps_progress_set(uint64 done)
{
	if (my_slot)
		pg_atomic_write_u64(&my_slot->done, done);
}

/* Wakes the workers of a database: there may be something to take. */
void
shared_wake_workers(Oid database)
{
	int			i;

	LWLockAcquire(shared->lock, LW_SHARED);
	for (i = 0; i < MAX_SLOTS; i++)
		if (shared->slots[i].pid != 0 && shared->slots[i].database == database)
			wake_process(shared->slots[i].pid);
	LWLockRelease(shared->lock);
}

static void
wake_coordinator(Oid database)
{
	int			i;

	LWLockAcquire(shared->lock, LW_SHARED);
	for (i = 0; i < MAX_COORDINATORS; i++)
		if (shared->coordinators[i].pid != 0 && shared->coordinators[i].database == database)
			wake_process(shared->coordinators[i].pid);
	LWLockRelease(shared->lock);
}

/* Ends every process of ours in a database that is about to be dropped, or that product_sync.databases no longer names. */
void
shared_terminate_database(Oid database)
{
	int			i;

	if (!shared)
		return;
	LWLockAcquire(shared->lock, LW_SHARED);
	for (i = 0; i < MAX_COORDINATORS; i++)
		if (shared->coordinators[i].pid != 0 && shared->coordinators[i].database == database)
			kill(shared->coordinators[i].pid, SIGTERM);
	for (i = 0; i < MAX_SLOTS; i++)
		if (shared->slots[i].pid != 0 && shared->slots[i].database == database)
			kill(shared->slots[i].pid, SIGTERM);
	LWLockRelease(shared->lock);
}

static void
interrupt_run(int64 run_id)
{
	int			i;

	LWLockAcquire(shared->lock, LW_SHARED);
	for (i = 0; i < MAX_SLOTS; i++)
	{
		WorkerSlot *slot = &shared->slots[i];

		/* A worker that waits on the network serves several runs: it looks for itself what was taken away. */
		if (slot->pid != 0 && slot->database == MyDatabaseId && (slot->run_id == run_id || slot->kind[0] == '\0'))
			kill(slot->pid, SIGINT);
	}
	LWLockRelease(shared->lock);
}

static void
at_transaction_end(XactEvent event, void *arg pg_attribute_unused())
{
	if (event == XACT_EVENT_COMMIT && shared)
	{
		ListCell   *cell;

		foreach(cell, interrupt_at_commit)
			interrupt_run(*(int64 *) lfirst(cell));
		if (wake_at_commit)
			wake_coordinator(MyDatabaseId);
	}
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
	{
		wake_at_commit = false;
		interrupt_at_commit = NIL;	/* its cells lived in the transaction's memory */
	}
}

static void
register_callback(void)
{
	if (!callback_registered)
		RegisterXactCallback(at_transaction_end, NULL);
	callback_registered = true;
}

/* sync.wake(): the coordinator of this database looks at the queue once this transaction has committed. */
Datum
ps_wake(PG_FUNCTION_ARGS)
{
	register_callback();
	wake_at_commit = true;
	PG_RETURN_VOID();
}

/* sync.interrupt_workers(run_id): whoever works on the run stops, once this transaction has committed. */
Datum
ps_interrupt_workers(PG_FUNCTION_ARGS)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	int64	   *run_id = palloc(sizeof(int64));

	*run_id = PG_GETARG_INT64(0);
	interrupt_at_commit = lappend(interrupt_at_commit, run_id);
	MemoryContextSwitchTo(old);
	register_callback();
	PG_RETURN_VOID();
}

/* sync.worker_activity(): a row for each worker of this database that has a job at hand. */
Datum
ps_worker_activity(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			i;

	InitMaterializedSRF(fcinfo, 0);
	for (i = 0; shared && i < MAX_SLOTS; i++)
	{
		WorkerSlot	slot;
		Datum		values[4];
		bool		nulls[4] = {false};

		LWLockAcquire(shared->lock, LW_SHARED);
		memcpy(&slot, &shared->slots[i], sizeof(WorkerSlot));
		LWLockRelease(shared->lock);
		if (slot.pid == 0 || slot.database != MyDatabaseId || slot.kind[0] == '\0')
			continue;
		values[0] = Int32GetDatum((int32) slot.pid);
		values[1] = Int64GetDatum(slot.run_id);
		nulls[1] = slot.run_id == 0;
		values[2] = CStringGetTextDatum(slot.kind);
		values[3] = Int64GetDatum((int64) pg_atomic_read_u64(&slot.done));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
