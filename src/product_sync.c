/*
 * product_sync.c
 *	  Loading of the library: settings, and the registration of the launcher.
 */
#include "product_sync.h"

#include <errno.h>
#include <limits.h>
#include <sys/stat.h>

#include "common/file_perm.h"
#include "commands/dbcommands.h"
#include "compat.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "postmaster/bgworker.h"
#include "storage/fd.h"
#include "tcop/utility.h"
#include "utils/guc.h"
#include "worker/worker.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

char	   *ps_databases;
int			ps_max_workers;
int			ps_max_transfers;
int			ps_worker_idle_timeout;
int			ps_lease_duration;
int			ps_match_cache_size;
int			ps_match_index_staleness;
int			ps_match_threads;
char	   *ps_secret_directory;
char	   *ps_spool_directory;
int			ps_feed_max_megabytes;
int			ps_feed_max_ratio;
int			ps_feed_max_entries;
int			ps_feed_max_field_kilobytes;

static void
define_settings(void)
{
	DefineCustomStringVariable("product_sync.databases",
							   "Databases in which product_sync works.",
							   "Names separated by commas; empty starts no workers.",
							   &ps_databases, "", PGC_SIGHUP, GUC_LIST_INPUT, NULL, NULL, NULL);
	DefineCustomIntVariable("product_sync.feed_max_entries",
							"Most members that a feed's zip file may have.",
							NULL, &ps_feed_max_entries, 100, 1, 100000, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("product_sync.feed_max_field_kilobytes",
							"Longest field of a feed, in kB; a record with a longer one is rejected.",
							NULL, &ps_feed_max_field_kilobytes, 1024, 1, 1024 * 100, PGC_SUSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("product_sync.feed_max_megabytes",
							"Largest feed, unpacked, in MB.",
							NULL, &ps_feed_max_megabytes, 16 * 1024, 1, INT_MAX, PGC_SUSET, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("product_sync.feed_max_ratio",
							"Most unpacked bytes for one packed byte of a feed.",
							NULL, &ps_feed_max_ratio, 200, 2, 100000, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("product_sync.lease_duration",
							"How long a worker may hold a job without a sign of life.",
							NULL, &ps_lease_duration, 600, 10, 86400, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("product_sync.match_cache_size",
							"Most that the kept indexes of sync_match() take in the spool folder, in MB for each database.",
							"0 keeps none.",
							&ps_match_cache_size, 1024, 0, INT_MAX, PGC_SUSET, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("product_sync.match_index_staleness",
							"How old an index sync_match_one() may use while the catalogue changes.",
							"0 builds it again after every change.",
							&ps_match_index_staleness, 60, 0, 86400, PGC_USERSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("product_sync.match_threads",
							"Threads that a session may match with.",
							NULL, &ps_match_threads, 2, 1, 16, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("product_sync.max_transfers",
							"Most requests that one worker has under way at a time.",
							NULL, &ps_max_transfers, 200, 1, 1000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("product_sync.max_workers",
							"Most workers for a database.",
							"They come out of max_worker_processes.",
							&ps_max_workers, 3, 0, 64, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("product_sync.secret_directory",
							   "Folder of the secrets that connections name as file:NAME.",
							   "Relative to the data directory; files must be readable by the server's user alone.",
							   &ps_secret_directory, "product_sync/secrets", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("product_sync.spool_directory",
							   "Folder for downloaded feeds and match indexes.",
							   "Relative to the data directory.",
							   &ps_spool_directory, "product_sync", PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomIntVariable("product_sync.worker_idle_timeout",
							"How long a worker without work stays.",
							NULL, &ps_worker_idle_timeout, 10, 1, 3600, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	MarkGUCPrefixReserved("product_sync");
}

static void
make_spool_folder(const char *path)
{
	if (MakePGDirectory(path) < 0 && errno != EEXIST)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create spool directory \"%s\": %m", path),
				 errhint("Point product_sync.spool_directory at a folder that the server may write.")));
}

char *
ps_spool_folder_name(void)
{
	return psprintf("%s/%u", ps_spool_directory, MyDatabaseId);
}

char *
ps_spool_folder(void)
{
	char	   *path = ps_spool_folder_name();

	make_spool_folder(ps_spool_directory);
	make_spool_folder(path);
	return path;
}

char *
ps_spool_path(const char *name)
{
	return psprintf("%s/%s", ps_spool_folder(), name);
}

static ProcessUtility_hook_type prev_process_utility = NULL;

/*
 * DROP DATABASE waits for other sessions to leave; ours leave when told to.  The launcher finds the database gone and starts nothing
 * there, or, when the command failed, starts a coordinator again.
 */
static void
process_utility(PlannedStmt *statement, const char *query, bool read_only_tree, ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	if (IsA(statement->utilityStmt, DropdbStmt))
	{
		Oid			database = get_database_oid(((DropdbStmt *) statement->utilityStmt)->dbname, true);

		if (OidIsValid(database) && database != MyDatabaseId && ps_owns_database(database))
			shared_terminate_database(database);
	}
	if (prev_process_utility)
		prev_process_utility(statement, query, read_only_tree, context, params, environment, dest, completion);
	else
		standard_ProcessUtility(statement, query, read_only_tree, context, params, environment, dest, completion);
}

static void
register_launcher(void)
{
	BackgroundWorker launcher;

	memset(&launcher, 0, sizeof(launcher));
	snprintf(launcher.bgw_name, BGW_MAXLEN, "product_sync launcher");
	snprintf(launcher.bgw_type, BGW_MAXLEN, "product_sync launcher");
	launcher.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	launcher.bgw_start_time = BgWorkerStart_RecoveryFinished;
	launcher.bgw_restart_time = 5;
	snprintf(launcher.bgw_library_name, BGW_MAXLEN, "product_sync");
	snprintf(launcher.bgw_function_name, BGW_MAXLEN, "ps_launcher_main");
	RegisterBackgroundWorker(&launcher);
}

void
_PG_init(void)
{
	define_settings();
	if (IsBinaryUpgrade || !process_shared_preload_libraries_in_progress)
		return;
	shared_request();
	register_launcher();
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
