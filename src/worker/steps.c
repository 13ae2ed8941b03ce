/*
 * steps.c
 *	  What the engine does within a transaction: the calls of the queue's functions, and the hand-over of requests and answers.
 *
 * Each step runs in a subtransaction that runner.c has begun, as sync_worker, in memory that is reset before the next step.  The
 * functions that it calls are those of docs/architecture.md, "The engine's functions".
 */
#include "worker/runner.h"

#include <unistd.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "product_sync.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "worker/network.h"

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

void
step_register(Runner *runner, void *arg pg_attribute_unused())
{
	bool		isnull;

	run_sql("SELECT sync.worker_register()", 0, NULL, NULL, NULL);
	runner->owner = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

void
step_claim(Runner *runner, void *arg)
{
	Batch	   *batch = arg;
	Oid			types[4] = {INT4OID, INT4OID, INT4OID, INT4OID};
	Datum		values[4];
	char		nulls[4] = {' ', ' ', ' ', ' '};
	int			busy = hash_get_num_entries(runner->in_flight);
	bool		isnull;
	int			i;

	values[0] = Int32GetDatum(runner->owner);
	values[1] = Int32GetDatum(ps_max_transfers - busy);
	values[2] = Int32GetDatum(LOCAL_PATIENCE);
	if (busy == 0)
		nulls[2] = 'n';
	values[3] = Int32GetDatum(ps_lease_duration);
	run_sql("SELECT job_id, kind, network, run_id FROM sync.worker_claim($1, $2, pg_catalog.make_interval(secs => $3),"
			" pg_catalog.make_interval(secs => $4))", 4, types, values, nulls);
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

void
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

void
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

void
step_next_due(Runner *runner, void *arg pg_attribute_unused())
{
	bool		isnull;
	Datum		due;

	run_sql("SELECT CASE WHEN workers_wanted > 0 THEN pg_catalog.now() ELSE next_due END FROM sync.coordinator_tick(1)", 0, NULL, NULL, NULL);
	due = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	runner->next_due = isnull ? DT_NOEND : DatumGetTimestampTz(due);
}

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
	TokenKeep	keep;
	InFlight   *entry;
	char		message[512];
	int			rc;

	network_request_fill(request, (uint64) job_id, &transfer, &keep);
	rc = transfer_engine_add(runner->engine, &transfer, message, sizeof(message));
	network_request_wipe(&transfer);
	if (rc != 0)
	{
		if (transfer.file_fd >= 0)
			close(transfer.file_fd);
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("request of job " INT64_FORMAT " was refused: %s", job_id, message)));
	}
	entry = hash_search(runner->in_flight, &job_id, HASH_ENTER, NULL);
	entry->file_fd = transfer.file_fd;
	entry->keep = keep;
	strlcpy(entry->kind, kind, NAMEDATALEN);
}

void
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

void
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

void
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
void
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
