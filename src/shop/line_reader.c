/*
 * line_reader.c
 *	  The lines of a spool file, each of bounded length.  A line is valid until the next is asked for.
 */
#include "shop/line_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/fd.h"

#define FIRST_ROOM	((size_t) 1024 * 1024)

/* Opens a file, or fails. */
LineReader *
line_reader_open(const char *path, size_t limit)
{
	LineReader *reader = palloc0(sizeof(LineReader));
	struct stat st;

	reader->path = pstrdup(path);
	reader->limit = limit;
	reader->fd = OpenTransientFile(path, O_RDONLY | PG_BINARY | O_NOFOLLOW);
	if (reader->fd < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not open file \"%s\": %m", path)));
	if (fstat(reader->fd, &st) < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not stat file \"%s\": %m", path)));
	if (!S_ISREG(st.st_mode))
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is not a regular file", path)));
	reader->room = FIRST_ROOM;
	reader->buffer = palloc(reader->room);
	return reader;
}

/* Reads more behind what is there.  False at the end of the file. */
static bool
fill(LineReader *reader)
{
	ssize_t		n;

	CHECK_FOR_INTERRUPTS();
	if (reader->start > 0)
	{
		memmove(reader->buffer, reader->buffer + reader->start, reader->end - reader->start);
		reader->end -= reader->start;
		reader->scanned -= reader->start;
		reader->start = 0;
	}
	if (reader->end == reader->room)
	{
		reader->room *= 2;
		reader->buffer = repalloc(reader->buffer, reader->room);
	}
	do
		n = read(reader->fd, reader->buffer + reader->end, reader->room - reader->end);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not read file \"%s\": %m", reader->path)));
	reader->end += n;
	reader->bytes += n;
	reader->at_end = n == 0;
	return n > 0;
}

/* Gives the next line, without its end. */
LineResult
line_reader_next(LineReader *reader, char **line, size_t *length)
{
	bool		too_long = false;

	for (;;)
	{
		char	   *newline = memchr(reader->buffer + reader->scanned, '\n', reader->end - reader->scanned);
		size_t		end = newline == NULL ? reader->end : (size_t) (newline - reader->buffer);

		*line = reader->buffer + reader->start;
		*length = end - reader->start;
		too_long |= *length > reader->limit;
		if (newline != NULL)
		{
			reader->start = reader->scanned = end + 1;
			return too_long ? LINE_TOO_LONG : LINE_GIVEN;
		}
		reader->scanned = end;
		if (too_long)
			reader->start = reader->scanned = reader->end = 0;
		if (!fill(reader))
		{
			*line = reader->buffer + reader->start;
			*length = reader->end - reader->start;
			reader->start = reader->scanned = reader->end;
			return too_long ? LINE_TOO_LONG : *length > 0 ? LINE_UNENDED : LINE_END;
		}
	}
}

void
line_reader_close(LineReader *reader)
{
	CloseTransientFile(reader->fd);
	pfree(reader->buffer);
}
