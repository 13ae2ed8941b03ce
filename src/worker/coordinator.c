/*
 * coordinator.c
 *	  One a database: takes back the leases of the dead and keeps as many workers as the queue asks for.
 *
 * It sleeps until a commit that enqueued something wakes it, a worker ends, or the next job falls due.  While workers are busy it
 * looks every BUSY_SECONDS, while nothing is going on every IDLE_SECONDS.  It stays, idle, when the extension or its tables are missing.
 */
#include "worker/worker.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "product_sync.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define BUSY_SECONDS 5
#define IDLE_SECONDS 60
#define SETTLE_MS 20			/* commits that come in a burst are looked at once */
#define EARLY_DEATH_MS 500		/* a worker that ends sooner could not even begin */
#define MAX_WORKERS 64			/* the upper limit of product_sync.max_workers */

PGDLLEXPORT void ps_coordinator_main(Datum arg);

static BackgroundWorkerHandle *workers[MAX_WORKERS];
static TimestampTz started_at[MAX_WORKERS];
static TimestampTz start_not_before = 0;
static char last_complaint[256];
static bool short_of_workers = false;

/* Says once what keeps it from working, and once that it works. */
static void
complain(const char *why)
{
	if (strcmp(last_complaint, why) == 0)
		return;
	strlcpy(last_complaint, why, sizeof(last_complaint));
	if (why[0] != '\0')
		ereport(LOG,
				(errmsg("product_sync is idle in database \"%s\": %s", MyBgworkerEntry->bgw_extra, why),
				 errhint("CREATE EXTENSION product_sync; SELECT sync_install();")));
}

/* One look at the queue, as sync_worker.  False when the extension is not ready; then nothing was looked at. */
static bool
tick(int *wanted, TimestampTz *next_due)
{
	Oid			role = InvalidOid;
	Oid			caller;
	int			caller_context;
	const char *why = "";
	bool		ready;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	ready = worker_schema_ready(&role, &why);
	complain(why);
	if (ready)
	{
		Oid			types[1] = {INT4OID};
		Datum		values[1] = {Int32GetDatum(Max(ps_max_workers, 1))};
		bool		isnull;
		Datum		due;

		GetUserIdAndSecContext(&caller, &caller_context);
		SetUserIdAndSecContext(role, caller_context | SECURITY_LOCAL_USERID_CHANGE);
		if (SPI_execute_with_args("SELECT workers_wanted, next_due FROM sync.coordinator_tick($1)", 1, types, values, NULL, false, 1) != SPI_OK_SELECT)
			elog(ERROR, "coordinator_tick failed");
		*wanted = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
		due = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull);
		*next_due = isnull ? DT_NOEND : DatumGetTimestampTz(due);
		SetUserIdAndSecContext(caller, caller_context);
	}
	worker_commit(role);
	pgstat_report_stat(false);
	return ready;
}

/* A tick that fails must not end the process: the queue may be fine again the next time. */
static bool
try_tick(int *wanted, TimestampTz *next_due)
{
	MemoryContext old = CurrentMemoryContext;
	volatile bool ready = false;

	*wanted = 0;
	*next_due = DT_NOEND;
	PG_TRY();
	{
		ready = tick(wanted, next_due);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(old);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		complain(error->message);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	return ready;
}

static bool
start_worker(int number)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	snprintf(worker.bgw_name, BGW_MAXLEN, "product_sync worker %d", number + 1);
	snprintf(worker.bgw_type, BGW_MAXLEN, "product_sync worker");
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	snprintf(worker.bgw_library_name, BGW_MAXLEN, "product_sync");
	snprintf(worker.bgw_function_name, BGW_MAXLEN, "ps_worker_main");
	worker.bgw_main_arg = ObjectIdGetDatum(MyDatabaseId);
	worker.bgw_notify_pid = MyProcPid;
	return RegisterDynamicBackgroundWorker(&worker, &workers[number]);
}

/* Starts workers until there are as many as wanted.  Returns how many there are. */
static int
keep_workers(int wanted)
{
	int			most = Min(ps_max_workers, MAX_WORKERS);
	int			running = 0;
	int			i;
	pid_t		pid;

	for (i = 0; i < MAX_WORKERS; i++)
	{
		if (workers[i] && GetBackgroundWorkerPid(workers[i], &pid) == BGWH_STOPPED)
		{
			pfree(workers[i]);
			workers[i] = NULL;
			/* What keeps one from beginning keeps the next one too: no quicker than the look of a busy coordinator. */
			if (!TimestampDifferenceExceeds(started_at[i], GetCurrentTimestamp(), EARLY_DEATH_MS))
				start_not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), BUSY_SECONDS * 1000 - 100);
		}
		running += workers[i] != NULL;
	}
	if (wanted > 0)
		shared_wake_workers(MyDatabaseId);
	if (GetCurrentTimestamp() < start_not_before)
		return running;
	for (i = 0; i < most && running < Min(wanted, most); i++)
		if (workers[i] == NULL)
		{
			if (!start_worker(i))
			{
				/* Once, until there is one again: every commit that enqueues something leads here. */
				if (!short_of_workers)
					ereport(LOG,
							(errmsg("product_sync has %d of %d workers in database \"%s\": no background worker is free",
									running, Min(wanted, most), MyBgworkerEntry->bgw_extra),
							 errhint("Raise max_worker_processes.")));
				short_of_workers = true;
				break;
			}
			short_of_workers = false;
			started_at[i] = GetCurrentTimestamp();
			running++;
		}
	return running;
}

void
ps_coordinator_main(Datum arg)
{
	Oid			database = DatumGetObjectId(arg);

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	pgstat_report_appname("product_sync coordinator");
	if (!shared_set_coordinator(MyDatabaseId))
		proc_exit(1);
	MemoryContextSwitchTo(TopMemoryContext);

	for (;;)
	{
		int			wanted;
		TimestampTz next_due;
		long		wait = IDLE_SECONDS * 1000L;
		int			running;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (!try_tick(&wanted, &next_due))
			wanted = 0;
		running = keep_workers(wanted);
		if (running > 0 || wanted > 0)
			wait = BUSY_SECONDS * 1000L;
		if (next_due != DT_NOEND)
			wait = Min(wait, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next_due) + 1);
		pgstat_report_activity(STATE_IDLE, NULL);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, wait, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (running > 0)
		{
			/* Workers at work commit often: let their wake-ups gather. */
			(void) WaitLatch(MyLatch, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, SETTLE_MS, PG_WAIT_EXTENSION);
		}
	}
}
