/*
 * runner.h
 *	  What runner.c, the engine's turns, and steps.c, what is done within a transaction, share.
 */
#ifndef PRODUCT_SYNC_RUNNER_H
#define PRODUCT_SYNC_RUNNER_H

#include "worker/worker.h"

#include "transfer/transfer.h"
#include "utils/hsearch.h"
#include "worker/token.h"

/* How many seconds a local job waits before a worker takes it that has requests under way. */
#define LOCAL_PATIENCE 5

/* A job whose request is under way. */
typedef struct InFlight
{
	int64		job_id;			/* hash key */
	int			file_fd;		/* where a download is written, or -1 */
	TokenKeep	keep;			/* which part of the answer is a secret */
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

/* Jobs and what went wrong with them. */
typedef struct FailedJobs
{
	Batch	   *batch;
	ErrorData  *error;
} FailedJobs;

typedef void (*StepFunction) (Runner *runner, void *arg);

/* steps.c: each runs in the step's subtransaction, as sync_worker, and fails with an ordinary error. */
extern void step_register(Runner *runner, void *unused);
extern void step_claim(Runner *runner, void *batch);
extern void step_run(Runner *runner, void *batch);
extern void step_fail(Runner *runner, void *failed_jobs);
extern void step_next_due(Runner *runner, void *unused);
extern void step_request(Runner *runner, void *batch);
extern void step_respond(Runner *runner, void *answers);
extern void step_renew(Runner *runner, void *unused);

/* Calls a request back, if it is under way; needs no transaction. */
extern void drop_in_flight(Runner *runner, int64 job_id);

#endif
