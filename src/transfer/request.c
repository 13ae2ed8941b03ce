/*
 * request.c
 *	  From a caller's request to a transfer: everything is checked here, before it can touch the network, and copied.
 *
 * The checks assume nothing of the caller: an address with a password in it, a header with a line break or a user name that would end an
 * FTP command is refused.  The address is read by curl's own parser, the one that will use it.
 */
#include "transfer/internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_METHOD 32

/* Writes why the request is refused.  Returns false, for the caller to return. */
__attribute__((format(printf, 3, 4)))
static bool
refuse(char *errbuf, size_t errlen, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	vsnprintf(errbuf, errlen, format, args);
	va_end(args);
	return false;
}

/* Whether the text has a byte that could end a line of a protocol. */
static bool
has_control(const char *text)
{
	for (; *text; text++)
	{
		if ((unsigned char) *text < ' ' || *text == 0x7f)
			return true;
	}
	return false;
}

/* A part of an address, malloc'd, or NULL. */
static char *
url_part(CURLU *parsed, CURLUPart part, unsigned flags)
{
	char	   *text = NULL;
	char	   *copy = NULL;

	if (curl_url_get(parsed, part, &text, flags) == CURLUE_OK)
		copy = strdup(text);
	curl_free(text);
	return copy;
}

/* Whether this kind of transfer may use the scheme. */
static bool
scheme_allowed(TransferOp op, const char *scheme)
{
	if (op == TRANSFER_HTTP)
		return strcasecmp(scheme, "http") == 0 || strcasecmp(scheme, "https") == 0;
	return strcasecmp(scheme, "ftp") == 0 || strcasecmp(scheme, "ftps") == 0;
}

/* Takes the address of a request apart; sets transfer->place and *host_key. */
static bool
split_url(Transfer *transfer, CURLU *parsed, char **host_key, char *errbuf, size_t errlen)
{
	CURLUcode	code = curl_url_set(parsed, CURLUPART_URL, transfer->url, CURLU_DISALLOW_USER);
	char	   *scheme;
	char	   *host;
	char	   *port;
	char	   *path;
	bool		ok = false;

	if (code == CURLUE_USER_NOT_ALLOWED)
		return refuse(errbuf, errlen, "the address holds a user name or a password; they belong in the connection");
	if (code != CURLUE_OK)
		return refuse(errbuf, errlen, "\"%.200s\" is not an address: %s", transfer->url, curl_url_strerror(code));

	scheme = url_part(parsed, CURLUPART_SCHEME, 0);
	host = url_part(parsed, CURLUPART_HOST, 0);
	port = url_part(parsed, CURLUPART_PORT, CURLU_DEFAULT_PORT);
	path = url_part(parsed, CURLUPART_PATH, 0);
	if (!scheme || !host || !port || !path)
		refuse(errbuf, errlen, "\"%.200s\" is not an address with a scheme, a host and a path", transfer->url);
	else if (!scheme_allowed(transfer->op, scheme))
		refuse(errbuf, errlen, "addresses of scheme \"%.20s\" are not allowed here; use %s", scheme,
			   transfer->op == TRANSFER_HTTP ? "http or https" : "ftp or ftps");
	else if (asprintf(&transfer->place, "%s://%s:%s%s", scheme, host, port, path) < 0)
	{
		transfer->place = NULL;
		refuse(errbuf, errlen, "out of memory");
	}
	else if (asprintf(host_key, "%s://%s:%s", scheme, host, port) < 0)
	{
		*host_key = NULL;
		refuse(errbuf, errlen, "out of memory");
	}
	else
		ok = true;

	/* An FTP path becomes commands, a line each. */
	if (ok && transfer->op != TRANSFER_HTTP)
	{
		char	   *decoded = url_part(parsed, CURLUPART_PATH, CURLU_URLDECODE);

		if (decoded == NULL || has_control(decoded))
			ok = refuse(errbuf, errlen, "the path of the address holds control characters");
		else if (decoded[0] == '\0' || decoded[strlen(decoded) - 1] == '/')
			ok = refuse(errbuf, errlen, "\"%.200s\" names no file", transfer->place);
		free(decoded);
	}
	free(scheme);
	free(host);
	free(port);
	free(path);
	return ok;
}

/* Checks and splits the address.  Returns false with a message when it is no good. */
static bool
check_url(Transfer *transfer, char **host_key, char *errbuf, size_t errlen)
{
	CURLU	   *parsed;
	bool		ok;

	if (strlen(transfer->url) > TRANSFER_MAX_URL)
		return refuse(errbuf, errlen, "the address is longer than %d bytes", TRANSFER_MAX_URL);
	if (has_control(transfer->url))
		return refuse(errbuf, errlen, "the address holds control characters");
	parsed = curl_url();
	if (parsed == NULL)
		return refuse(errbuf, errlen, "out of memory");
	ok = split_url(transfer, parsed, host_key, errbuf, errlen);
	curl_url_cleanup(parsed);
	return ok;
}

/* User name and password go into protocol lines: no control characters, and of bounded length. */
static bool
check_credentials(const TransferRequest *request, char *errbuf, size_t errlen)
{
	if (request->username && (has_control(request->username) || strlen(request->username) > TRANSFER_MAX_CREDENTIAL))
		return refuse(errbuf, errlen, "the user name holds control characters or is longer than %d bytes", TRANSFER_MAX_CREDENTIAL);
	if (request->password && (has_control(request->password) || strlen(request->password) > TRANSFER_MAX_CREDENTIAL))
		return refuse(errbuf, errlen, "the password holds control characters or is longer than %d bytes", TRANSFER_MAX_CREDENTIAL);
	if (request->op == TRANSFER_HTTP && request->username && strchr(request->username, ':'))
		return refuse(errbuf, errlen, "the user name holds a colon, which HTTP Basic cannot carry");
	return true;
}

/* Whether the text is a name of a header or of a field of a form. */
static bool
is_name(const char *text)
{
	size_t		len = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");

	return len > 0 && len <= 64 && text[len] == '\0';
}

/* A secret that is no login: in a header or in the body, one of them, and there must be one. */
static bool
check_secret(const TransferRequest *request, char *errbuf, size_t errlen)
{
	const char *name = request->secret_header ? request->secret_header : request->form_secret;

	if (name == NULL)
		return true;
	if (request->op != TRANSFER_HTTP || request->username || (request->secret_header && request->form_secret))
		return refuse(errbuf, errlen, "secret_header and form_secret are for HTTP, one of them, and without a user name");
	if (!is_name(name))
		return refuse(errbuf, errlen, "\"%.64s\" is not the name of a header or a field", name);
	if (request->password == NULL || request->password[0] == '\0')
		return refuse(errbuf, errlen, "there is no secret for \"%s\"", name);
	if (request->form_secret && request->body == NULL)
		return refuse(errbuf, errlen, "form_secret needs a body to add it to");
	return true;
}

/* Adds a header; what its line held is wiped by transfer_destroy(). */
static bool
add_header(Transfer *transfer, const char *line)
{
	struct curl_slist *longer = curl_slist_append(transfer->headers, line);

	if (longer)
		transfer->headers = longer;
	return longer != NULL;
}

/* Puts the secret where the request wants it.  False when there is no memory. */
static bool
place_secret(Transfer *transfer, const TransferRequest *request)
{
	size_t		len = transfer->body_len;
	char	   *text;
	bool		ok;

	if (request->secret_header)
	{
		size_t		room = strlen(request->secret_header) + strlen(request->password) + 3;

		text = malloc(room);
		if (text == NULL)
			return false;
		snprintf(text, room, "%s: %s", request->secret_header, request->password);
		ok = add_header(transfer, text);
		explicit_bzero(text, room);
		free(text);
		return ok;
	}
	/* Each byte may become three; the old body may hold secrets of the caller's own. */
	text = malloc(len + strlen(request->form_secret) + 3 * strlen(request->password) + 3);
	if (text == NULL)
		return false;
	memcpy(text, transfer->body, len);
	len += sprintf(text + len, "%s%s=", len > 0 ? "&" : "", request->form_secret);
	for (const unsigned char *c = (const unsigned char *) request->password; *c; c++)
	{
		if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~", *c))
			text[len++] = *c;
		else
			len += sprintf(text + len, "%%%02X", *c);
	}
	explicit_bzero(transfer->body, transfer->body_len);
	free(transfer->body);
	transfer->body = text;
	transfer->body_len = len;
	return true;
}

/* Notes which headers of the answer are wanted, in small letters. */
static bool
copy_wanted(TransferResult *result, const char *const *names, char *errbuf, size_t errlen)
{
	int			count = 0;

	while (names && names[count])
	{
		if (!is_name(names[count]))
			return refuse(errbuf, errlen, "\"%.64s\" is not the name of a header", names[count]);
		if (++count > TRANSFER_MAX_WANTED)
			return refuse(errbuf, errlen, "more than %d headers of the answer are wanted", TRANSFER_MAX_WANTED);
	}
	if (count == 0)
		return true;
	result->headers = calloc(count, sizeof(TransferHeader));
	for (int i = 0; result->headers && i < count; i++)
	{
		result->headers[i].name = strdup(names[i]);
		if (result->headers[i].name == NULL)
			return refuse(errbuf, errlen, "out of memory");
		for (char *c = result->headers[i].name; *c; c++)
			*c = *c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c;
		result->header_count = i + 1;
	}
	return result->headers ? true : refuse(errbuf, errlen, "out of memory");
}

/* Copies the headers.  A header is "Name: value" on one line. */
static bool
copy_headers(Transfer *transfer, const char *const *headers, char *errbuf, size_t errlen)
{
	int			count = 0;

	for (; headers && *headers; headers++)
	{
		size_t		name_len = strspn(*headers, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");

		if (name_len == 0 || (*headers)[name_len] != ':')
			return refuse(errbuf, errlen, "header %d is not of the form \"Name: value\"", count + 1);
		for (const char *c = *headers; *c; c++)
		{
			if (((unsigned char) *c < ' ' && *c != '\t') || *c == 0x7f)
				return refuse(errbuf, errlen, "header \"%.*s\" holds control characters", (int) name_len, *headers);
		}
		if (++count > TRANSFER_MAX_HEADERS || strlen(*headers) > TRANSFER_MAX_HEADER)
			return refuse(errbuf, errlen, "more than %d headers, or one longer than %d bytes", TRANSFER_MAX_HEADERS, TRANSFER_MAX_HEADER);
		if (!add_header(transfer, *headers))
			return refuse(errbuf, errlen, "out of memory");
	}
	return true;
}

/* Refuses numbers that make no sense, and combinations that an operation does not have. */
static bool
check_numbers(const TransferRequest *request, char *errbuf, size_t errlen)
{
	if (request->url == NULL || request->url[0] == '\0')
		return refuse(errbuf, errlen, "the request has no address");
	if (request->connect_timeout_ms < 0 || request->timeout_ms < 0 || request->low_speed_seconds < 0 || request->max_bytes < 0 ||
		request->resume_from < 0)
		return refuse(errbuf, errlen, "a limit of the request is negative");
	if (request->op == TRANSFER_FTP_GET && request->file_fd < 0)
		return refuse(errbuf, errlen, "an FTP download needs a file to write to");
	if (request->to_file && (request->op != TRANSFER_HTTP || request->file_fd < 0))
		return refuse(errbuf, errlen, "a body that goes into a file is one of HTTP, and needs the file");
	if (request->op == TRANSFER_HTTP && !request->to_file && request->resume_from > 0)
		return refuse(errbuf, errlen, "only what goes into a file can be resumed");
	if (request->op != TRANSFER_HTTP && (request->method || request->body || request->want_headers || (request->headers && request->headers[0])))
		return refuse(errbuf, errlen, "an FTP request has no method, headers or body");
	if (request->method &&
		(request->method[0] == '\0' || strlen(request->method) > MAX_METHOD ||
		 strspn(request->method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != strlen(request->method)))
		return refuse(errbuf, errlen, "\"%.40s\" is not an HTTP method", request->method);
	if (request->op == TRANSFER_HTTP && request->tls_explicit)
		return refuse(errbuf, errlen, "explicit TLS is for FTP; for HTTP use an https address");
	return true;
}

/* strdup() where there is something; false when there is no memory. */
static bool
copy_text(char **to, const char *from)
{
	*to = from ? strdup(from) : NULL;
	return from == NULL || *to != NULL;
}

/* Copies what the request points at.  False when there is no memory. */
static bool
copy_parts(Transfer *transfer, const TransferRequest *request)
{
	if (!copy_text(&transfer->url, request->url) || !copy_text(&transfer->method, request->method) ||
		!copy_text(&transfer->username, request->username) || !copy_text(&transfer->password, request->password) ||
		!copy_text(&transfer->ca_file, request->ca_file))
		return false;
	if (request->body)
	{
		transfer->body = malloc(request->body_len + 1);
		if (transfer->body == NULL)
			return false;
		memcpy(transfer->body, request->body, request->body_len);
		transfer->body[request->body_len] = '\0';
		transfer->body_len = request->body_len;
	}
	transfer->result = calloc(1, sizeof(TransferResult));
	return transfer->result != NULL;
}

/*
 * A transfer from a request, and its server's key (malloc'd, the caller's).  NULL with a message in errbuf when the request is wrong.
 */
Transfer *
transfer_make(const TransferRequest *request, char **host_key, char *errbuf, size_t errlen)
{
	Transfer   *transfer;

	*host_key = NULL;
	if (!check_numbers(request, errbuf, errlen) || !check_credentials(request, errbuf, errlen) || !check_secret(request, errbuf, errlen))
		return NULL;
	transfer = calloc(1, sizeof(Transfer));
	if (transfer == NULL)
	{
		refuse(errbuf, errlen, "out of memory");
		return NULL;
	}
	transfer->op = request->op;
	transfer->tls_explicit = request->tls_explicit;
	transfer->connect_timeout_ms = request->connect_timeout_ms;
	transfer->timeout_ms = request->timeout_ms;
	transfer->low_speed_seconds = request->low_speed_seconds;
	transfer->max_bytes = request->max_bytes;
	transfer->file_fd = request->file_fd;
	transfer->resume_from = request->resume_from;
	transfer->to_file = request->to_file;
	transfer->once = request->once;
	transfer->spacing_ms = request->spacing_ms;
	transfer->secret_apart = request->secret_header || request->form_secret;
	if (transfer->op == TRANSFER_HTTP && !transfer->to_file && (transfer->max_bytes == 0 || transfer->max_bytes > TRANSFER_MAX_BODY))
		transfer->max_bytes = TRANSFER_MAX_BODY;

	if (!copy_parts(transfer, request) || (transfer->secret_apart && !place_secret(transfer, request)))
		refuse(errbuf, errlen, "out of memory");
	else if (check_url(transfer, host_key, errbuf, errlen) && copy_headers(transfer, request->headers, errbuf, errlen) &&
			 copy_wanted(transfer->result, request->want_headers, errbuf, errlen))
	{
		transfer->result->tag = request->tag;
		transfer->result->kept = -1;
		transfer->result->retry_after = -1;
		transfer->result->size = -1;
		transfer->result->modified_at = -1;
		return transfer;
	}
	free(*host_key);
	*host_key = NULL;
	transfer_destroy(transfer);
	return NULL;
}

/* Wipes and frees a text that may be secret. */
static void
wipe(char *text, size_t len)
{
	if (text)
		explicit_bzero(text, len);
	free(text);
}

/*
 * Frees a transfer that has no curl handle any more, and its result if that was not handed on.  What could be secret is wiped first; the
 * copies that curl made are beyond reach: it frees them, unwiped, with the handle.
 */
void
transfer_destroy(Transfer *transfer)
{
	if (transfer == NULL)
		return;
	for (struct curl_slist *header = transfer->headers; header; header = header->next)
		explicit_bzero(header->data, strlen(header->data));
	curl_slist_free_all(transfer->headers);
	wipe(transfer->password, transfer->password ? strlen(transfer->password) : 0);
	wipe(transfer->body, transfer->body_len);
	wipe(transfer->url, transfer->url ? strlen(transfer->url) : 0);
	free(transfer->method);
	free(transfer->place);
	free(transfer->username);
	free(transfer->ca_file);
	transfer_result_free(transfer->result);
	free(transfer);
}
