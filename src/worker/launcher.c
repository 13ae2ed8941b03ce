/*
 * launcher.c
 *	  Keeps one coordinator in each database of product_sync.databases.
 *
 * It is connected to no database, so it reads shared catalogs only.  A coordinator that ends for whatever reason is started again,
 * but not sooner than RESTART_SECONDS after it was started; a database that is missing is said once and looked for again now and then.
 */
#include "worker/worker.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "compat.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "product_sync.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/varlena.h"

#define RESTART_SECONDS 5
#define MISSING_SECONDS 60

typedef struct Coordinator
{
	char		name[NAMEDATALEN];
	Oid			database;		/* in which it was started last */
	BackgroundWorkerHandle *handle;
	TimestampTz started_at;
	bool		complained;
	bool		wanted;
} Coordinator;

PGDLLEXPORT void ps_launcher_main(Datum arg);

static List *coordinators = NIL;

static Coordinator *
coordinator_for(const char *name)
{
	ListCell   *cell;
	Coordinator *coordinator;
	MemoryContext old;

	foreach(cell, coordinators)
	{
		coordinator = lfirst(cell);
		if (strcmp(coordinator->name, name) == 0)
			return coordinator;
	}
	old = MemoryContextSwitchTo(TopMemoryContext);
	coordinator = palloc0(sizeof(Coordinator));
	strlcpy(coordinator->name, name, NAMEDATALEN);
	coordinators = lappend(coordinators, coordinator);
	MemoryContextSwitchTo(old);
	return coordinator;
}

/* The setting's names become the wanted coordinators; what it no longer names is ended. */
static void
read_setting(void)
{
	List	   *names = NIL;
	ListCell   *cell;
	char	   *copy = pstrdup(ps_databases);

	foreach(cell, coordinators)
		((Coordinator *) lfirst(cell))->wanted = false;
	if (!SplitIdentifierString(copy, ',', &names))
		ereport(WARNING,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("product_sync.databases is not a list of names: \"%s\"", ps_databases)));
	else
		foreach(cell, names)
			coordinator_for(lfirst(cell))->wanted = true;
	foreach(cell, coordinators)
	{
		Coordinator *coordinator = lfirst(cell);

		if (!coordinator->wanted && coordinator->handle)
		{
			/* Its workers too: what they have not finished waits until the database is named again. */
			TerminateBackgroundWorker(coordinator->handle);
			shared_terminate_database(coordinator->database);
			pfree(coordinator->handle);
			coordinator->handle = NULL;
		}
	}
	list_free(names);
	pfree(copy);
}

/*
 * A database's OID, or InvalidOid.  A process without a database has no catalog of indexes either, so pg_database is read from end to
 * end, as the autovacuum launcher does.
 */
static Oid
find_database(const char *name)
{
	Oid			database = InvalidOid;
	Relation	relation;
	TableScanDesc scan;
	HeapTuple	tuple;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database row = (Form_pg_database) GETSTRUCT(tuple);

		if (row->datallowconn && strcmp(NameStr(row->datname), name) == 0)
			database = row->oid;
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();
	return database;
}

static void
start_coordinator(Coordinator *coordinator, Oid database)
{
	BackgroundWorker worker;
	MemoryContext old;

	memset(&worker, 0, sizeof(worker));
	snprintf(worker.bgw_name, BGW_MAXLEN, "product_sync coordinator: %s", coordinator->name);
	snprintf(worker.bgw_type, BGW_MAXLEN, "product_sync coordinator");
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;	/* this launcher restarts it, and knows when not to */
	snprintf(worker.bgw_library_name, BGW_MAXLEN, "product_sync");
	snprintf(worker.bgw_function_name, BGW_MAXLEN, "ps_coordinator_main");
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	strlcpy(worker.bgw_extra, coordinator->name, BGW_EXTRALEN);
	worker.bgw_notify_pid = MyProcPid;

	coordinator->started_at = GetCurrentTimestamp();
	coordinator->database = database;
	old = MemoryContextSwitchTo(TopMemoryContext);
	if (!RegisterDynamicBackgroundWorker(&worker, &coordinator->handle))
	{
		coordinator->handle = NULL;
		if (!coordinator->complained)
			ereport(WARNING,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("no background worker is free for product_sync's coordinator of database \"%s\"", coordinator->name),
					 errhint("Raise max_worker_processes.")));
		coordinator->complained = true;
	}
	else
		coordinator->complained = false;
	MemoryContextSwitchTo(old);
}

/* Starts what is missing.  Returns in how many milliseconds to look again, -1 for never. */
static long
look_after(void)
{
	ListCell   *cell;
	long		wait = -1;

	foreach(cell, coordinators)
	{
		Coordinator *coordinator = lfirst(cell);
		pid_t		pid;
		Oid			database;
		long		again;

		if (!coordinator->wanted)
			continue;
		if (coordinator->handle)
		{
			if (GetBackgroundWorkerPid(coordinator->handle, &pid) != BGWH_STOPPED)
				continue;
			pfree(coordinator->handle);
			coordinator->handle = NULL;
		}
		again = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
												TimestampTzPlusMilliseconds(coordinator->started_at, RESTART_SECONDS * 1000));
		if (coordinator->started_at == 0 || again == 0)
		{
			database = find_database(coordinator->name);
			if (OidIsValid(database))
			{
				start_coordinator(coordinator, database);
				again = coordinator->handle ? -1 : RESTART_SECONDS * 1000;
			}
			else
			{
				if (!coordinator->complained)
					ereport(LOG, (errmsg("product_sync.databases names database \"%s\", which does not exist", coordinator->name)));
				coordinator->complained = true;
				again = MISSING_SECONDS * 1000;
			}
		}
		if (again >= 0 && (wait < 0 || again < wait))
			wait = again;
	}
	return wait;
}

void
ps_launcher_main(Datum arg pg_attribute_unused())
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("product_sync launcher");
	read_setting();

	for (;;)
	{
		long		wait = look_after();

		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (wait >= 0 ? WL_TIMEOUT : 0), wait, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			read_setting();
		}
	}
}
