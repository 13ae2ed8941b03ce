/*
 * runner.c
 *	  The engine: claims jobs, runs local ones, sends the requests of network ones and hands in their answers.
 *
 * A step is one short transaction or none.  Between steps there is no transaction, no snapshot and no lock but the advisory one that
 * says that this owner lives; transfers go on in the meantime.  Within its transaction a step works in a subtransaction, so that an
 * error can be recorded against its jobs and the rest goes on.  The same code serves background workers and CALL sync_work(), which
 * differ only in who begins and ends the transaction.
 *
 * All SQL runs as sync_worker, under SECURITY_LOCAL_USERID_CHANGE so that nothing it calls can become somebody else.  The caller's
 * identity is back in place before the next transaction begins, because an abort restores what was in force then.  SPI_commit() begins
 * it at once, so in a session that is before the commit; deferred triggers have been fired by then.
 */
#include "worker/runner.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "product_sync.h"
#include "storage/lmgr.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "worker/secret.h"

/* Transactions -------------------------------------------------------------------------------------------------------------- */

static void
begin_step(Runner *runner)
{
	if (!runner->in_session)
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		SPI_connect();
		PushActiveSnapshot(GetTransactionSnapshot());
	}
	GetUserIdAndSecContext(&runner->caller, &runner->caller_context);
	SetUserIdAndSecContext(runner->role, runner->caller_context | SECURITY_LOCAL_USERID_CHANGE);
}

static void
end_step(Runner *runner)
{
	SetUserIdAndSecContext(runner->caller, runner->caller_context);
	if (runner->in_session)
		SPI_commit();
	else
	{
		worker_commit(runner->role);
		pgstat_report_stat(false);
	}
}

/* Runs a function in a subtransaction of the present step.  NULL, or the error, in the step's memory. */
static ErrorData *
try_in_step(Runner *runner, StepFunction function, void *arg)
{
	MemoryContext old_context = CurrentMemoryContext;
	ResourceOwner old_owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(runner->step_context);
	PG_TRY();
	{
		function(runner, arg);
		/* In a session the SPI connection, which would keep it, lasts for all steps. */
		SPI_freetuptable(SPI_tuptable);
		/* Deferred triggers now, as sync_worker; and what they refuse is an error of these jobs, not one at the commit that ends the process. */
		if (SPI_execute("SET CONSTRAINTS ALL IMMEDIATE", false, 0) != SPI_OK_UTILITY)
			elog(ERROR, "SET CONSTRAINTS failed");
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(runner->step_context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old_context);
	CurrentResourceOwner = old_owner;
	return error;
}

/* The turns of the engine --------------------------------------------------------------------------------------------------- */

/* Records an error against jobs.  When even that fails, the owner gives up: its jobs are taken back when it is gone. */
static void
fail_jobs(Runner *runner, Batch *batch, ErrorData *error)
{
	FailedJobs	failed = {batch, error};
	ErrorData  *again;

	ereport(LOG,
			(errmsg("product_sync: %s failed: %s", batch->kind, error->message),
			 error->detail ? errdetail_internal("%s", error->detail) : 0,
			 error->context ? errcontext("%s", error->context) : 0));
	again = try_in_step(runner, step_fail, &failed);
	if (again)
		ReThrowError(again);
}

/* Does something with jobs in a step of its own; on an error one by one, so that a bad one does not hold up the others. */
static void
do_batch(Runner *runner, Batch *batch, StepFunction function)
{
	ErrorData  *error;
	int			i;

	begin_step(runner);
	error = try_in_step(runner, function, batch);
	if (error && (batch->n == 1 || error->sqlerrcode == ERRCODE_QUERY_CANCELED))
		fail_jobs(runner, batch, error);
	end_step(runner);
	if (!error || batch->n == 1 || error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		return;
	for (i = 0; i < batch->n; i++)
	{
		Batch		single = *batch;

		single.n = 1;
		single.ids = &batch->ids[i];
		CHECK_FOR_INTERRUPTS();
		do_batch(runner, &single, function);
	}
}

/* Requests are all or nothing for a batch: what went out before the error is called back. */
static void
send_batch(Runner *runner, Batch *batch)
{
	ErrorData  *error;
	int			i;

	begin_step(runner);
	error = try_in_step(runner, step_request, batch);
	if (error)
	{
		for (i = 0; i < batch->n; i++)
			drop_in_flight(runner, batch->ids[i]);
		if (batch->n == 1)
			fail_jobs(runner, batch, error);
	}
	end_step(runner);
	if (!error || batch->n == 1)
		return;
	for (i = 0; i < batch->n; i++)
	{
		Batch		single = *batch;

		single.n = 1;
		single.ids = &batch->ids[i];
		CHECK_FOR_INTERRUPTS();
		send_batch(runner, &single);
	}
}

/* Hands in answers of one kind; on an error one by one. */
static void
hand_in(Runner *runner, Answers *answers)
{
	ErrorData  *error;
	int			i;

	begin_step(runner);
	error = try_in_step(runner, step_respond, answers);
	if (error && answers->n == 1)
	{
		Batch		batch = {.n = 1, .ids = answers->ids};

		strlcpy(batch.kind, answers->kind, NAMEDATALEN);
		fail_jobs(runner, &batch, error);
	}
	end_step(runner);
	if (!error || answers->n == 1)
		return;
	for (i = 0; i < answers->n; i++)
	{
		Answers		single = *answers;

		single.n = 1;
		single.ids = &answers->ids[i];
		single.results = &answers->results[i];
		hand_in(runner, &single);
	}
}

/* The first key of the advisory lock that says that an owner lives; sync.owner_lock_class() is the same. */
#define OWNER_LOCK_CLASS 1347637582

#define ANSWERS_AT_ONCE 256

/*
 * Lets go of a finished request.  A secret in its answer leaves it here, once, before any SQL sees it: handing in may be done twice.  False
 * where nobody waits for it.
 */
static bool
take_back(Runner *runner, TransferResult *result, char *kind)
{
	int64		job_id = (int64) result->tag;
	InFlight   *entry = hash_search(runner->in_flight, &job_id, HASH_FIND, NULL);

	if (!entry)
		return false;
	if (entry->keep.name[0])
		token_keep(result, secret_token_path(runner->step_context), &entry->keep);
	strlcpy(kind, entry->kind, NAMEDATALEN);
	if (entry->file_fd >= 0)
		close(entry->file_fd);
	hash_search(runner->in_flight, &job_id, HASH_REMOVE, NULL);
	return true;
}

/* Collects what has finished and hands it in, kind by kind.  True when there was any. */
static bool
hand_in_finished(Runner *runner)
{
	TransferResult *results[ANSWERS_AT_ONCE];
	TransferResult *batch_results[ANSWERS_AT_ONCE];
	int64		ids[ANSWERS_AT_ONCE];
	char		(*kinds)[NAMEDATALEN];
	int			n = 0;
	int			i,
				j;

	if (!runner->engine)
		return false;
	if (transfer_engine_step(runner->engine) < 0)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("the transfer engine is broken")));
	kinds = MemoryContextAlloc(runner->step_context, sizeof(char[NAMEDATALEN]) * ANSWERS_AT_ONCE);
	while (n < ANSWERS_AT_ONCE && (results[n] = transfer_engine_next(runner->engine)) != NULL)
	{
		if (take_back(runner, results[n], kinds[n]))
			n++;
		else
			transfer_result_free(results[n]);
	}
	for (i = 0; i < n; i++)
	{
		Answers		answers = {.ids = ids, .results = batch_results};

		if (kinds[i][0] == '\0')
			continue;
		strlcpy(answers.kind, kinds[i], NAMEDATALEN);
		for (j = i; j < n; j++)
			if (strcmp(kinds[j], answers.kind) == 0)
			{
				ids[answers.n] = (int64) results[j]->tag;
				batch_results[answers.n++] = results[j];
				kinds[j][0] = '\0';
			}
		hand_in(runner, &answers);
	}
	for (i = 0; i < n; i++)
		transfer_result_free(results[i]);
	return n > 0;
}

static void
renew_leases(Runner *runner)
{
	ErrorData  *error;

	begin_step(runner);
	error = try_in_step(runner, step_renew, NULL);
	end_step(runner);
	if (error)
		ReThrowError(error);
	runner->renew_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ps_lease_duration * INT64CONST(1000) / 3);
}

/* One turn: hand in what has come, renew leases when it is time, take new work.  Errors that reach the caller end the owner. */
RunnerOutcome
runner_step(Runner *runner)
{
	Batch		batch = {.n = 0};
	ErrorData  *error;
	int			busy;

	CHECK_FOR_INTERRUPTS();
	MemoryContextReset(runner->step_context);
	if (hand_in_finished(runner))
		return RUNNER_WORKED;

	busy = hash_get_num_entries(runner->in_flight);
	if (busy > 0 && (worker_interrupted || GetCurrentTimestamp() >= runner->renew_at))
		renew_leases(runner);
	worker_interrupted = false;

	/* product_sync.max_workers = 0 is how an operator pauses the background workers. */
	if (busy < ps_max_transfers && (runner->in_session || ps_max_workers > 0))
	{
		begin_step(runner);
		error = try_in_step(runner, step_claim, &batch);
		end_step(runner);
		if (error)
			ReThrowError(error);
	}
	if (batch.n == 0)
		return busy > 0 ? RUNNER_WAITING : RUNNER_IDLE;

	if (busy == 0)
		runner->renew_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ps_lease_duration * INT64CONST(1000) / 3);
	shared_set_activity(batch.network ? 0 : batch.run_id, batch.kind);
	pgstat_report_activity(STATE_RUNNING, batch.kind);
	if (batch.network)
		send_batch(runner, &batch);
	else
	{
		worker_in_step = true;
		do_batch(runner, &batch, step_run);
		worker_in_step = false;
	}
	shared_set_activity(0, "");
	pgstat_report_activity(STATE_IDLE, NULL);
	return RUNNER_WORKED;
}

/* Waits for a wake-up or for the network, with no transaction open in a background worker. */
void
runner_wait(Runner *runner, long timeout_ms)
{
	TimestampTz until;

	if (hash_get_num_entries(runner->in_flight) > 0)
	{
		long		until_renewal = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), runner->renew_at);

		if (timeout_ms < 0 || timeout_ms > until_renewal)
			timeout_ms = until_renewal;
	}
	until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), Max(timeout_ms, 0));
	/* Bytes that move are no reason to look into the queue: only a transfer that ended, or a wake-up. */
	while (loop_wait(runner->loop, timeout_ms))
	{
		if (transfer_engine_step(runner->engine) < 0 || transfer_engine_has_result(runner->engine))
			break;
		if (timeout_ms >= 0)
			timeout_ms = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
		if (timeout_ms == 0)
			break;
	}
}

/* When the next job falls due, DT_NOEND where there is none; takes back the leases of the dead on the way. */
TimestampTz
runner_next_due(Runner *runner)
{
	ErrorData  *error;

	MemoryContextReset(runner->step_context);
	begin_step(runner);
	error = try_in_step(runner, step_next_due, NULL);
	end_step(runner);
	if (error)
		ReThrowError(error);
	return runner->next_due;
}

/* An engine of its own, with an owner's number.  In a session, SPI must be connected, and stays so. */
Runner *
runner_create(bool in_session, Oid role)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "product_sync runner", ALLOCSET_DEFAULT_SIZES);
	Runner	   *runner = MemoryContextAllocZero(context, sizeof(Runner));
	HASHCTL		control = {.keysize = sizeof(int64), .entrysize = sizeof(InFlight), .hcxt = context};
	ErrorData  *error;

	runner->context = context;
	runner->step_context = AllocSetContextCreate(context, "product_sync step", ALLOCSET_DEFAULT_SIZES);
	runner->in_session = in_session;
	runner->in_flight = hash_create("product_sync requests", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	runner->loop = loop_create();
	runner->role = role;

	begin_step(runner);
	error = try_in_step(runner, step_register, NULL);
	end_step(runner);
	if (error)
	{
		runner_free(runner);
		ReThrowError(error);
	}
	return runner;
}

/* Lets go of all: transfers, descriptors, the owner's lock.  Needs no transaction that works. */
void
runner_free(Runner *runner)
{
	HASH_SEQ_STATUS scan;
	InFlight   *entry;

	hash_seq_init(&scan, runner->in_flight);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (entry->file_fd >= 0)
			close(entry->file_fd);
	if (runner->engine)
		transfer_engine_free(runner->engine);
	loop_free(runner->loop);
	if (runner->owner != 0)
	{
		LOCKTAG		tag;

		SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) OWNER_LOCK_CLASS, (uint32) runner->owner, 2);
		(void) LockRelease(&tag, ExclusiveLock, true);
	}
	MemoryContextDelete(runner->context);
}
