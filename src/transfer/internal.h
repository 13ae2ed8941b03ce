/*
 * internal.h
 *	  What the files of the transfer engine share: a transfer from its acceptance to its result.
 *
 * A transfer is in one of three places: in the heap of those that may not start yet, in the queue of its server, or on the wire, where
 * it has a curl handle.  schedule.c owns the first two, engine.c the third.
 */
#ifndef PRODUCT_SYNC_TRANSFER_INTERNAL_H
#define PRODUCT_SYNC_TRANSFER_INTERNAL_H

#include <curl/curl.h>
#include <signal.h>

#include "transfer/transfer.h"

typedef enum TransferPlace
{
	TRANSFER_DELAYED,
	TRANSFER_QUEUED,
	TRANSFER_RUNNING
} TransferPlace;

/* A server, as "scheme://host:port", with what waits for it. */
typedef struct TransferHost
{
	char	   *key;
	int			held;			/* transfers that point here: delayed, queued, running */
	int			running;
	struct Transfer *first;
	struct Transfer *last;
	struct TransferHost *next;
	int64_t		released_ms;	/* when the last delayed transfer was let go */
} TransferHost;

typedef struct Transfer
{
	TransferOp	op;
	char	   *method;
	char	   *url;
	char	   *place;			/* the address for messages: no user, password or query */
	struct curl_slist *headers;
	char	   *body;
	size_t		body_len;
	char	   *username;
	char	   *password;
	char	   *ca_file;
	bool		tls_explicit;
	bool		secret_apart;	/* the password is in a header or in the body */
	bool		to_file;
	bool		once;
	long		connect_timeout_ms;
	long		timeout_ms;
	long		low_speed_seconds;
	int64_t		max_bytes;
	int			file_fd;
	int64_t		resume_from;

	TransferEngine *engine;
	TransferPlace at;
	TransferHost *host;
	int64_t		due_ms;			/* delayed: not before; then the order of arrival */
	int64_t		spacing_ms;
	uint64_t	order;
	size_t		heap_index;
	struct Transfer *next;		/* in the host's queue, or among the running */
	struct Transfer *prev;

	CURL	   *easy;
	char		errbuf[CURL_ERROR_SIZE];
	char		reply[160];		/* FTP: the server's last line, printable characters only */
	int64_t		started_ms;
	int64_t		active_ms;		/* when a byte last moved */
	bool		tls_ftp;		/* needs mux_nudge() */
	curl_socket_t known_fd;		/* tls_ftp: a socket that curl would recognise */
	int64_t		nudge_ms;		/* tls_ftp: when it is next called on it */
	curl_off_t	uploaded;
	size_t		header_bytes;
	size_t		body_room;
	int			write_errno;	/* of the local file */
	bool		too_large;
	bool		no_memory;
	bool		impatient;		/* given up while curl was waiting inside a call */
	TransferResult *result;
} Transfer;

struct TransferEngine
{
	int			mux_fd;			/* epoll: curl's sockets and timer_fd */
	int			timer_fd;
	CURLM	   *multi;
	int			max_connections;
	int			max_per_host;
	int			active;			/* delayed, queued and running */
	int			running;
	int			tls_ftp_running;
	bool		broken;
	int64_t		curl_due_ms;	/* when curl wants to be called; -1 never */
	int64_t		armed_ms;		/* what timer_fd is set to; -1 off */
	int64_t		call_ms;		/* when the present call into curl began */

	Transfer   *runners;
	Transfer  **delayed;		/* heap by due_ms, order */
	size_t		delayed_count;
	size_t		delayed_room;
	uint64_t	next_order;
	TransferHost *hosts;		/* a ring as to turns: the list is rotated as hosts are served */
	TransferHost *hosts_last;

	TransferResult *done_first;
	TransferResult *done_last;
};

/* mux.c */
typedef struct SignalState
{
	sigset_t	before;
	bool		pipe_pending;
} SignalState;

extern void mux_block_signals(SignalState *state);
extern void mux_restore_signals(const SignalState *state);
extern bool mux_open(TransferEngine *engine);
extern void mux_close(TransferEngine *engine);
extern void mux_wake(TransferEngine *engine);
extern bool mux_poll(TransferEngine *engine);
extern void mux_call_curl(TransferEngine *engine, curl_socket_t fd, int what);
extern int64_t mux_nudge(TransferEngine *engine, int64_t now_ms, bool act);
extern void mux_arm(TransferEngine *engine, int64_t silence_ms);

/* request.c */
extern Transfer *transfer_make(const TransferRequest *request, char **host_key, char *errbuf, size_t errlen);
extern void transfer_destroy(Transfer *transfer);

/* schedule.c */
extern bool schedule_add(TransferEngine *engine, Transfer *transfer, const char *host_key, int64_t delay_ms);
extern void schedule_release(TransferEngine *engine, int64_t now_ms);
extern Transfer *schedule_take(TransferEngine *engine);
extern void schedule_finished(TransferEngine *engine, Transfer *transfer);
extern Transfer *schedule_find(TransferEngine *engine, uint64_t tag);
extern void schedule_remove(TransferEngine *engine, Transfer *transfer);
extern int64_t schedule_next_due(const TransferEngine *engine);
extern void schedule_clear(TransferEngine *engine);

/* file.c */
extern size_t file_write(Transfer *transfer, const char *data, size_t len);

/* http.c, ftp.c: set the options of a transfer's curl handle, and read from it what came. */
extern CURLcode http_prepare(Transfer *transfer);
extern void http_collect(Transfer *transfer);
extern CURLcode ftp_prepare(Transfer *transfer);
extern CURLcode ftp_collect(Transfer *transfer, CURLcode code);

/* outcome.c */
extern void outcome_decide(Transfer *transfer, CURLcode code);
extern void outcome_printable(char *text);
extern void outcome_blot_answer(Transfer *transfer);

extern int64_t transfer_now_ms(void);

/* curl_easy_setopt() in a row of them: the first error ends the function. */
#define SET(option, value) \
	do { \
		CURLcode	set_code = curl_easy_setopt(transfer->easy, option, value); \
		if (set_code != CURLE_OK) \
			return set_code; \
	} while (0)

#endif
