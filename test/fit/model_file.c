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

/* Copies a line with its number replaced.  Returns false, with the reason, where the line is not as it should be. */
static bool
copy_line(FILE *out, char *line, const char *const names[], const double *weights, int n, double bias, int *at, char *error, size_t room)
{
	char		quoted[128];
	char	   *end;
	char	   *start;

	if (strncmp(line, "EVIDENCE(", 9) != 0 && strncmp(line, "BIAS(", 5) != 0)
	{
		fputs(line, out);
		return true;
	}
	start = number_of(line, &end);
	snprintf(quoted, sizeof(quoted), "\"%s\"", *at < n ? names[*at] : "");
	if (start == NULL || *at > n || (*at < n && strstr(line, quoted) == NULL) || (*at == n) != (line[0] == 'B'))
	{
		snprintf(error, room, "%s was expected, and not: %.100s", *at < n ? quoted : "BIAS", line);
		return false;
	}
	fwrite(line, 1, (size_t) (start - line), out);
	print_weight(out, *at < n ? weights[*at] : bias);
	fputs(end, out);
	*at += 1;
	return true;
}

/*
 * Replaces the weights, which stand in the file in this order, and the bias.  The file is replaced as a whole or, where the answer is
 * false and error says why, not at all.
 */
bool
model_write(const char *path, const char *const names[], const double *weights, int n, double bias, char *error, size_t room)
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
		good = copy_line(out, line, names, weights, n, bias, &at, error, room);
	if (good && at != n + 1)
	{
		snprintf(error, room, "%s has %d numbers, not %d", path, at, n + 1);
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
