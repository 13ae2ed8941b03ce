/*
 * worker.h
 *	  The processes: launcher, one coordinator a database, and workers.
 *
 * launcher.c     keeps a coordinator in each database of product_sync.databases
 * coordinator.c  takes back the leases of the dead, keeps as many workers as the queue asks for
 * worker.c       the background worker, and CALL sync_work() in a session of the user's
 * runner.c       the engine that both of these drive: claim, run or request, respond
 * steps.c        what it does within a transaction
 * loop.c         waiting: latch, postmaster death and the transfer engine's descriptor in one set
 * shared.c       who works where, in shared memory; wake-ups at commit
 */
#ifndef PRODUCT_SYNC_WORKER_H
#define PRODUCT_SYNC_WORKER_H

#include "postgres.h"

#include <signal.h>

#include "nodes/pg_list.h"
#include "storage/latch.h"
#include "utils/timestamp.h"

/* shared.c */
extern void shared_request(void);
extern bool shared_set_coordinator(Oid database);
extern void shared_clear_coordinator(void);
extern void shared_terminate_database(Oid database);
extern int	shared_claim_slot(Oid database);
extern void shared_set_activity(int64 run_id, const char *kind);
extern void shared_wake_workers(Oid database);

/* loop.c */
typedef struct WaitLoop WaitLoop;
extern WaitLoop *loop_create(void);
extern void loop_free(WaitLoop *loop);
extern void loop_watch(WaitLoop *loop, int fd);
extern bool loop_wait(WaitLoop *loop, long timeout_ms);

/* runner.c */
typedef struct Runner Runner;

typedef enum RunnerOutcome
{
	RUNNER_WORKED,				/* did something: call again at once */
	RUNNER_WAITING,				/* transfers are under way */
	RUNNER_IDLE					/* nothing due */
} RunnerOutcome;

extern Runner *runner_create(bool in_session, Oid role);
extern void runner_free(Runner *runner);
extern RunnerOutcome runner_step(Runner *runner);
extern void runner_wait(Runner *runner, long timeout_ms);
extern TimestampTz runner_next_due(Runner *runner);

/* Set by SIGINT while no statement runs: some job may have been taken away. */
extern volatile sig_atomic_t worker_interrupted;
extern volatile sig_atomic_t worker_in_step;

/*
 * worker.c: whether the extension is here and its tables are at the version that it expects.  role: whose rights the engine's SQL
 * has.  why: what is missing, for the log.  Needs a transaction.
 */
extern bool worker_schema_ready(Oid *role, const char **why);

/*
 * worker.c: ends a background process's transaction with its snapshot and SPI connection, as this role: what waits for the commit
 * (deferred triggers, cursors WITH HOLD) must not run as the superuser that the process logged in as.
 */
extern void worker_commit(Oid role);

#endif
