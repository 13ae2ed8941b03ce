/*
 * worker.c
 *	  The background worker, and CALL sync_work(), which does a worker's work in the caller's own session.
 */
#include "worker/worker.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "compat.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "product_sync.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PGDLLEXPORT void ps_worker_main(Datum arg);

PG_FUNCTION_INFO_V1(ps_work);

volatile sig_atomic_t worker_interrupted = false;
volatile sig_atomic_t worker_in_step = false;

/*
 * SIGINT: a run was cancelled.  The statement of a local job is cancelled with it; a worker that waits on the network looks which of
 * its jobs were taken away.
 */
static void
handle_interrupt(SIGNAL_ARGS)
{
	int			save_errno = errno;

	worker_interrupted = true;
	if (worker_in_step)
	{
		QueryCancelPending = true;
		InterruptPending = true;
	}
	SetLatch(MyLatch);
	errno = save_errno;
}

/*
 * As sync_worker, who owns the table that is looked at: a view in its place must not run as a superuser, and whoever may call sync_work()
 * need not be able to see inside.
 */
static bool
schema_ready(Oid role)
{
	Oid			caller;
	int			caller_context;
	bool		isnull;
	bool		ready;

	GetUserIdAndSecContext(&caller, &caller_context);
	SetUserIdAndSecContext(role, caller_context | SECURITY_LOCAL_USERID_CHANGE);
	ready = SPI_execute("SELECT sync.schema_ready()", false, 1) == SPI_OK_SELECT &&
		DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)) && !isnull;
	SetUserIdAndSecContext(caller, caller_context);
	return ready;
}

bool
worker_schema_ready(Oid *role, const char **why)
{
	*role = get_role_oid("sync_worker", true);
	if (!OidIsValid(get_extension_oid("product_sync", true)))
		*why = "the extension is not there";
	else if (!OidIsValid(*role))
		*why = "role sync_worker is missing";
	else if (!schema_ready(*role))
		*why = "its tables are not at the version that the library expects";
	else
	{
		*why = "";
		return true;
	}
	return false;
}

void
worker_commit(Oid role)
{
	Oid			caller;
	int			caller_context;

	GetUserIdAndSecContext(&caller, &caller_context);
	if (OidIsValid(role))
		SetUserIdAndSecContext(role, caller_context | SECURITY_LOCAL_USERID_CHANGE);
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
	SetUserIdAndSecContext(caller, caller_context);
}

/* The role to work as, in a transaction of its own; ends the process quietly where there is nothing to work on. */
static Oid
worker_role_or_exit(void)
{
	Oid			role;
	const char *why;
	bool		ready;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	ready = worker_schema_ready(&role, &why);
	worker_commit(role);
	if (!ready)
		proc_exit(0);
	return role;
}

void
ps_worker_main(Datum arg)
{
	Runner	   *runner;
	TimestampTz idle_since = 0;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	pqsignal(SIGINT, handle_interrupt);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
	pgstat_report_appname("product_sync worker");
	/* A job is one short statement after another: parallel plans would only take workers from others, compiled ones cost more than they give. */
	SetConfigOption("max_parallel_workers_per_gather", "0", PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("jit", "off", PGC_USERSET, PGC_S_SESSION);
	(void) shared_claim_slot(MyDatabaseId);
	runner = runner_create(false, worker_role_or_exit());
	MemoryContextSwitchTo(TopMemoryContext);

	for (;;)
	{
		RunnerOutcome outcome;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		outcome = runner_step(runner);
		if (outcome == RUNNER_WORKED)
			idle_since = 0;
		else if (outcome == RUNNER_WAITING)
		{
			idle_since = 0;
			runner_wait(runner, -1);
		}
		else
		{
			long		left;

			if (idle_since == 0)
				idle_since = GetCurrentTimestamp();
			left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
												   TimestampTzPlusMilliseconds(idle_since, ps_worker_idle_timeout * INT64CONST(1000)));
			if (left <= 0)
				break;
			pgstat_report_activity(STATE_IDLE, NULL);
			runner_wait(runner, left);
		}
	}
	runner_free(runner);
	proc_exit(0);
}

/* Works on the queue until a moment, or until nothing is left that falls due before it. */
static void
work_until(Runner *runner, TimestampTz deadline)
{
	for (;;)
	{
		RunnerOutcome outcome = runner_step(runner);
		TimestampTz until = deadline;

		if (GetCurrentTimestamp() >= deadline)
			return;
		if (outcome == RUNNER_WORKED)
			continue;
		if (outcome == RUNNER_IDLE)
		{
			until = runner_next_due(runner);
			if (until >= deadline)
				return;
		}
		runner_wait(runner, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until) + 1);
		CHECK_FOR_INTERRUPTS();
	}
}

/* CALL sync_work(max_time) */
Datum
ps_work(PG_FUNCTION_ARGS)
{
	Interval   *max_time = PG_GETARG_INTERVAL_P(0);
	CallContext *call = (CallContext *) fcinfo->context;
	TimestampTz deadline;
	Runner	   *runner = NULL;
	Oid			role;
	const char *why;

	if (!call || !IsA(call, CallContext) || call->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("sync_work() cannot run inside a transaction block"),
				 errdetail("It commits after each step."),
				 errhint("CALL it by itself.")));
	deadline = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
													   TimestampTzGetDatum(GetCurrentTimestamp()), IntervalPGetDatum(max_time)));
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	if (!worker_schema_ready(&role, &why))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("product_sync cannot work: %s", why),
				 errhint("SELECT sync_install();")));
	PG_TRY();
	{
		runner = runner_create(true, role);
		work_until(runner, deadline);
	}
	PG_FINALLY();
	{
		if (runner)
			runner_free(runner);
	}
	PG_END_TRY();
	SPI_finish();
	PG_RETURN_VOID();
}
