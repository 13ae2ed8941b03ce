/*
 * ftp.c
 *	  Size and time of a file on an FTP server, and the file itself into a local one.
 *
 * A look at a file is MDTM and SIZE without a data connection.  A download writes as bytes arrive, at the descriptor's position: what was
 * written stays, and the next attempt goes on behind it.  FTP cannot say that a file is complete: a download that brought fewer bytes
 * than the size that the server named is an error of the network, and whether the file changed meanwhile is for the caller to check,
 * with another look.
 */
#include "transfer/internal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* Takes a piece of the file. */
static size_t
file_callback(char *data, size_t size, size_t count, void *arg)
{
	return file_write(arg, data, size * count);
}

/* For a look: curl hands what it learnt to the body as if it were one. */
static size_t
ignore_callback(char *data, size_t size, size_t count, void *arg)
{
	Transfer   *transfer = arg;

	(void) data;
	transfer->active_ms = transfer_now_ms();
	return size * count;
}

/* Sees each line of the server's replies, and keeps the last that has a code, for messages. */
static size_t
reply_callback(char *data, size_t size, size_t count, void *arg)
{
	Transfer   *transfer = arg;
	size_t		len = size * count;
	size_t		kept = len;

	transfer->active_ms = transfer_now_ms();
	while (kept > 0 && (data[kept - 1] == '\r' || data[kept - 1] == '\n'))
		kept--;
	if (kept > 4 && isdigit((unsigned char) data[0]) && isdigit((unsigned char) data[1]) && isdigit((unsigned char) data[2]) &&
		data[3] == ' ')
	{
		if (kept >= sizeof(transfer->reply))
			kept = sizeof(transfer->reply) - 1;
		memcpy(transfer->reply, data, kept);
		transfer->reply[kept] = '\0';
		outcome_printable(transfer->reply);
	}
	return len;
}

/* Sets the options of an FTP transfer; the first one that curl refuses ends it. */
CURLcode
ftp_prepare(Transfer *transfer)
{
	SET(CURLOPT_HEADERFUNCTION, reply_callback);
	SET(CURLOPT_HEADERDATA, transfer);
	SET(CURLOPT_FTP_USE_EPSV, 1L);
	/* The data connection goes where the control connection went: a server cannot point us at a third one. */
	SET(CURLOPT_FTP_SKIP_PASV_IP, 1L);
	transfer->tls_ftp = transfer->tls_explicit || strncasecmp(transfer->url, "ftps", 4) == 0;
	if (transfer->tls_ftp)
	{
		SET(CURLOPT_USE_SSL, (long) CURLUSESSL_ALL);
		SET(CURLOPT_FTPSSLAUTH, (long) CURLFTPAUTH_TLS);
	}
	if (transfer->low_speed_seconds > 0)
		SET(CURLOPT_FTP_RESPONSE_TIMEOUT, transfer->low_speed_seconds);
	/* ftp_hang_up() ends the connection, so none is there to be used again. */
	SET(CURLOPT_FRESH_CONNECT, 1L);
	SET(CURLOPT_FILETIME, 1L);
	SET(CURLOPT_WRITEDATA, transfer);
	if (transfer->op == TRANSFER_FTP_STAT)
	{
		SET(CURLOPT_NOBODY, 1L);
		SET(CURLOPT_WRITEFUNCTION, ignore_callback);
		return CURLE_OK;
	}
	SET(CURLOPT_WRITEFUNCTION, file_callback);
	SET(CURLOPT_BUFFERSIZE, 256L * 1024);
	SET(CURLOPT_RESUME_FROM_LARGE, (curl_off_t) transfer->resume_from);
	return CURLE_OK;
}

/*
 * Ends the control connection here and now.  curl would keep it, and when it lets go of it later say QUIT and wait inside the call for an
 * answer that a hung server never gives; on a socket that is shut down it does not wait.
 */
static void
ftp_hang_up(Transfer *transfer)
{
	curl_socket_t fd = CURL_SOCKET_BAD;

	if (curl_easy_getinfo(transfer->easy, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK || fd == CURL_SOCKET_BAD)
		return;
	if (!transfer->tls_ftp)
		(void) !send(fd, "QUIT\r\n", 6, MSG_DONTWAIT | MSG_NOSIGNAL);
	shutdown(fd, SHUT_RDWR);
}

/* Reads what the finished transfer tells.  Returns its outcome, which is an error for a download that ended short. */
CURLcode
ftp_collect(Transfer *transfer, CURLcode code)
{
	TransferResult *result = transfer->result;
	curl_off_t	length = -1;
	curl_off_t	modified_at = -1;

	curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	curl_easy_getinfo(transfer->easy, CURLINFO_FILETIME_T, &modified_at);
	ftp_hang_up(transfer);
	if (code != CURLE_OK)
		return code;
	if (transfer->op == TRANSFER_FTP_STAT)
	{
		result->size = length;
		result->modified_at = modified_at;
	}
	else if (length >= 0 && result->bytes < length)
	{
		snprintf(transfer->errbuf, sizeof(transfer->errbuf), "%lld of %lld bytes came", (long long) result->bytes, (long long) length);
		return CURLE_PARTIAL_FILE;
	}
	return CURLE_OK;
}
