/*
 * model_file.c
 *	  Writes weights into model.def, and changes nothing else of it.
 */
#include "fit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A weight as text; one that rounds to 0 has no sign. */
static void
print_weight(FILE *file, double weight)
{
	char		text[64];

	snprintf(text, sizeof(text), "%.3f", weight);
	fprintf(file, "%sf", strcmp(text, "-0.000") == 0 ? "0.000" : text);
}

/* Where the number of a line starts, that is behind the macro's last comma or its bracket; NULL where there is none. */
static char *
number_of(char *line, char **end)
{
	char	   *start;

	*end = strchr(line, ')');
	if (*end == NULL)
		return NULL;
	for (start = *end; start > line && start[-1] != ',' && start[-1] != '('; start--)
		;
	while (*start == ' ')
		start++;
	return start;
}

/* Whether the line is the named number's: EVIDENCE(..., "name", ...), or NAME(...). */
static bool
is_line_of(const char *line, const char *name)
{
	char		quoted[128];
	size_t		length = strlen(name);

	if (strncmp(line, "EVIDENCE(", 9) != 0)
		return strncmp(line, name, length) == 0 && line[length] == '(';
	snprintf(quoted, sizeof(quoted), "\"%s\"", name);
	return strstr(line, quoted) != NULL;
}

/* Whether the line has a number: it begins with a name in capitals and a bracket. */
static bool
has_number(const char *line)
{
	size_t		n = strspn(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");

	return n > 0 && line[n] == '(';
}

/* Copies a line with its number replaced.  Returns false, with the reason, where the line is not as it should be. */
static bool
copy_line(FILE *out, char *line, const char *const names[], const double *numbers, int n, int *at, char *error, size_t room)
{
	char	   *end;
	char	   *start;

	if (!has_number(line))
	{
		fputs(line, out);
		return true;
	}
	start = number_of(line, &end);
	if (start == NULL || *at == n || !is_line_of(line, names[*at]))
	{
		snprintf(error, room, "%s was expected, and not: %.100s", *at < n ? names[*at] : "the end", line);
		return false;
	}
	fwrite(line, 1, (size_t) (start - line), out);
	print_weight(out, numbers[*at]);
	fputs(end, out);
	*at += 1;
	return true;
}

/*
 * Replaces the numbers, which stand in the file in this order.  The file is replaced as a whole or, where the answer is
 * false and error says why, not at all.
 */
bool
model_write(const char *path, const char *const names[], const double *numbers, int n, char *error, size_t room)
{
	char		temporary[4096];
	FILE	   *in = fopen(path, "r");
	FILE	   *out;
	struct stat info;
	char	   *line = NULL;
	size_t		line_room = 0;
	bool		good = true;
	int			at = 0;

	snprintf(error, room, "%s cannot be opened: %s", path, strerror(errno));
	if (in == NULL || fstat(fileno(in), &info) != 0 || snprintf(temporary, sizeof(temporary), "%s.new", path) >= (int) sizeof(temporary))
		return false;
	out = fopen(temporary, "w");
	if (out == NULL)
	{
		snprintf(error, room, "%s cannot be written: %s", temporary, strerror(errno));
		fclose(in);
		return false;
	}
	while (good && getline(&line, &line_room, in) > 0)
		good = copy_line(out, line, names, numbers, n, &at, error, room);
	if (good && at != n)
	{
		snprintf(error, room, "%s has %d numbers, not %d", path, at, n);
		good = false;
	}
	if (fchmod(fileno(out), info.st_mode & 0777) != 0 || fclose(out) != 0 || (good && rename(temporary, path) != 0))
	{
		snprintf(error, room, "%s cannot be written: %s", path, strerror(errno));
		good = false;
	}
	if (!good)
		unlink(temporary);
	free(line);
	fclose(in);
	return good;
}
