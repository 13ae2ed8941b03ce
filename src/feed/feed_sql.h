/*
 * feed_sql.h
 *	  What the SQL-facing files of the feed share.
 */
#ifndef FEED_SQL_H
#define FEED_SQL_H

#include "compat.h"
#include "feed/archive.h"
#include "lib/stringinfo.h"

/* SQLSTATEs of a feed that cannot be read: class 22 (data exception), so never worth trying again with the same file. */
#define ERRCODE_FEED_EMPTY_FILE			MAKE_SQLSTATE('2', '2', 'Z', '0', '1')
#define ERRCODE_FEED_NOT_ZIP			MAKE_SQLSTATE('2', '2', 'Z', '0', '2')
#define ERRCODE_FEED_ENCRYPTED			MAKE_SQLSTATE('2', '2', 'Z', '0', '3')
#define ERRCODE_FEED_CORRUPT			MAKE_SQLSTATE('2', '2', 'Z', '0', '4')
#define ERRCODE_FEED_TOO_LARGE			MAKE_SQLSTATE('2', '2', 'Z', '0', '5')
#define ERRCODE_FEED_RATIO				MAKE_SQLSTATE('2', '2', 'Z', '0', '6')
#define ERRCODE_FEED_TOO_MANY_ENTRIES	MAKE_SQLSTATE('2', '2', 'Z', '0', '7')
#define ERRCODE_FEED_NO_CSV				MAKE_SQLSTATE('2', '2', 'Z', '0', '8')
#define ERRCODE_FEED_UNSAFE_NAME		MAKE_SQLSTATE('2', '2', 'Z', '0', '9')
#define ERRCODE_FEED_UNSUPPORTED		MAKE_SQLSTATE('2', '2', 'Z', '1', '0')
#define ERRCODE_FEED_HEADER				MAKE_SQLSTATE('2', '2', 'Z', '1', '1')

extern ArchiveLimits feed_archive_limits(void);
extern Archive *feed_archive_open(int64 feed_file_id);
pg_noreturn extern void feed_archive_error(const ArchiveError *error, int64 feed_file_id);
extern void feed_check_database_encoding(void);
extern char *feed_presentable(const char *raw, size_t len, size_t max);

#endif
