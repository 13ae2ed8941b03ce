/*
 * secret.c
 *	  Secrets of connections: read where they are kept, at the moment of use, and never kept here.
 *
 * vault:NAME  Supabase Vault, through its view vault.decrypted_secrets, as the role that runs the worker's SQL
 * file:NAME   a file in product_sync.secret_directory, readable by the server's user alone; one line break at its end does not count
 * env:NAME    the server's environment, only names that start with PRODUCT_SYNC_: who edits a connection must not read all of it
 * token:NAME  a token that a server gave (worker/token.c), in the folder tokens-<database's number> of the secret directory; only for
 *             requests that our own SQL makes: a connection cannot name it
 *
 * Messages say what was looked for and where, never what was found.
 */
#include "postgres.h"

#include "product_sync.h"
#include "worker/secret.h"
#include "worker/token.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#define MAX_SECRET	(64 * 1024)
#define ENV_PREFIX	"PRODUCT_SYNC_"

char *
secret_path(const char *name)
{
	if (name[0] == '\0' || name[0] == '.' || strlen(name) > 128 ||
		strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") != strlen(name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s\" is not the name of a file in product_sync.secret_directory", name),
				 errhint("Use letters, digits, \"_\", \"-\" and \".\", without a folder and not starting with \".\".")));
	return psprintf("%s/%s", ps_secret_directory, name);
}

/* A secret must be text without line breaks or NUL: it goes into lines of a protocol.  Returns it without the line break at its end. */
static char *
check_text(char *secret, size_t len, const char *reference)
{
	if (len > 0 && secret[len - 1] == '\n')
		len--;
	if (len > 0 && secret[len - 1] == '\r')
		len--;
	secret[len] = '\0';
	if (len == 0 || strlen(secret) != len || strpbrk(secret, "\r\n") != NULL)
	{
		explicit_bzero(secret, len);
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("secret \"%s\" is empty, or not one line of text", reference)));
	}
	return secret;
}

/* Refuses a secret's file that others could read or could have written. */
static void
check_file(int fd, const char *path)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not examine secret file \"%s\": %m", path)));
	if (!S_ISREG(st.st_mode))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("secret file \"%s\" is not a regular file", path)));
	if (st.st_uid != geteuid() || (st.st_mode & 07777 & ~0600) != 0 || (st.st_mode & 0400) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("secret file \"%s\" is not private", path),
				 errdetail("It belongs to user %u and has mode %04o.", (unsigned) st.st_uid, (unsigned) (st.st_mode & 07777)),
				 errhint("It must belong to the server's user and have mode 0600 or 0400.")));
	if (st.st_size > MAX_SECRET)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("secret file \"%s\" is longer than %d bytes", path, MAX_SECRET)));
}

/* Reads a file, for file:NAME and token:NAME. */
static char *
secret_from_file(const char *path, const char *reference, const char *hint)
{
	/* O_NONBLOCK: a FIFO in the folder must not hang the server before it is refused. */
	int			fd = OpenTransientFile(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | PG_BINARY);
	bool		missing = fd < 0 && errno == ENOENT;
	char	   *secret;
	size_t		len = 0;

	if (fd < 0)
		ereport(ERROR,
				(missing ? errcode(ERRCODE_UNDEFINED_OBJECT) : errcode_for_file_access(),
				 errmsg("could not open secret file \"%s\": %m", path),
				 errhint("%s", hint)));
	check_file(fd, path);
	secret = palloc(MAX_SECRET + 1);
	for (;;)
	{
		ssize_t		n = read(fd, secret + len, MAX_SECRET - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			ereport(ERROR, (errcode_for_file_access(), errmsg("could not read secret file \"%s\": %m", path)));
		if (n == 0)
			break;
		len += n;
	}
	CloseTransientFile(fd);
	return check_text(secret, len, reference);
}

/* Makes a folder for secrets where there is none. */
static void
make_folder(const char *path)
{
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create folder \"%s\" for secrets: %m", path),
				 errhint("Point product_sync.secret_directory at a folder that the server may write, or make that one.")));
}

char *
secret_token_path(MemoryContext context)
{
	MemoryContext old_context = MemoryContextSwitchTo(context);
	char	   *path = psprintf("%s/tokens-%u", ps_secret_directory, MyDatabaseId);

	MemoryContextSwitchTo(old_context);
	return path;
}

char *
secret_token_folder(bool make)
{
	char	   *path = secret_token_path(CurrentMemoryContext);
	char	   *parent = pstrdup(ps_secret_directory);
	char	   *slash = strrchr(parent, '/');
	struct stat st;

	if (make && lstat(path, &st) < 0)
	{
		/* The shipped setting is two folders deep. */
		if (slash && slash > parent)
		{
			*slash = '\0';
			make_folder(parent);
		}
		make_folder(ps_secret_directory);
		make_folder(path);
	}
	if (lstat(path, &st) < 0)
	{
		if (errno == ENOENT)
			return NULL;
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not examine folder \"%s\": %m", path)));
	}
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("\"%s\" is not a private folder", path),
				 errhint("It must be a folder of the server's user with mode 0700.")));
	return path;
}

/* Reads token:NAME. */
static char *
secret_from_token(const char *name, const char *reference)
{
	char	   *folder;

	if (!token_name_good(name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME), errmsg("\"%s\" is not the name of a token", name)));
	folder = secret_token_folder(false);
	if (folder == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("there is no token \"%s\"", name)));
	return secret_from_file(psprintf("%s/%s", folder, name), reference, "It is asked for again by itself.");
}

/* Reads env:NAME. */
static char *
secret_from_environment(const char *name, const char *reference)
{
	const char *value;

	if (strncmp(name, ENV_PREFIX, strlen(ENV_PREFIX)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("environment variable \"%s\" may not be used as a secret", name),
				 errhint("Only names that start with %s may.", ENV_PREFIX)));
	value = getenv(name);
	if (value == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("environment variable \"%s\" is not set", name),
				 errhint("Set it in the server's environment and restart the server.")));
	return check_text(pstrdup(value), strlen(value), reference);
}

/* Whether Supabase Vault is installed. */
static bool
vault_present(void)
{
	Oid			schema = get_namespace_oid("vault", true);

	return OidIsValid(schema) && OidIsValid(get_relname_relid("decrypted_secrets", schema));
}

/* Reads vault:NAME. */
static char *
secret_from_vault(const char *name, const char *reference)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid			types[1] = {TEXTOID};
	Datum		values[1];
	char	   *secret = NULL;

	if (!vault_present())
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("secret \"%s\" cannot be read: this database has no Vault", reference),
				 errhint("CREATE EXTENSION supabase_vault, or keep the secret as file:NAME.")));
	values[0] = CStringGetTextDatum(name);
	SPI_connect();
	if (SPI_execute_with_args("SELECT decrypted_secret::pg_catalog.text FROM vault.decrypted_secrets WHERE name = $1 LIMIT 2",
							  1, types, values, NULL, true, 2) != SPI_OK_SELECT)
		elog(ERROR, "could not read vault.decrypted_secrets");
	if (SPI_processed == 1)
	{
		char	   *value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

		if (value)
		{
			secret = MemoryContextStrdup(caller, value);
			explicit_bzero(value, strlen(value));
		}
	}
	SPI_finish();
	if (secret == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the Vault has no secret of the name \"%s\", or more than one", name),
				 errhint("SELECT vault.create_secret('...', '%s');", name)));
	return check_text(secret, strlen(secret), reference);
}

char *
secret_resolve(const char *reference)
{
	const char *colon = strchr(reference, ':');
	size_t		kind = colon ? (size_t) (colon - reference) : 0;

	if (colon && kind == 4 && strncmp(reference, "file", kind) == 0)
		return secret_from_file(secret_path(colon + 1), reference, "Put the secret into that file, mode 0600, owned by the server's user.");
	if (colon && kind == 5 && strncmp(reference, "token", kind) == 0)
		return secret_from_token(colon + 1, reference);
	if (colon && kind == 3 && strncmp(reference, "env", kind) == 0)
		return secret_from_environment(colon + 1, reference);
	if (colon && kind == 5 && strncmp(reference, "vault", kind) == 0)
		return secret_from_vault(colon + 1, reference);
	/* The reference itself is not repeated: somebody may have put the secret there. */
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the connection's secret_ref is not a reference to a secret"),
			 errhint("Use vault:NAME, file:NAME or env:NAME.")));
	return NULL;				/* keep the compiler quiet */
}
