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
#include "worker/worker.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "product_sync.h"
#include "storage/lmgr.h"
#include "transfer/transfer.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "worker/network.h"

/* A job whose request is under way. */
typedef struct InFlight
{
	int64		job_id;			/* hash key */
	int			file_fd;		/* where a download is written, or -1 */
	char		kind[NAMEDATALEN];
} InFlight;

/* Jobs of one kind, as claimed together. */
typedef struct Batch
{
	char		kind[NAMEDATALEN];
	bool		network;
	int64		run_id;
	int			n;
	int64	   *ids;
} Batch;

/* Finished requests of one kind, to be handed in together. */
typedef struct Answers
{
	char		kind[NAMEDATALEN];
	int			n;
	int64	   *ids;
	TransferResult **results;
} Answers;

struct Runner
{
	bool		in_session;
	Oid			role;
	int32		owner;
	MemoryContext context;		/* lives with the runner */
	MemoryContext step_context; /* reset before each step */
	TransferEngine *engine;		/* made when first needed */
	HTAB	   *in_flight;
	WaitLoop   *loop;
	TimestampTz renew_at;
	TimestampTz next_due;
	/* between begin_step and end_step */
	Oid			caller;
	int			caller_context;
};

typedef void (*StepFunction) (Runner *runner, void *arg);

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

/* SQL ----------------------------------------------------------------------------------------------------------------------- */

static void
run_sql(const char *sql, int nargs, Oid *types, Datum *values, const char *nulls)
{
	int			rc = SPI_execute_with_args(sql, nargs, types, values, nulls, false, 0);

	if (rc < 0)
		elog(ERROR, "SPI_execute_with_args failed: %s", SPI_result_code_string(rc));
}

static Datum
id_array(const int64 *ids, int n)
{
	Datum	   *elements = palloc(sizeof(Datum) * Max(n, 1));
	int			i;

	for (i = 0; i < n; i++)
		elements[i] = Int64GetDatum(ids[i]);
	return PointerGetDatum(construct_array(elements, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* What went wrong, as the jsonb that is kept with the job.  Made from text: it must not fail. */
static Datum
error_to_jsonb(const ErrorData *error)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, "{\"class\": \"database\", \"sqlstate\": \"%s\", \"message\": ", unpack_sql_state(error->sqlerrcode));
	escape_json(&text, error->message ? error->message : "");
	if (error->detail)
	{
		appendStringInfoString(&text, ", \"detail\": ");
		escape_json(&text, error->detail);
	}
	if (error->hint)
	{
		appendStringInfoString(&text, ", \"hint\": ");
		escape_json(&text, error->hint);
	}
	if (error->context)
	{
		appendStringInfoString(&text, ", \"context\": ");
		escape_json(&text, error->context);
	}
	appendStringInfoChar(&text, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text.data));
}

/* Steps --------------------------------------------------------------------------------------------------------------------- */

static void
step_register(Runner *runner, void *arg pg_attribute_unused())
{
	bool		isnull;

	run_sql("SELECT sync.worker_register()", 0, NULL, NULL, NULL);
	runner->owner = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

static void
step_claim(Runner *runner, void *arg)
{
	Batch	   *batch = arg;
	Oid			types[4] = {INT4OID, INT4OID, TEXTOID, INT4OID};
	Datum		values[4];
	int			busy = hash_get_num_entries(runner->in_flight);
	const char *allow = busy == 0 ? "any" : (ps_max_workers > 1 ? "network" : "top");
	bool		isnull;
	int			i;

	values[0] = Int32GetDatum(runner->owner);
	values[1] = Int32GetDatum(ps_max_transfers - busy);
	values[2] = CStringGetTextDatum(allow);
	values[3] = Int32GetDatum(ps_lease_duration);
	run_sql("SELECT job_id, kind, network, run_id FROM sync.worker_claim($1, $2, $3, pg_catalog.make_interval(secs => $4))",
			4, types, values, NULL);
	batch->n = (int) SPI_processed;
	if (batch->n == 0)
		return;
	batch->ids = MemoryContextAlloc(runner->step_context, sizeof(int64) * batch->n);
	for (i = 0; i < batch->n; i++)
		batch->ids[i] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
	strlcpy(batch->kind, TextDatumGetCString(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull)), NAMEDATALEN);
	batch->network = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull));
	batch->run_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 4, &isnull));
	if (isnull)
		batch->run_id = 0;
}

static void
step_run(Runner *runner, void *arg)
{
	Batch	   *batch = arg;
	Oid			types[3] = {INT4OID, TEXTOID, INT8ARRAYOID};
	Datum		values[3];

	values[0] = Int32GetDatum(runner->owner);
	values[1] = CStringGetTextDatum(batch->kind);
	values[2] = id_array(batch->ids, batch->n);
	run_sql("SELECT sync.worker_run($1, $2, $3)", 3, types, values, NULL);
}

typedef struct FailedJobs
{
	Batch	   *batch;
	ErrorData  *error;
} FailedJobs;

static void
step_fail(Runner *runner, void *arg)
{
	FailedJobs *failed = arg;
	Oid			types[3] = {INT4OID, INT8ARRAYOID, JSONBOID};
	Datum		values[3];

	values[0] = Int32GetDatum(runner->owner);
	values[1] = id_array(failed->batch->ids, failed->batch->n);
	values[2] = error_to_jsonb(failed->error);
	run_sql("SELECT sync.worker_fail($1, $2, $3)", 3, types, values, NULL);
}

static void
step_next_due(Runner *runner, void *arg pg_attribute_unused())
{
	bool		isnull;
	Datum		due;

	run_sql("SELECT CASE WHEN workers_wanted > 0 THEN pg_catalog.now() ELSE next_due END FROM sync.coordinator_tick(1)", 0, NULL, NULL, NULL);
	due = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	runner->next_due = isnull ? DT_NOEND : DatumGetTimestampTz(due);
}

/* Requests ------------------------------------------------------------------------------------------------------------------ */

static void
ensure_engine(Runner *runner)
{
	if (runner->engine)
		return;
	runner->engine = transfer_engine_create(ps_max_transfers, ps_max_transfers);
	if (!runner->engine)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start the transfer engine: %m")));
	loop_watch(runner->loop, transfer_engine_fd(runner->engine));
}

/* Hands one request to the transfer engine. */
static void
send_request(Runner *runner, const char *kind, int64 job_id, Jsonb *request)
{
	TransferRequest transfer;
	InFlight   *entry;
	char		message[512];
	int			rc;

	network_request_fill(request, (uint64) job_id, &transfer);
	rc = transfer_engine_add(runner->engine, &transfer, message, sizeof(message));
	network_request_wipe(&transfer);
	if (rc != 0)
	{
		if (transfer.file_fd >= 0)
			close(transfer.file_fd);
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("request of job " INT64_FORMAT " was refused: %s", job_id, message)));
	}
	entry = hash_search(runner->in_flight, &job_id, HASH_ENTER, NULL);
	entry->file_fd = transfer.op == TRANSFER_FTP_GET ? transfer.file_fd : -1;
	strlcpy(entry->kind, kind, NAMEDATALEN);
}

static void
drop_in_flight(Runner *runner, int64 job_id)
{
	InFlight   *entry = hash_search(runner->in_flight, &job_id, HASH_FIND, NULL);

	if (!entry)
		return;
	transfer_engine_cancel(runner->engine, (uint64) job_id);
	if (entry->file_fd >= 0)
		close(entry->file_fd);
	hash_search(runner->in_flight, &job_id, HASH_REMOVE, NULL);
}

static void
step_request(Runner *runner, void *arg)
{
	Batch	   *batch = arg;
	Oid			types[3] = {INT4OID, TEXTOID, INT8ARRAYOID};
	Datum		values[3];
	uint64		i;

	ensure_engine(runner);
	values[0] = Int32GetDatum(runner->owner);
	values[1] = CStringGetTextDatum(batch->kind);
	values[2] = id_array(batch->ids, batch->n);
	run_sql("SELECT job_id, request FROM sync.worker_request($1, $2, $3)", 3, types, values, NULL);
	{
		SPITupleTable *rows = SPI_tuptable;
		uint64		n = SPI_processed;

		for (i = 0; i < n; i++)
		{
			bool		isnull;
			int64		job_id = DatumGetInt64(SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &isnull));
			Datum		request = SPI_getbinval(rows->vals[i], rows->tupdesc, 2, &isnull);

			send_request(runner, batch->kind, job_id, DatumGetJsonbP(request));
		}
	}
}

static void
step_respond(Runner *runner, void *arg)
{
	Answers    *answers = arg;
	Oid			types[5] = {INT4OID, TEXTOID, INT8ARRAYOID, JSONBARRAYOID, BYTEAARRAYOID};
	Datum		values[5];
	Datum	   *results = palloc(sizeof(Datum) * answers->n);
	Datum	   *bodies = palloc(sizeof(Datum) * answers->n);
	bool	   *no_body = palloc(sizeof(bool) * answers->n);
	int			dims[1] = {answers->n};
	int			lbs[1] = {1};
	int			i;

	for (i = 0; i < answers->n; i++)
	{
		TransferResult *result = answers->results[i];

		results[i] = JsonbPGetDatum(network_result_to_jsonb(result));
		no_body[i] = result->body == NULL;
		bodies[i] = (Datum) 0;
		if (result->body)
		{
			bytea	   *body = palloc(result->body_len + VARHDRSZ);

			SET_VARSIZE(body, result->body_len + VARHDRSZ);
			memcpy(VARDATA(body), result->body, result->body_len);
			bodies[i] = PointerGetDatum(body);
		}
	}
	values[0] = Int32GetDatum(runner->owner);
	values[1] = CStringGetTextDatum(answers->kind);
	values[2] = id_array(answers->ids, answers->n);
	values[3] = PointerGetDatum(construct_array(results, answers->n, JSONBOID, -1, false, TYPALIGN_INT));
	values[4] = PointerGetDatum(construct_md_array(bodies, no_body, 1, dims, lbs, BYTEAOID, -1, false, TYPALIGN_INT));
	run_sql("SELECT sync.worker_respond($1, $2, $3, $4, $5)", 5, types, values, NULL);
}

/* Leases made longer; what was taken away is let go of. */
static void
step_renew(Runner *runner, void *arg pg_attribute_unused())
{
	Oid			types[2] = {INT4OID, INT4OID};
	Datum		values[2];
	HASH_SEQ_STATUS scan;
	InFlight   *entry;
	HTAB	   *held;
	HASHCTL		control = {.keysize = sizeof(int64), .entrysize = sizeof(int64), .hcxt = runner->step_context};
	uint64		i;

	values[0] = Int32GetDatum(runner->owner);
	values[1] = Int32GetDatum(ps_lease_duration);
	run_sql("SELECT sync.worker_renew($1, pg_catalog.make_interval(secs => $2))", 2, types, values, NULL);
	held = hash_create("leases held", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		int64		id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));

		hash_search(held, &id, HASH_ENTER, NULL);
	}
	hash_seq_init(&scan, runner->in_flight);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (!hash_search(held, &entry->job_id, HASH_FIND, NULL))
			drop_in_flight(runner, entry->job_id);
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
		int64		job_id = (int64) results[n]->tag;
		InFlight   *entry = hash_search(runner->in_flight, &job_id, HASH_FIND, NULL);

		if (!entry)
		{
			transfer_result_free(results[n]);
			continue;
		}
		strlcpy(kinds[n], entry->kind, NAMEDATALEN);
		if (entry->file_fd >= 0)
			close(entry->file_fd);
		hash_search(runner->in_flight, &job_id, HASH_REMOVE, NULL);
		n++;
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
