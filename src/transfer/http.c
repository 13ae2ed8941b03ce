/*
 * http.c
 *	  An HTTP request: its options, its body into memory or a file up to a cap, what its headers tell.
 *
 * What goes into a file is asked for unpacked, so that the file's size says where to go on.
 *
 * The cap counts decoded bytes, so that a small answer cannot unfold into a large one.  curl limits the length of one header line but,
 * before 8.4, not their number: header_callback does.
 */
#include "transfer/internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_HEADER_BYTES (256 * 1024)

/* Makes room for more of the body.  False when there is no memory. */
static bool
body_reserve(Transfer *transfer, size_t needed)
{
	TransferResult *result = transfer->result;
	size_t		room = transfer->body_room ? transfer->body_room : 4096;
	char	   *larger;

	while (room < needed)
		room *= 2;
	if (room == transfer->body_room)
		return true;
	larger = realloc(result->body, room);
	if (larger == NULL)
		return false;
	result->body = larger;
	transfer->body_room = room;
	return true;
}

/* Takes a piece of the body; taking less than is offered makes curl stop. */
static size_t
body_callback(char *data, size_t size, size_t count, void *arg)
{
	Transfer   *transfer = arg;
	TransferResult *result = transfer->result;
	size_t		len = size * count;
	int64_t		most = transfer->max_bytes;
	long		status = 0;

	transfer->active_ms = transfer_now_ms();
	if (transfer->to_file)
	{
		curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
		if (status >= 200 && status < 300)
			return file_write(transfer, data, len);
		most = TRANSFER_MAX_REFUSAL;
	}
	if ((int64_t) (result->body_len + len) > most)
	{
		transfer->too_large = true;
		return 0;
	}
	if (!body_reserve(transfer, result->body_len + len))
	{
		transfer->no_memory = true;
		return 0;
	}
	memcpy(result->body + result->body_len, data, len);
	result->body_len += len;
	result->bytes += len;
	return len;
}

/* Keeps a header line, where it is one that was asked for.  Of several with one name the last counts. */
static void
header_keep(Transfer *transfer, const char *line, size_t len)
{
	TransferResult *result = transfer->result;
	const char *colon = memchr(line, ':', len);
	const char *end = line + len;

	if (colon == NULL)
		return;
	for (int i = 0; i < result->header_count; i++)
	{
		TransferHeader *header = &result->headers[i];
		const char *value = colon + 1;

		if (strlen(header->name) != (size_t) (colon - line) || strncasecmp(header->name, line, colon - line) != 0)
			continue;
		while (value < end && (*value == ' ' || *value == '\t'))
			value++;
		while (end > value && strchr("\r\n \t", end[-1]))
			end--;
		free(header->value);
		header->value = strndup(value, end - value < TRANSFER_MAX_VALUE ? end - value : TRANSFER_MAX_VALUE);
		if (header->value)
			outcome_printable(header->value);
	}
}

/* An answer begins: what an earlier one (100 Continue) had does not count. */
static void
header_forget(TransferResult *result)
{
	for (int i = 0; i < result->header_count; i++)
	{
		free(result->headers[i].value);
		result->headers[i].value = NULL;
	}
}

/* Sees each header line: their total is limited, and those that were asked for are kept. */
static size_t
header_callback(char *data, size_t size, size_t count, void *arg)
{
	Transfer   *transfer = arg;
	size_t		len = size * count;

	transfer->active_ms = transfer_now_ms();
	transfer->header_bytes += len;
	if (transfer->header_bytes > MAX_HEADER_BYTES)
	{
		transfer->too_large = true;
		return 0;
	}
	if (len >= 5 && memcmp(data, "HTTP/", 5) == 0)
		header_forget(transfer->result);
	else
		header_keep(transfer, data, len);
	return len;
}

/* Sets the options of an HTTP request; the first one that curl refuses ends it. */
CURLcode
http_prepare(Transfer *transfer)
{
	struct curl_slist *headers;

	/* Without this curl asks leave before it sends a large body, and waits a second for servers that do not know the question. */
	headers = curl_slist_append(transfer->headers, "Expect:");
	if (headers == NULL)
		return CURLE_OUT_OF_MEMORY;
	transfer->headers = headers;
	SET(CURLOPT_HTTPHEADER, transfer->headers);
	if (transfer->to_file)
	{
		SET(CURLOPT_BUFFERSIZE, 256L * 1024);
		SET(CURLOPT_RESUME_FROM_LARGE, (curl_off_t) transfer->resume_from);
	}
	else
		SET(CURLOPT_ACCEPT_ENCODING, "");
	SET(CURLOPT_HTTPAUTH, (long) CURLAUTH_BASIC);
	if (transfer->body)
	{
		SET(CURLOPT_POST, 1L);
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) transfer->body_len);
		SET(CURLOPT_POSTFIELDS, transfer->body);
	}
	if (transfer->once)
		SET(CURLOPT_FRESH_CONNECT, 1L);
	if (transfer->method && strcmp(transfer->method, "HEAD") == 0)
		SET(CURLOPT_NOBODY, 1L);
	else if (transfer->method && strcmp(transfer->method, transfer->body ? "POST" : "GET") != 0)
		SET(CURLOPT_CUSTOMREQUEST, transfer->method);
	SET(CURLOPT_WRITEFUNCTION, body_callback);
	SET(CURLOPT_WRITEDATA, transfer);
	SET(CURLOPT_HEADERFUNCTION, header_callback);
	SET(CURLOPT_HEADERDATA, transfer);
	return CURLE_OK;
}

/* Reads what the finished request tells beside its body. */
void
http_collect(Transfer *transfer)
{
	TransferResult *result = transfer->result;
	char	   *content_type = NULL;

	curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_TYPE, &content_type);
	if (content_type)
	{
		strncpy(result->content_type, content_type, sizeof(result->content_type) - 1);
		outcome_printable(result->content_type);
	}
#if LIBCURL_VERSION_NUM >= 0x074200
	{
		curl_off_t	seconds = 0;

		/* curl gives 0 both for "now" and for "not said". */
		if (curl_easy_getinfo(transfer->easy, CURLINFO_RETRY_AFTER, &seconds) == CURLE_OK && seconds > 0)
			result->retry_after = (double) seconds;
	}
#endif
}
