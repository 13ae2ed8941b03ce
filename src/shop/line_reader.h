/*
 * line_reader.h
 *	  The lines of a spool file, each of bounded length.
 */
#ifndef SHOP_LINE_READER_H
#define SHOP_LINE_READER_H

#include "postgres.h"

typedef struct LineReader
{
	int			fd;
	char	   *path;
	char	   *buffer;
	size_t		room;
	size_t		start;			/* of what has not been given */
	size_t		end;			/* of what was read */
	size_t		scanned;		/* up to here there is no end of line behind start */
	size_t		limit;			/* longest line */
	uint64		bytes;			/* read so far */
	bool		at_end;			/* of the file */
} LineReader;

typedef enum LineResult
{
	LINE_GIVEN,
	LINE_TOO_LONG,				/* was skipped */
	LINE_UNENDED,				/* given, but the file ends within it */
	LINE_END					/* no more */
} LineResult;

extern LineReader *line_reader_open(const char *path, size_t limit);
extern LineResult line_reader_next(LineReader *reader, char **line, size_t *length);
extern void line_reader_close(LineReader *reader);

#endif
