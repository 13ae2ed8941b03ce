/*
 * archive.h
 *	  A feed's zip file: finds the CSV in it and reads it to its last byte, within limits.  Plain C over libzip.
 *
 * archive_open() looks at the directory of the archive: number and names of members, and which is the feed, the first *.csv.
 * archive_read() streams that member.  When it has returned 0, the member's CRC has been checked, and archive_finish() reads every other
 * member the same way: a damaged archive must not be half believed.  Sizes in the directory are claims, so the limits count what was
 * really unpacked.  A member's name is never used as a path.
 */
#ifndef FEED_ARCHIVE_H
#define FEED_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ARCHIVE_HASH_BYTES	32

typedef enum ArchiveStatus
{
	ARCHIVE_OK,
	ARCHIVE_CANNOT_OPEN,		/* the file itself cannot be read; system_error says why */
	ARCHIVE_EMPTY_FILE,			/* it has no byte */
	ARCHIVE_NOT_ZIP,			/* no zip file, or one cut short */
	ARCHIVE_TOO_MANY_ENTRIES,
	ARCHIVE_UNSAFE_NAME,
	ARCHIVE_NO_CSV,
	ARCHIVE_ENCRYPTED,
	ARCHIVE_UNSUPPORTED,		/* a way of packing that libzip does not know */
	ARCHIVE_CORRUPT,			/* CRC or packed data are wrong */
	ARCHIVE_TOO_LARGE,			/* more unpacked bytes than allowed */
	ARCHIVE_RATIO,				/* more unpacked bytes for each packed one than allowed */
	ARCHIVE_ABORTED,			/* archive_abort() was called */
	ARCHIVE_NO_MEMORY
} ArchiveStatus;

typedef struct ArchiveLimits
{
	uint64_t	max_entries;
	uint64_t	max_bytes;		/* unpacked, all members together */
	uint64_t	max_ratio;		/* unpacked bytes for one byte of the file; the first megabyte is free */
} ArchiveLimits;

typedef struct ArchiveError
{
	ArchiveStatus status;
	int			system_error;	/* errno for ARCHIVE_CANNOT_OPEN */
	uint64_t	number;			/* entries, bytes or ratio found */
	char		member[256];	/* printable form of the name of the guilty member, or empty */
	char		detail[256];	/* what libzip says, or empty */
} ArchiveError;

typedef struct Archive Archive;

extern Archive *archive_open(const char *path, const ArchiveLimits *limits, ArchiveError *error);
extern Archive *archive_open_bytes(const void *data, size_t len, const ArchiveLimits *limits, ArchiveError *error);
extern void archive_close(Archive *archive);
extern void archive_abort(Archive *archive);
extern const char *archive_member(const Archive *archive);
extern bool archive_claims(const Archive *archive, uint64_t *size, uint32_t *crc);
extern ssize_t archive_read(Archive *archive, void *buf, size_t len, ArchiveError *error);
extern bool archive_finish(Archive *archive, ArchiveError *error);
extern bool archive_hash(Archive *archive, unsigned char hash[ARCHIVE_HASH_BYTES]);

#endif
