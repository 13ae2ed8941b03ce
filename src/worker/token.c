/*
 * token.c
 *	  Tokens that a server gives in its answer: out of the answer and into a file, before SQL sees it.
 *
 * A token is a secret that lives for hours.  It is kept like the secrets of file:NAME, in a folder of the database's own that only the
 * server's user may enter: never in a table, where dumps and readers would have it.  What held it in memory is wiped; the pieces that
 * the JSON reader used on the way are beyond reach.
 */
#include "worker/token.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool
token_name_good(const char *name)
{
	size_t		len = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-");

	return len > 0 && len <= TOKEN_MAX_NAME && name[len] == '\0' && name[0] != '.';
}

/* Whether a header or a form can carry it. */
static bool
token_usable(const char *token, size_t len)
{
	if (len == 0 || len > TRANSFER_MAX_CREDENTIAL)
		return false;
	for (size_t i = 0; i < len; i++)
	{
		if (token[i] <= ' ' || token[i] > '~')
			return false;
	}
	return true;
}

/* Opens the folder; -1 with errno where it is none of ours alone. */
static int
open_folder(const char *folder)
{
	struct stat st;
	int			fd = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0 && (fstat(fd, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 077) != 0))
	{
		close(fd);
		errno = EPERM;
		return -1;
	}
	return fd;
}

/* Writes all of it, and waits until the disk has it. */
static bool
write_synced(int fd, const char *text, size_t len)
{
	while (len > 0)
	{
		ssize_t		n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
		{
			errno = n < 0 ? errno : ENOSPC;
			return false;
		}
		text += n;
		len -= n;
	}
	return fsync(fd) == 0;
}

/* The new file under a name of its own, then under the right one. */
static bool
replace_file(int folder_fd, const char *name, const char *token)
{
	char		draft[TOKEN_MAX_NAME + 32];
	int			fd;
	bool		ok;
	int			saved_errno;

	snprintf(draft, sizeof(draft), ".%s.%ld", name, (long) getpid());
	(void) unlinkat(folder_fd, draft, 0);
	fd = openat(folder_fd, draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	ok = write_synced(fd, token, strlen(token));
	saved_errno = errno;
	if (close(fd) < 0 && ok)
	{
		ok = false;
		saved_errno = errno;
	}
	if (ok && renameat(folder_fd, draft, folder_fd, name) < 0)
	{
		ok = false;
		saved_errno = errno;
	}
	if (ok)
		return fsync(folder_fd) == 0;
	(void) unlinkat(folder_fd, draft, 0);
	errno = saved_errno;
	return false;
}

bool
token_write(const char *folder, const char *name, const char *token, char *errbuf, size_t errlen)
{
	int			folder_fd = open_folder(folder);
	bool		ok = folder_fd >= 0 && token_name_good(name) && replace_file(folder_fd, name, token);

	if (!ok)
		snprintf(errbuf, errlen, "the token could not be written to \"%.300s/%.63s\": %s", folder, name,
				 folder_fd >= 0 && !token_name_good(name) ? "not a name" : strerror(errno));
	if (folder_fd >= 0)
		close(folder_fd);
	return ok;
}

/* Wipes and frees the body. */
static void
drop_body(TransferResult *result)
{
	if (result->body)
		explicit_bzero(result->body, result->body_len);
	free(result->body);
	result->body = NULL;
	result->body_len = 0;
}

/* Takes the field from the object and writes it.  Sets kept and message. */
static void
take_field(TransferResult *result, json_t *answer, const char *folder, const TokenKeep *keep)
{
	json_t	   *field = json_object_get(answer, keep->field);
	const char *token = json_string_value(field);

	if (token == NULL || !token_usable(token, json_string_length(field)))
		snprintf(result->message, sizeof(result->message), "\"%s\" of the answer is no text that could be a token", keep->field);
	else if (token_write(folder, keep->name, token, result->message, sizeof(result->message)))
		result->kept = 1;
	if (token)
		explicit_bzero((char *) token, json_string_length(field));
	json_object_del(answer, keep->field);
	drop_body(result);
	result->body = json_dumps(answer, JSON_COMPACT);
	result->body_len = result->body ? strlen(result->body) : 0;
}

void
token_keep(TransferResult *result, const char *folder, const TokenKeep *keep)
{
	json_t	   *answer = NULL;

	result->kept = 0;
	if (result->class != TRANSFER_OK)
	{
		/* A refusal is for SQL to read; a success that was cut off may end within the token. */
		if (result->status < 300)
			drop_body(result);
		return;
	}
	if (result->body && result->body_len <= TOKEN_MAX_ANSWER)
		answer = json_loadb(result->body, result->body_len, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(answer))
	{
		drop_body(result);
		snprintf(result->message, sizeof(result->message), "the answer is no JSON object; it was to hold \"%s\"", keep->field);
	}
	else if (json_object_get(answer, keep->field) == NULL)
		snprintf(result->message, sizeof(result->message), "the answer has no \"%s\"", keep->field);
	else
		take_field(result, answer, folder, keep);
	json_decref(answer);
}
