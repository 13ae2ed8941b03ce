/*
 * transfer.h
 *	  HTTP and FTP requests, many at a time, on one curl multi handle.
 *
 * Plain C over libcurl: no PostgreSQL header, no palloc, no ereport, so nothing can jump across a curl frame.  Memory is malloc's
 * and belongs to the engine.  The engine offers one descriptor (an epoll that holds curl's sockets and a timer): wait until it is
 * readable, call transfer_engine_step(), then collect what has finished.
 *
 * Nothing here waits for the network, with one exception that curl has: after the last byte of an FTP file it waits for the server's
 * word on it.  The engine gives a server TRANSFER_PATIENCE_MS for that, then the transfer fails.
 */
#ifndef PRODUCT_SYNC_TRANSFER_H
#define PRODUCT_SYNC_TRANSFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRANSFER_PATIENCE_MS 2000

/* What fits in memory whatever the request says. */
#define TRANSFER_MAX_BODY		((int64_t) 256 * 1024 * 1024)
#define TRANSFER_MAX_URL		8192
#define TRANSFER_MAX_CREDENTIAL 4096
#define TRANSFER_MAX_HEADERS	100
#define TRANSFER_MAX_HEADER		16384
#define TRANSFER_MAX_WANTED		32		/* headers of an answer that a request may ask for, and how much of each is kept */
#define TRANSFER_MAX_VALUE		1024
#define TRANSFER_MAX_REFUSAL	(64 * 1024)	/* of an answer that was to go into a file and is no success */

typedef enum TransferOp
{
	TRANSFER_HTTP,
	TRANSFER_FTP_STAT,			/* size and time of a file */
	TRANSFER_FTP_GET			/* a file, into a local file */
} TransferOp;

typedef enum TransferClass
{
	TRANSFER_OK,
	TRANSFER_NETWORK,			/* may succeed when tried again */
	TRANSFER_API_LIMIT,			/* 429, or 503 with Retry-After: costs no attempt */
	TRANSFER_PERMANENT			/* will fail again: bad address, refused login, 4xx */
} TransferClass;

/* What to do.  Strings are copied by transfer_engine_add(). */
typedef struct TransferRequest
{
	TransferOp	op;
	const char *method;			/* GET where NULL */
	const char *url;			/* http, https, ftp, ftps, without user or password; nothing else is allowed */
	const char *const *headers; /* "Name: value", NULL at the end; may be NULL */
	const char *body;			/* may be NULL */
	size_t		body_len;
	const char *username;		/* may be NULL */
	const char *password;		/* may be NULL; wiped when the transfer ends */
	const char *secret_header;	/* HTTP: the password is the value of this header, not a login; no username then */
	const char *form_secret;	/* HTTP: the password is added to the body as this field of a form; no username then */
	const char *const *want_headers;	/* HTTP: names of headers of the answer to be kept, NULL at the end; may be NULL */
	bool		once;			/* HTTP: on a new connection; curl sends again what a kept one lost before a byte of the answer */
	bool		tls_explicit;	/* FTP: AUTH TLS, for control and data both, or fail */
	const char *ca_file;		/* may be NULL: the system's */
	long		connect_timeout_ms;
	long		timeout_ms;		/* whole transfer, from its start on the wire; 0 is no limit */
	long		low_speed_seconds;	/* fails when not a byte moves for so long; 0 is off */
	int64_t		max_bytes;		/* fails when more arrives, resume_from counted; 0 is no limit (HTTP: TRANSFER_MAX_BODY) */
	bool		to_file;		/* HTTP: the body of a 2xx goes to file_fd, any other into memory; it is asked for unpacked */
	int			file_fd;		/* FTP_GET, to_file: an open descriptor, written at its position, not closed here */
	int64_t		resume_from;	/* FTP_GET, to_file: bytes that are there already */
	int64_t		start_delay_ms; /* not sent before so long from now */
	int64_t		spacing_ms;		/* delayed: nor within so long after the last delayed one to this server, which may have been late */
	uint64_t	tag;			/* the caller's own: a job id */
} TransferRequest;

/* A header of an answer: the name as it was asked for, in small letters. */
typedef struct TransferHeader
{
	char	   *name;
	char	   *value;			/* printable; NULL where the answer did not have it */
} TransferHeader;

/* What came of it.  Owned by the engine until transfer_result_free(). */
typedef struct TransferResult
{
	uint64_t	tag;
	TransferClass class;
	int			curl_code;
	long		status;			/* HTTP status or last FTP reply, 0 where there was none */
	char		message[512];	/* what failed, where; never a password */
	char	   *body;			/* HTTP: response body, may hold NUL bytes; NULL where empty */
	size_t		body_len;
	TransferHeader *headers;	/* HTTP: those that were wanted */
	int			header_count;
	char		content_type[128];
	double		retry_after;	/* seconds, -1 where the server did not say */
	int64_t		size;			/* FTP_STAT: size, -1 unknown */
	int64_t		modified_at;	/* FTP_STAT: Unix seconds, -1 unknown */
	int64_t		bytes;			/* received in this transfer */
	int64_t		elapsed_ms;
	int			kept;			/* for the caller: whether a secret in the body was kept; 0 no, 1 yes, -1 none was asked for */
	struct TransferResult *next;
} TransferResult;

/* Where a code comes from: libcurl, the status line of HTTP, the last reply of an FTP server. */
typedef enum TransferSource
{
	TRANSFER_FROM_CURL,
	TRANSFER_FROM_HTTP,
	TRANSFER_FROM_FTP
} TransferSource;

/* One row of the table that says what a code means: the engine follows it, the documentation prints it. */
typedef struct TransferRule
{
	TransferSource source;
	long		first;			/* codes first to last, both included */
	long		last;
	TransferClass class;
	bool		by_reply;		/* the FTP server's reply, where a row knows it, says more */
	const char *meaning;		/* what happened */
	const char *advice;			/* what to do */
} TransferRule;

extern const TransferRule transfer_rules[];
extern const int transfer_rules_count;

/* network, api_limit or permanent; NULL for TRANSFER_OK. */
extern const char *transfer_class_name(TransferClass class);

typedef struct TransferEngine TransferEngine;

/*
 * At most max_connections transfers are on the wire at a time, max_per_host of them to one server; further ones wait their turn, server
 * by server.  NULL when the system refuses memory or descriptors; errno says which.
 */
extern TransferEngine *transfer_engine_create(int max_connections, int max_per_host);
extern void transfer_engine_free(TransferEngine *engine);

/* The descriptor to wait for. */
extern int	transfer_engine_fd(const TransferEngine *engine);

/* 0, or -1 with a message in errbuf: the request is wrong and was not taken. */
extern int	transfer_engine_add(TransferEngine *engine, const TransferRequest *request, char *errbuf, size_t errlen);

/* Does what can be done without waiting.  Returns the number of transfers still under way, delayed ones included; -1 when the engine is broken. */
extern int	transfer_engine_step(TransferEngine *engine);

/* The next finished transfer, or NULL; and whether there is one. */
extern bool transfer_engine_has_result(const TransferEngine *engine);
extern TransferResult *transfer_engine_next(TransferEngine *engine);
extern void transfer_result_free(TransferResult *result);

/* Drops a transfer; it gives no result.  False where there is none with that tag. */
extern bool transfer_engine_cancel(TransferEngine *engine, uint64_t tag);
extern int	transfer_engine_active(const TransferEngine *engine);

#endif
