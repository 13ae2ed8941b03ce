/*
 * outcome.c
 *	  What an error means: one table from libcurl's codes, HTTP statuses and FTP replies to a class and to words.
 *
 * The first row that fits counts.  The words are for people: what happened, and what to do about it.  Messages name the address without
 * user, password and query, and what a server wrote only in printable characters; a password that it echoes is blotted out.
 */
#include "transfer/internal.h"

#include <stdio.h>
#include <string.h>

#define TRY_LATER "it will be tried again"

const TransferRule transfer_rules[] = {
	/* The reply of an FTP server, where the error came with one. */
	{TRANSFER_FROM_FTP, 421, 421, TRANSFER_NETWORK, false, "the server is closing the connection or has too many", TRY_LATER},
	{TRANSFER_FROM_FTP, 425, 426, TRANSFER_NETWORK, false, "the data connection failed", "check that the server's passive ports are open"},
	{TRANSFER_FROM_FTP, 430, 430, TRANSFER_PERMANENT, false, "the server refused the login", "check the connection's username and secret"},
	{TRANSFER_FROM_FTP, 400, 499, TRANSFER_NETWORK, false, "the server could not do it now", TRY_LATER},
	{TRANSFER_FROM_FTP, 530, 530, TRANSFER_PERMANENT, false, "the server refused the login", "check the connection's username and secret"},
	{TRANSFER_FROM_FTP, 534, 537, TRANSFER_PERMANENT, false, "the server refused the protection asked for", "check the connection's ftp_tls setting"},
	{TRANSFER_FROM_FTP, 550, 550, TRANSFER_PERMANENT, false, "no such file, or not readable", "check the connection's folder and file name"},
	{TRANSFER_FROM_FTP, 553, 553, TRANSFER_PERMANENT, false, "the file name is not allowed", "check the connection's folder and file name"},
	{TRANSFER_FROM_FTP, 500, 599, TRANSFER_PERMANENT, false, "the server refused a command", "check the address and the server's settings"},

	/* The status of an HTTP answer.  503 with Retry-After is api_limit: outcome_http() sees to that. */
	{TRANSFER_FROM_HTTP, 300, 399, TRANSFER_PERMANENT, false, "the server points elsewhere, which is not followed", "set the connection's base_url to the new address"},
	{TRANSFER_FROM_HTTP, 401, 401, TRANSFER_PERMANENT, false, "the server wants a valid login", "check the connection's username and secret"},
	{TRANSFER_FROM_HTTP, 403, 403, TRANSFER_PERMANENT, false, "the login may not do this", "ask for the permission, or check the connection's secret"},
	{TRANSFER_FROM_HTTP, 404, 404, TRANSFER_PERMANENT, false, "there is nothing at this address", "check the connection's base_url"},
	{TRANSFER_FROM_HTTP, 408, 408, TRANSFER_NETWORK, false, "the server did not get the request in time", TRY_LATER},
	{TRANSFER_FROM_HTTP, 425, 425, TRANSFER_NETWORK, false, "the server was not ready", TRY_LATER},
	{TRANSFER_FROM_HTTP, 429, 429, TRANSFER_API_LIMIT, false, "too many requests", "it waits; lower the connection's rate if this is frequent"},
	{TRANSFER_FROM_HTTP, 400, 499, TRANSFER_PERMANENT, false, "the server refused the request", "see the answer for its reason"},
	{TRANSFER_FROM_HTTP, 503, 503, TRANSFER_NETWORK, false, "the server is overloaded or in maintenance", TRY_LATER},
	{TRANSFER_FROM_HTTP, 500, 599, TRANSFER_NETWORK, false, "the server failed", TRY_LATER},

	/* libcurl's codes. */
	{TRANSFER_FROM_CURL, CURLE_UNSUPPORTED_PROTOCOL, CURLE_UNSUPPORTED_PROTOCOL, TRANSFER_NETWORK, false, "the server's answer makes no sense", "check that base_url names the right server and port"},
	{TRANSFER_FROM_CURL, CURLE_FAILED_INIT, CURLE_URL_MALFORMAT, TRANSFER_PERMANENT, false, "the address is not usable", "check the connection's base_url"},
	{TRANSFER_FROM_CURL, CURLE_NOT_BUILT_IN, CURLE_NOT_BUILT_IN, TRANSFER_PERMANENT, false, "libcurl here cannot do this", "install a libcurl with TLS and FTP"},
	{TRANSFER_FROM_CURL, CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_RESOLVE_HOST, TRANSFER_NETWORK, false, "the host name was not found", "check the host name in base_url, and the name service"},
	{TRANSFER_FROM_CURL, CURLE_COULDNT_CONNECT, CURLE_COULDNT_CONNECT, TRANSFER_NETWORK, false, "no connection to the server", "check host and port, the firewall, and that the server runs"},
	{TRANSFER_FROM_CURL, CURLE_WEIRD_SERVER_REPLY, CURLE_WEIRD_SERVER_REPLY, TRANSFER_NETWORK, true, "the server's answer makes no sense", "check that base_url names the right server and port"},
	{TRANSFER_FROM_CURL, CURLE_REMOTE_ACCESS_DENIED, CURLE_REMOTE_ACCESS_DENIED, TRANSFER_PERMANENT, true, "the server refused access to the folder", "check the connection's folder"},
	{TRANSFER_FROM_CURL, CURLE_FTP_WEIRD_PASS_REPLY, CURLE_FTP_CANT_GET_HOST, TRANSFER_NETWORK, true, "the server's answer makes no sense", "check that base_url names the right server and port"},
	{TRANSFER_FROM_CURL, CURLE_HTTP2, CURLE_HTTP2, TRANSFER_NETWORK, false, "the HTTP/2 connection failed", TRY_LATER},
	{TRANSFER_FROM_CURL, CURLE_FTP_COULDNT_SET_TYPE, CURLE_FTP_COULDNT_SET_TYPE, TRANSFER_PERMANENT, true, "the server refused a binary transfer", "check the server's settings"},
	{TRANSFER_FROM_CURL, CURLE_PARTIAL_FILE, CURLE_PARTIAL_FILE, TRANSFER_NETWORK, false, "the connection ended before the file did", "it goes on where it stopped"},
	{TRANSFER_FROM_CURL, CURLE_FTP_COULDNT_RETR_FILE, CURLE_FTP_COULDNT_RETR_FILE, TRANSFER_PERMANENT, true, "the server does not give the file", "check the connection's folder and file name"},
	{TRANSFER_FROM_CURL, CURLE_WRITE_ERROR, CURLE_WRITE_ERROR, TRANSFER_PERMANENT, false, "the local file could not be written", "make room on the disk that holds product_sync.spool_directory"},
	{TRANSFER_FROM_CURL, CURLE_OUT_OF_MEMORY, CURLE_OUT_OF_MEMORY, TRANSFER_NETWORK, false, "out of memory", "lower product_sync.max_transfers or the size of pages"},
	{TRANSFER_FROM_CURL, CURLE_OPERATION_TIMEDOUT, CURLE_OPERATION_TIMEDOUT, TRANSFER_NETWORK, false, "the server took too long", "raise the connection's timeouts if this is frequent"},
	{TRANSFER_FROM_CURL, CURLE_FTP_PORT_FAILED, CURLE_FTP_PORT_FAILED, TRANSFER_NETWORK, true, "the data connection failed", "check that the server's passive ports are open"},
	{TRANSFER_FROM_CURL, CURLE_FTP_COULDNT_USE_REST, CURLE_FTP_COULDNT_USE_REST, TRANSFER_NETWORK, false, "the server cannot go on inside a file", "the file is fetched again from its start"},
	{TRANSFER_FROM_CURL, CURLE_RANGE_ERROR, CURLE_RANGE_ERROR, TRANSFER_NETWORK, false, "the server cannot go on inside a file", "the file is fetched again from its start"},
	{TRANSFER_FROM_CURL, CURLE_SSL_CONNECT_ERROR, CURLE_SSL_CONNECT_ERROR, TRANSFER_NETWORK, false, "no TLS connection could be made", "check that the port speaks TLS, and which versions"},
	{TRANSFER_FROM_CURL, CURLE_BAD_DOWNLOAD_RESUME, CURLE_BAD_DOWNLOAD_RESUME, TRANSFER_NETWORK, false, "the part that is here is longer than the file", "the file is fetched again from its start"},
	{TRANSFER_FROM_CURL, CURLE_ABORTED_BY_CALLBACK, CURLE_ABORTED_BY_CALLBACK, TRANSFER_NETWORK, false, "the server did not confirm the end of the transfer", TRY_LATER},
	{TRANSFER_FROM_CURL, CURLE_TOO_MANY_REDIRECTS, CURLE_TOO_MANY_REDIRECTS, TRANSFER_PERMANENT, false, "the server points elsewhere without end", "check the connection's base_url"},
	{TRANSFER_FROM_CURL, CURLE_SSL_ENGINE_NOTFOUND, CURLE_SSL_ENGINE_SETFAILED, TRANSFER_PERMANENT, false, "TLS is not usable here", "check the installation of OpenSSL"},
	{TRANSFER_FROM_CURL, CURLE_SSL_CERTPROBLEM, CURLE_PEER_FAILED_VERIFICATION, TRANSFER_PERMANENT, false, "the server's certificate is not trusted", "install its authority's certificate, or name it in the connection's tls_ca_file setting"},
	{TRANSFER_FROM_CURL, CURLE_FILESIZE_EXCEEDED, CURLE_FILESIZE_EXCEEDED, TRANSFER_PERMANENT, false, "more came than is allowed", "raise the connection's limit if this size is right"},
	{TRANSFER_FROM_CURL, CURLE_USE_SSL_FAILED, CURLE_USE_SSL_FAILED, TRANSFER_PERMANENT, false, "the server does not offer TLS", "ask its operator for TLS, or set the connection's ftp_tls to none"},
	{TRANSFER_FROM_CURL, CURLE_SSL_ENGINE_INITFAILED, CURLE_SSL_ENGINE_INITFAILED, TRANSFER_PERMANENT, false, "TLS is not usable here", "check the installation of OpenSSL"},
	{TRANSFER_FROM_CURL, CURLE_LOGIN_DENIED, CURLE_LOGIN_DENIED, TRANSFER_PERMANENT, true, "the server refused the login", "check the connection's username and secret"},
	{TRANSFER_FROM_CURL, CURLE_SSL_CACERT_BADFILE, CURLE_SSL_CACERT_BADFILE, TRANSFER_PERMANENT, false, "the file of trusted certificates is not usable", "check the connection's tls_ca_file setting"},
	{TRANSFER_FROM_CURL, CURLE_REMOTE_FILE_NOT_FOUND, CURLE_REMOTE_FILE_NOT_FOUND, TRANSFER_PERMANENT, true, "no such file", "check the connection's folder and file name"},
	{TRANSFER_FROM_CURL, CURLE_SSL_CRL_BADFILE, CURLE_SSL_ISSUER_ERROR, TRANSFER_PERMANENT, false, "the server's certificate is not trusted", "check the connection's tls_ca_file setting"},
	{TRANSFER_FROM_CURL, CURLE_SSL_PINNEDPUBKEYNOTMATCH, CURLE_SSL_INVALIDCERTSTATUS, TRANSFER_PERMANENT, false, "the server's certificate is not trusted", "check the connection's tls_ca_file setting"},
	/* CURLE_TOO_LARGE of curl 8.6: headers without end. */
	{TRANSFER_FROM_CURL, 100, 100, TRANSFER_PERMANENT, false, "more came than is allowed", "check that base_url names the right server"},
	{TRANSFER_FROM_CURL, 1, 999, TRANSFER_NETWORK, false, "the connection failed", TRY_LATER},
};

const int	transfer_rules_count = sizeof(transfer_rules) / sizeof(transfer_rules[0]);

/* The row for a code, or NULL. */
static const TransferRule *
find_rule(TransferSource source, long code)
{
	for (int i = 0; i < transfer_rules_count; i++)
	{
		if (transfer_rules[i].source == source && code >= transfer_rules[i].first && code <= transfer_rules[i].last)
			return &transfer_rules[i];
	}
	return NULL;
}

const char *
transfer_class_name(TransferClass class)
{
	switch (class)
	{
		case TRANSFER_NETWORK:
			return "network";
		case TRANSFER_API_LIMIT:
			return "api_limit";
		case TRANSFER_PERMANENT:
			return "permanent";
		case TRANSFER_OK:
			break;
	}
	return NULL;
}

/* Replaces what is not printable ASCII, in place: what a server wrote may be anything. */
void
outcome_printable(char *text)
{
	for (; *text; text++)
	{
		if (*text < ' ' || *text > '~')
			*text = '?';
	}
}

/* Blots the password out of a message, should a server have written it back. */
static void
blot_out(char *message, const char *password)
{
	size_t		len = password ? strlen(password) : 0;
	char	   *found;

	/* Shorter ones are no secret, and part of too many words. */
	if (len < 4)
		return;
	while ((found = strstr(message, password)) != NULL)
		memset(found, '*', len);
}

/*
 * Blots the secret out of what an HTTP server sent, should it have written it back: bodies and headers go on to tables and messages.  The
 * body of a success is left alone where the secret is a login's password, which may be any word.
 */
void
outcome_blot_answer(Transfer *transfer)
{
	TransferResult *result = transfer->result;
	size_t		len = transfer->password ? strlen(transfer->password) : 0;
	char	   *from = result->body;

	if (len < 8 || (result->class == TRANSFER_OK && !transfer->secret_apart))
		return;
	for (int i = 0; i < result->header_count; i++)
	{
		if (result->headers[i].value)
			blot_out(result->headers[i].value, transfer->password);
	}
	while (from && (from = memmem(from, result->body_len - (from - result->body), transfer->password, len)) != NULL)
		memset(from, '*', len);
	if (result->content_type[0])
		blot_out(result->content_type, transfer->password);
}

/* Writes the message of a failed transfer: what it was about, what happened in whose words, and what to do. */
static void
say(Transfer *transfer, const TransferRule *rule, const char *detail)
{
	TransferResult *result = transfer->result;
	const char *verb = transfer->op == TRANSFER_HTTP ? (transfer->method ? transfer->method : (transfer->body ? "POST" : "GET")) :
		(transfer->op == TRANSFER_FTP_STAT ? "look at" : "download of");

	snprintf(result->message, sizeof(result->message), "%s %.240s: %s%s%.120s%s; %s", verb, transfer->place, rule->meaning,
			 detail[0] ? " (" : "", detail, detail[0] ? ")" : "", rule->advice);
	blot_out(result->message, transfer->password);
}

/* Decides on an HTTP answer that came whole. */
static void
outcome_http(Transfer *transfer)
{
	TransferResult *result = transfer->result;
	const TransferRule *rule = result->status >= 200 && result->status < 300 ? NULL : find_rule(TRANSFER_FROM_HTTP, result->status);
	char		detail[64];

	if (rule == NULL)
		return;
	result->class = rule->class;
	if (result->status == 503 && result->retry_after >= 0)
		result->class = TRANSFER_API_LIMIT;
	snprintf(detail, sizeof(detail), "status %ld", result->status);
	say(transfer, rule, detail);
}

/* Fills class, code and message of a result.  The rest of it must be there. */
void
outcome_decide(Transfer *transfer, CURLcode code)
{
	TransferResult *result = transfer->result;
	const TransferRule *rule;
	const TransferRule *by_reply = NULL;
	const char *detail;

	if (transfer->too_large)
		code = CURLE_FILESIZE_EXCEEDED;
	else if (transfer->no_memory)
		code = CURLE_OUT_OF_MEMORY;
	result->curl_code = code;
	result->class = TRANSFER_OK;
	if (code == CURLE_OK)
	{
		if (transfer->op == TRANSFER_HTTP)
			outcome_http(transfer);
		return;
	}
	rule = find_rule(TRANSFER_FROM_CURL, code);
	/* The last row is for all others. */
	if (rule == NULL)
		rule = &transfer_rules[transfer_rules_count - 1];
	/* curl calls a 421 a timeout. */
	if (transfer->op != TRANSFER_HTTP && (rule->by_reply || result->status == 421))
		by_reply = find_rule(TRANSFER_FROM_FTP, result->status);
	if (by_reply)
		rule = by_reply;
	result->class = rule->class;

	outcome_printable(transfer->errbuf);
	if (transfer->write_errno)
		detail = strerror(transfer->write_errno);
	else if (transfer->too_large || transfer->impatient)
		detail = "";
	else if (by_reply && transfer->reply[0])
		detail = transfer->reply;
	else
		detail = transfer->errbuf[0] ? transfer->errbuf : curl_easy_strerror(code);
	say(transfer, rule, detail);
}
