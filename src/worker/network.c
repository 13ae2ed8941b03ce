/*
 * network.c
 *	  The bridge between SQL's requests (jsonb) and the transfer engine, which knows no PostgreSQL.
 *
 * A request is checked key by key: one that nobody knows is an error, so that a misspelt limit cannot go unnoticed.
 *
 * The engine writes a download into a descriptor of ours.  It is opened without following links, and locked against a second writer: a
 * worker that was given up for dead may still be at it.  The lock goes with the descriptor, which the caller closes.
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

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#define MAX_DELAY_MS INT64CONST(86400000)

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
	bool		keep_asked;
	TokenKeep	keep;
} RequestDraft;

PG_FUNCTION_INFO_V1(sync_transfer_outcomes);

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
				(errcode(ERRCODE_IO_ERROR),
				 errmsg("\"%s\" holds %lld bytes, not the %lld after which the download is to go on", path,
						(long long) st.st_size, (long long) resume_from)));
	if (ftruncate(fd, resume_from) < 0 || lseek(fd, resume_from, SEEK_SET) < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not truncate \"%s\": %m", path)));
}

/* Opens a spool file for a download.  Returns the descriptor; raises an error where that cannot be. */
static int
file_open(const char *name, int64 resume_from)
{
	char	   *path;
	int			fd;

	if (name[0] == '.' || name[0] == '\0' || strlen(name) > 64 ||
		strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") != strlen(name))
		ereport(ERROR, (errcode(ERRCODE_INVALID_NAME), errmsg("\"%s\" is not the name of a spool file", name)));
	path = ps_spool_path(name);
	/* O_NONBLOCK: a FIFO in the folder must not hang the server before it is refused. */
	fd = BasicOpenFilePerm(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | PG_BINARY, 0600);
	if (fd < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not open \"%s\": %m", path)));
	PG_TRY();
	{
		file_position(fd, path, resume_from);
	}
	PG_CATCH();
	{
		close(fd);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return fd;
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

/* A key's value as true or false. */
static bool
json_flag(const char *key, const JsonbValue *value)
{
	if (value->type != jbvBool)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"%s\" of the request must be true or false", key)));
	return value->val.boolean;
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

/* A list of texts, NULL at the end. */
static const char **
json_names(const char *key, const JsonbValue *value)
{
	JsonbIterator *it;
	JsonbValue	item;
	JsonbIteratorToken token;
	const char **names;
	int			count = 0;

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data) || JsonContainerIsScalar(value->val.binary.data))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"%s\" of the request must be an array", key)));
	names = palloc0((JsonContainerSize(value->val.binary.data) + 1) * sizeof(char *));
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
	{
		if (token == WJB_ELEM)
			names[count++] = json_text(key, &item);
	}
	return names;
}

/* keep_secret: {"name": ..., "field": ...}, both and nothing else. */
static void
json_keep(const JsonbValue *value, TokenKeep *keep)
{
	JsonbIterator *it;
	JsonbValue	item;
	JsonbIteratorToken token;
	char	   *key = "";
	bool		good = value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data);

	it = good ? JsonbIteratorInit(value->val.binary.data) : NULL;
	while (good && (token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = pnstrdup(item.val.string.val, item.val.string.len);
		else if (token == WJB_VALUE)
		{
			char	   *to = strcmp(key, "name") == 0 ? keep->name : strcmp(key, "field") == 0 ? keep->field : NULL;

			good = to != NULL && item.type == jbvString && item.val.string.len <= TOKEN_MAX_NAME;
			if (good)
				strlcpy(to, json_text(key, &item), TOKEN_MAX_NAME + 1);
		}
	}
	if (!good || !token_name_good(keep->name) || keep->field[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"keep_secret\" of the request must be {\"name\": token's name, \"field\": field of the answer}")));
}

/* Takes one of the keys that are about secrets and answers.  False where it is another one. */
static bool
draft_set_answer(RequestDraft *draft, const char *key, const JsonbValue *value)
{
	if (strcmp(key, "secret_header") == 0)
		draft->transfer.secret_header = json_text(key, value);
	else if (strcmp(key, "form_secret") == 0)
		draft->transfer.form_secret = json_text(key, value);
	else if (strcmp(key, "spacing_ms") == 0)
		draft->transfer.spacing_ms = json_count(key, value, INT_MAX);
	else if (strcmp(key, "once") == 0)
		draft->transfer.once = json_flag(key, value);
	else if (strcmp(key, "want_headers") == 0)
		draft->transfer.want_headers = json_names(key, value);
	else if (strcmp(key, "keep_secret") == 0)
	{
		json_keep(value, &draft->keep);
		draft->keep_asked = true;
	}
	else
		return false;
	return true;
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
	else if (!draft_set_answer(draft, key, value))
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

/* What goes with a file, and with a secret that is to be kept. */
static void
draft_check_file(RequestDraft *draft)
{
	TransferRequest *transfer = &draft->transfer;

	if ((transfer->op == TRANSFER_FTP_GET && draft->file == NULL) || (transfer->op == TRANSFER_FTP_STAT && draft->file != NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"file\" belongs to ftp_get, which needs it, and to http")));
	transfer->to_file = transfer->op == TRANSFER_HTTP && draft->file != NULL;
	if (transfer->to_file && transfer->max_bytes == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"file\" of an http request needs \"max_bytes\"")));
	if (draft->keep_asked && (transfer->op != TRANSFER_HTTP || transfer->to_file))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"keep_secret\" is for http, without a file")));
	/* Now, while it can still be told: the token that the answer brings must have a place. */
	if (draft->keep_asked)
		(void) secret_token_folder(true);
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
	draft_check_file(draft);
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

void
network_request_fill(Jsonb *request, uint64 tag, TransferRequest *out, TokenKeep *keep)
{
	RequestDraft draft = {0};

	draft.transfer.tag = tag;
	draft.transfer.file_fd = -1;
	draft_read(&draft, request);
	draft_decide(&draft);
	if (draft.secret_ref)
		draft.transfer.password = secret_resolve(draft.secret_ref);
	/* Last, since from here on there is something to close. */
	if (draft.file)
		draft.transfer.file_fd = file_open(draft.file, draft.transfer.resume_from);
	*out = draft.transfer;
	*keep = draft.keep;
}

void
network_request_wipe(TransferRequest *request)
{
	/* Ours, whatever the const says. */
	if (request->password)
		explicit_bzero((char *) request->password, strlen(request->password));
	request->password = NULL;
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

/* The headers that were wanted and came. */
static void
put_headers(JsonbParseState **state, const TransferResult *result)
{
	JsonbValue	key = {.type = jbvString};

	key.val.string.val = "headers";
	key.val.string.len = strlen("headers");
	pushJsonbValue(state, WJB_KEY, &key);
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < result->header_count; i++)
	{
		if (result->headers[i].value)
			put_text(state, result->headers[i].name, result->headers[i].value);
	}
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* A Unix time as the text of a timestamptz in ISO 8601. */
static void
put_time(JsonbParseState **state, const char *key, int64 seconds)
{
	char		text[MAXDATELEN + 1];
	Datum		at = TimestampTzGetDatum(time_t_to_timestamptz((pg_time_t) seconds));

	put_text(state, key, JsonEncodeDateTime(text, at, TIMESTAMPTZOID, NULL));
}

Jsonb *
network_result_to_jsonb(const TransferResult *result)
{
	JsonbParseState *state = NULL;
	JsonbValue	ok = {.type = jbvBool};
	JsonbValue	kept = {.type = jbvBool};

	ok.val.boolean = result->class == TRANSFER_OK;
	kept.val.boolean = result->kept == 1;
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
	if (result->kept >= 0)
		put(&state, "kept", kept);
	if (result->header_count > 0)
		put_headers(&state, result);
	put_number(&state, "bytes", result->bytes);
	put_number(&state, "elapsed_ms", result->elapsed_ms);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
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
