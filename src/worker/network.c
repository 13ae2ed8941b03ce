/*
 * network.c
 *	  The bridge between SQL's requests (jsonb) and the transfer engine, which knows no PostgreSQL.
 *
 * A request is checked key by key: one that nobody knows is an error, so that a misspelt limit cannot go unnoticed.  Reading a request
 * may fail in many places (a secret that is not there, a time that is none), so it runs in a subtransaction, and what went wrong becomes
 * the result of that one request: others of the batch go on.
 *
 * The engine writes a download into a descriptor of ours.  It is opened without following links, locked against a second writer (a
 * worker that was given up for dead may still be at it), and kept in "files" until the transfer has ended, however it ends.
 */
#include "postgres.h"

#include "product_sync.h"
#include "worker/network.h"
#include "worker/secret.h"

#include <fcntl.h>
#include <math.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#define MAX_DELAY_MS INT64CONST(86400000)

/* A spool file that a transfer writes. */
typedef struct OpenFile
{
	uint64		tag;
	int			fd;
	struct OpenFile *next;
} OpenFile;

/* What a request says beside what TransferRequest holds. */
typedef struct RequestDraft
{
	TransferRequest transfer;
	char	   *op;
	char	   *tls;
	char	   *secret_ref;
	char	   *ca_name;
	char	   *file;
	char	   *start_at;
} RequestDraft;

static OpenFile *files = NULL;

PG_FUNCTION_INFO_V1(sync_transfer_outcomes);

/* Closes the file of a transfer, if it has one. */
static void
file_release(uint64 tag)
{
	for (OpenFile **link = &files; *link; link = &(*link)->next)
	{
		OpenFile   *file = *link;

		if (file->tag == tag)
		{
			*link = file->next;
			close(file->fd);
			ReleaseExternalFD();
			pfree(file);
			return;
		}
	}
}

void
network_forget_all(void)
{
	while (files)
		file_release(files->tag);
}

/* Checks an opened spool file and puts it at the place to write from. */
static void
file_position(int fd, const char *path, int64 resume_from)
{
	struct stat st;

	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE), errmsg("another process writes \"%s\"", path)));
	if (fstat(fd, &st) < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not examine \"%s\": %m", path)));
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid())
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is not a regular file of the server's user", path)));
	if (st.st_size < resume_from)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"%s\" holds %lld bytes, not the %lld after which the download is to go on", path,
						(long long) st.st_size, (long long) resume_from)));
	if (ftruncate(fd, resume_from) < 0 || lseek(fd, resume_from, SEEK_SET) < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not truncate \"%s\": %m", path)));
}

/* Opens a spool file for a download under this tag.  Returns the descriptor; raises an error where that cannot be. */
static int
file_open(uint64 tag, const char *name, int64 resume_from)
{
	char	   *path;
	OpenFile   *file;

	if (name[0] == '.' || name[0] == '\0' || strlen(name) > 64 ||
		strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") != strlen(name))
		ereport(ERROR, (errcode(ERRCODE_INVALID_NAME), errmsg("\"%s\" is not the name of a spool file", name)));
	path = ps_spool_path(name);
	file = MemoryContextAlloc(TopMemoryContext, sizeof(OpenFile));
	file->tag = tag;
	if (!AcquireExternalFD())
	{
		pfree(file);
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not open \"%s\": %m", path)));
	}
	file->fd = BasicOpenFilePerm(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | PG_BINARY, 0600);
	if (file->fd < 0)
	{
		int			saved_errno = errno;

		ReleaseExternalFD();
		pfree(file);
		errno = saved_errno;
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not open \"%s\": %m", path)));
	}
	file->next = files;
	files = file;
	file_position(file->fd, path, resume_from);
	return file->fd;
}

/* The text of a jsonb string.  NUL cannot occur in one. */
static char *
json_text(const char *key, const JsonbValue *value)
{
	if (value->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"%s\" of the request must be a string", key)));
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* A whole number from 0 to most. */
static int64
json_count(const char *key, const JsonbValue *value, int64 most)
{
	char	   *text;
	char	   *end;
	int64		count;

	if (value->type != jbvNumeric)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"%s\" of the request must be a number", key)));
	text = numeric_normalize(value->val.numeric);
	errno = 0;
	count = strtoll(text, &end, 10);
	if (errno != 0 || *end != '\0' || count < 0 || count > most)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("\"%s\" of the request must be a whole number from 0 to %lld, not %s", key, (long long) most, text)));
	return count;
}

/* The headers: an object of strings, to "Name: value" lines.  A null is no header. */
static const char **
json_headers(const JsonbValue *value)
{
	JsonbIterator *it;
	JsonbValue	item;
	JsonbIteratorToken token;
	const char **lines;
	char	   *name = NULL;
	int			count = 0;

	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"headers\" of the request must be an object")));
	lines = palloc0((JsonContainerSize(value->val.binary.data) + 1) * sizeof(char *));
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(item.val.string.val, item.val.string.len);
		else if (token == WJB_VALUE && item.type != jbvNull)
			lines[count++] = psprintf("%s: %s", name, json_text(psprintf("headers.%s", name), &item));
	}
	return lines;
}

/* Takes one key of a request. */
static void
draft_set(RequestDraft *draft, const char *key, const JsonbValue *value)
{
	TransferRequest *transfer = &draft->transfer;

	if (strcmp(key, "op") == 0)
		draft->op = json_text(key, value);
	else if (strcmp(key, "method") == 0)
		transfer->method = json_text(key, value);
	else if (strcmp(key, "url") == 0)
		transfer->url = json_text(key, value);
	else if (strcmp(key, "headers") == 0)
		transfer->headers = json_headers(value);
	else if (strcmp(key, "body") == 0)
	{
		transfer->body = json_text(key, value);
		transfer->body_len = strlen(transfer->body);
	}
	else if (strcmp(key, "username") == 0)
		transfer->username = json_text(key, value);
	else if (strcmp(key, "secret_ref") == 0)
		draft->secret_ref = json_text(key, value);
	else if (strcmp(key, "tls") == 0)
		draft->tls = json_text(key, value);
	else if (strcmp(key, "ca_file") == 0)
		draft->ca_name = json_text(key, value);
	else if (strcmp(key, "timeout_ms") == 0)
		transfer->timeout_ms = (long) json_count(key, value, INT_MAX);
	else if (strcmp(key, "connect_timeout_ms") == 0)
		transfer->connect_timeout_ms = (long) json_count(key, value, INT_MAX);
	else if (strcmp(key, "low_speed_seconds") == 0)
		transfer->low_speed_seconds = (long) json_count(key, value, INT_MAX);
	else if (strcmp(key, "max_bytes") == 0)
		transfer->max_bytes = json_count(key, value, PG_INT64_MAX);
	else if (strcmp(key, "file") == 0)
		draft->file = json_text(key, value);
	else if (strcmp(key, "resume_from") == 0)
		transfer->resume_from = json_count(key, value, PG_INT64_MAX);
	else if (strcmp(key, "start_at") == 0)
		draft->start_at = json_text(key, value);
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the request has an unknown key \"%s\"", key)));
}

/* Reads the keys of a request.  A null is a key that is not there. */
static void
draft_read(RequestDraft *draft, Jsonb *request)
{
	JsonbIterator *it;
	JsonbValue	item;
	JsonbIteratorToken token;
	char	   *key = NULL;

	if (!JB_ROOT_IS_OBJECT(request))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a request must be a jsonb object")));
	it = JsonbIteratorInit(&request->root);
	while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = pnstrdup(item.val.string.val, item.val.string.len);
		else if (token == WJB_VALUE && item.type != jbvNull)
			draft_set(draft, key, &item);
	}
}

/* The operation and what goes with it. */
static void
draft_decide(RequestDraft *draft)
{
	TransferRequest *transfer = &draft->transfer;

	if (draft->op && strcmp(draft->op, "http") == 0)
		transfer->op = TRANSFER_HTTP;
	else if (draft->op && strcmp(draft->op, "ftp_stat") == 0)
		transfer->op = TRANSFER_FTP_STAT;
	else if (draft->op && strcmp(draft->op, "ftp_get") == 0)
		transfer->op = TRANSFER_FTP_GET;
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"op\" of the request must be http, ftp_stat or ftp_get, not \"%s\"", draft->op ? draft->op : "")));
	if ((transfer->op == TRANSFER_FTP_GET) != (draft->file != NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"file\" belongs to ftp_get, and ftp_get needs it")));
	if (draft->tls && strcmp(draft->tls, "none") != 0 && strcmp(draft->tls, "explicit") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"tls\" of the request must be none or explicit, not \"%s\"", draft->tls)));
	transfer->tls_explicit = draft->tls && strcmp(draft->tls, "explicit") == 0;
	if (draft->start_at)
	{
		Datum		at = DirectFunctionCall3(timestamptz_in, CStringGetDatum(draft->start_at), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
		TimestampTz now = GetCurrentTimestamp();

		if (DatumGetTimestampTz(at) > now)
			transfer->start_delay_ms = (TIMESTAMP_NOT_FINITE(DatumGetTimestampTz(at))) ? MAX_DELAY_MS :
				Min((DatumGetTimestampTz(at) - now + 999) / 1000, MAX_DELAY_MS);
	}
	if (draft->ca_name)
		transfer->ca_file = secret_path(draft->ca_name);
}

/* Reads a request and gives it to the engine.  Raises an error where it is wrong. */
static void
request_submit(TransferEngine *engine, uint64 tag, Jsonb *request)
{
	RequestDraft draft = {0};
	char	   *secret = NULL;
	char		error[512];
	int			rc;

	draft.transfer.tag = tag;
	draft.transfer.file_fd = -1;
	draft_read(&draft, request);
	draft_decide(&draft);
	if (draft.file)
		draft.transfer.file_fd = file_open(tag, draft.file, draft.transfer.resume_from);
	if (draft.secret_ref)
		draft.transfer.password = secret = secret_resolve(draft.secret_ref);
	rc = transfer_engine_add(engine, &draft.transfer, error, sizeof(error));
	if (secret)
		explicit_bzero(secret, strlen(secret));
	if (rc < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the request cannot be sent: %s", error)));
}

/* Adds a key with a value to an object under construction. */
static void
put(JsonbParseState **state, const char *key, JsonbValue value)
{
	JsonbValue	name = {.type = jbvString};

	name.val.string.val = pstrdup(key);
	name.val.string.len = strlen(key);
	pushJsonbValue(state, WJB_KEY, &name);
	pushJsonbValue(state, WJB_VALUE, &value);
}

static void
put_number(JsonbParseState **state, const char *key, int64 number)
{
	JsonbValue	value = {.type = jbvNumeric};

	value.val.numeric = int64_to_numeric(number);
	put(state, key, value);
}

/* Adds a text, which may come from a server: what is not valid in this database is replaced.  NULL becomes null. */
static void
put_text(JsonbParseState **state, const char *key, const char *text)
{
	JsonbValue	value = {.type = jbvNull};

	if (text)
	{
		char	   *copy = pstrdup(text);

		if (!pg_verifymbstr(copy, strlen(copy), true))
		{
			for (char *c = copy; *c; c++)
			{
				if (IS_HIGHBIT_SET(*c))
					*c = '?';
			}
		}
		value.type = jbvString;
		value.val.string.val = copy;
		value.val.string.len = strlen(copy);
	}
	put(state, key, value);
}

/* A Unix time as the text of a timestamptz in ISO 8601. */
static void
put_time(JsonbParseState **state, const char *key, int64 seconds)
{
	char		text[MAXDATELEN + 1];
	Datum		at = TimestampTzGetDatum(time_t_to_timestamptz((pg_time_t) seconds));

	put_text(state, key, JsonEncodeDateTime(text, at, TIMESTAMPTZOID, NULL));
}

/* The result of a request that was never sent. */
static Jsonb *
refusal(TransferClass class, const char *message)
{
	JsonbParseState *state = NULL;
	JsonbValue	ok = {.type = jbvBool};

	ok.val.boolean = false;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	put(&state, "ok", ok);
	put_text(&state, "class", transfer_class_name(class));
	put_number(&state, "status", 0);
	put_number(&state, "curl_code", 0);
	put_text(&state, "message", message);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

Jsonb *
network_start(TransferEngine *engine, uint64 tag, Jsonb *request)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	Jsonb	   *volatile refused = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		request_submit(engine, tag, request);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData  *error;
		StringInfoData text;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		transfer_engine_cancel(engine, tag);
		file_release(tag);
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED || error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
			ReThrowError(error);
		initStringInfo(&text);
		appendStringInfoString(&text, error->message);
		if (error->hint)
			appendStringInfo(&text, " (%s)", error->hint);
		/* Another writer will be gone in a moment, and a part that vanished is asked for anew; all else stays wrong. */
		refused = refusal(error->sqlerrcode == ERRCODE_OBJECT_IN_USE || error->sqlerrcode == ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE ?
						  TRANSFER_NETWORK : TRANSFER_PERMANENT, text.data);
		FreeErrorData(error);
	}
	PG_END_TRY();
	return refused;
}

Jsonb *
network_finish(TransferResult *result, bytea **body)
{
	JsonbParseState *state = NULL;
	JsonbValue	ok = {.type = jbvBool};
	Jsonb	   *json;

	file_release(result->tag);
	*body = NULL;
	if (result->body)
	{
		*body = palloc(VARHDRSZ + result->body_len);
		SET_VARSIZE(*body, VARHDRSZ + result->body_len);
		memcpy(VARDATA(*body), result->body, result->body_len);
	}
	ok.val.boolean = result->class == TRANSFER_OK;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	put(&state, "ok", ok);
	put_text(&state, "class", transfer_class_name(result->class));
	put_number(&state, "status", result->status);
	put_number(&state, "curl_code", result->curl_code);
	put_text(&state, "message", result->message[0] ? result->message : NULL);
	put_text(&state, "content_type", result->content_type[0] ? result->content_type : NULL);
	if (result->retry_after >= 0)
		put_number(&state, "retry_after", (int64) ceil(Min(result->retry_after, 1e9)));
	if (result->size >= 0)
		put_number(&state, "size", result->size);
	if (result->modified_at >= 0)
		put_time(&state, "modified_at", result->modified_at);
	put_number(&state, "bytes", result->bytes);
	put_number(&state, "elapsed_ms", result->elapsed_ms);
	json = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	transfer_result_free(result);
	return json;
}

bool
network_cancel(TransferEngine *engine, uint64 tag)
{
	bool		found = transfer_engine_cancel(engine, tag);

	file_release(tag);
	return found;
}

/* The engine's table of what errors mean, for documentation and for people who look a code up. */
Datum
sync_transfer_outcomes(PG_FUNCTION_ARGS)
{
	static const char *const sources[] = {"curl", "http", "ftp"};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < transfer_rules_count; i++)
	{
		const TransferRule *rule = &transfer_rules[i];
		Datum		values[6];
		bool		nulls[6] = {0};

		values[0] = CStringGetTextDatum(sources[rule->source]);
		values[1] = Int32GetDatum((int32) rule->first);
		values[2] = Int32GetDatum((int32) rule->last);
		values[3] = CStringGetTextDatum(transfer_class_name(rule->class));
		values[4] = CStringGetTextDatum(rule->meaning);
		values[5] = CStringGetTextDatum(rule->advice);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
