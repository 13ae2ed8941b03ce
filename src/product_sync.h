/*
 * product_sync.h
 *	  What every part of the extension may use: settings and the spool folder.
 */
#ifndef PRODUCT_SYNC_H
#define PRODUCT_SYNC_H

#include "postgres.h"

/* Settings; product_sync.c says what each is for. */
extern char *ps_databases;
extern int	ps_max_workers;
extern int	ps_max_transfers;
extern int	ps_worker_idle_timeout;
extern int	ps_lease_duration;
extern int	ps_match_cache_size;
extern int	ps_match_index_staleness;
extern int	ps_match_threads;
extern char *ps_secret_directory;
extern char *ps_spool_directory;
extern int	ps_feed_max_megabytes;
extern int	ps_feed_max_ratio;
extern int	ps_feed_max_entries;
extern int	ps_feed_max_field_kilobytes;

/*
 * This database's part of the spool folder, and where its spool file of this name is: databases number their feeds alike.  Both make the
 * folder (mode 0700) when it is missing.  Results are palloc'd.
 */
extern char *ps_spool_folder(void);
extern char *ps_spool_path(const char *name);

/* The same folder's name; nothing is made. */
extern char *ps_spool_folder_name(void);

/* Says how far the present job is, for sync.progress; does nothing outside a worker. */
extern void ps_progress_set(uint64 done);

#endif
