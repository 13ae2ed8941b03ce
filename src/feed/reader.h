/*
 * reader.h
 *	  Unpacks a feed ahead of who parses it, in a thread of its own.  Plain C.
 *
 * Inflating, the CRC and the content hash cost about as much as parsing and inserting, and need nothing from PostgreSQL, so they run
 * beside it.  The thread takes no signals, calls no PostgreSQL function and touches nothing but its Reader.  Pieces pass through a
 * bounded ring, in order.
 */
#ifndef FEED_READER_H
#define FEED_READER_H

#include "feed/archive.h"

typedef enum ReaderResult
{
	READER_DATA,				/* *data, *len: a piece, until reader_release() */
	READER_END,					/* all members were read and are sound */
	READER_ERROR,				/* reader_error() */
	READER_WAIT					/* nothing within the time given; ask again */
} ReaderResult;

typedef struct Reader Reader;

extern Reader *reader_start(Archive *archive);
extern ReaderResult reader_take(Reader *reader, const char **data, size_t *len, int wait_ms);
extern void reader_release(Reader *reader);
extern const ArchiveError *reader_error(const Reader *reader);
extern const unsigned char *reader_hash(const Reader *reader);
extern void reader_stop(Reader *reader);

#endif
