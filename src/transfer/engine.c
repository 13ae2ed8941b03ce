/*
 * engine.c
 *	  A transfer's way over the wire: started, watched, ended, delivered.
 *
 * mux.c tells when there is something to do, schedule.c which transfer goes next, request.c takes requests in, http.c and ftp.c know
 * the two protocols, outcome.c says what an error means.
 *
 * Traps that this file avoids, each from what others met:
 * - Dropping a handle waits for its resolver thread unless CURLOPT_QUICK_EXIT is set.
 * - curl's own limit on slowness does not run while it talks on an FTP control connection: the watchdog here covers all of a transfer.
 * - curl waits inside a call for the server's word after an FTP file: progress_callback ends that wait, ftp_hang_up avoids the one at QUIT.
 */
#include "transfer/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_ROUNDS		32		/* of epoll_wait in one step, so that a fast server cannot keep the caller out */
#define MAX_CONNECT_MS	300000
#define USER_AGENT		"product_sync/1.0"

/*
 * Called by curl as bytes move, and every second while it waits inside a call.  In that second case all other transfers wait too: the
 * server gets TRANSFER_PATIENCE_MS, then the call is ended.
 */
static int
progress_callback(void *arg, curl_off_t download_total, curl_off_t downloaded, curl_off_t upload_total, curl_off_t uploaded)
{
	Transfer   *transfer = arg;
	int64_t		now_ms = transfer_now_ms();

	(void) download_total;
	(void) downloaded;
	(void) upload_total;
	if (uploaded != transfer->uploaded)
	{
		transfer->uploaded = uploaded;
		transfer->active_ms = now_ms;
	}
	if (transfer->op != TRANSFER_HTTP && now_ms - transfer->active_ms > TRANSFER_PATIENCE_MS &&
		now_ms - transfer->engine->call_ms > TRANSFER_PATIENCE_MS)
	{
		transfer->impatient = true;
		return 1;
	}
	return 0;
}

/* Sets what all kinds of transfer have in common. */
static CURLcode
prepare_common(Transfer *transfer)
{
	long		connect_ms = transfer->connect_timeout_ms;

	SET(CURLOPT_URL, transfer->url);
	SET(CURLOPT_PRIVATE, transfer);
	SET(CURLOPT_ERRORBUFFER, transfer->errbuf);
	SET(CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
	SET(CURLOPT_QUICK_EXIT, 1L);
#endif
#if LIBCURL_VERSION_NUM >= 0x075500
	SET(CURLOPT_PROTOCOLS_STR, transfer->op == TRANSFER_HTTP ? "http,https" : "ftp,ftps");
#else
	SET(CURLOPT_PROTOCOLS, (long) (transfer->op == TRANSFER_HTTP ? CURLPROTO_HTTP | CURLPROTO_HTTPS : CURLPROTO_FTP | CURLPROTO_FTPS));
#endif
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	/* The connection's row says where a request goes: not the server's environment. */
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	SET(CURLOPT_USERAGENT, USER_AGENT);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_NOPROGRESS, 0L);
	SET(CURLOPT_XFERINFOFUNCTION, progress_callback);
	SET(CURLOPT_XFERINFODATA, transfer);
	SET(CURLOPT_CONNECTTIMEOUT_MS, connect_ms > 0 && connect_ms < MAX_CONNECT_MS ? connect_ms : MAX_CONNECT_MS);
	SET(CURLOPT_TIMEOUT_MS, transfer->timeout_ms);
	if (transfer->username)
		SET(CURLOPT_USERNAME, transfer->username);
	if (transfer->password && !transfer->secret_apart)
		SET(CURLOPT_PASSWORD, transfer->password);
	if (transfer->ca_file)
		SET(CURLOPT_CAINFO, transfer->ca_file);
	return CURLE_OK;
}

/* Puts a result where the caller finds it. */
static void
deliver(TransferEngine *engine, Transfer *transfer)
{
	TransferResult *result = transfer->result;

	transfer->result = NULL;
	result->next = NULL;
	if (engine->done_last)
		engine->done_last->next = result;
	else
		engine->done_first = result;
	engine->done_last = result;
}

static void
runner_link(TransferEngine *engine, Transfer *transfer)
{
	transfer->prev = NULL;
	transfer->next = engine->runners;
	if (engine->runners)
		engine->runners->prev = transfer;
	engine->runners = transfer;
}

/* Takes a transfer off the wire: its curl handle is gone afterwards, its place is free. */
static void
runner_stop(TransferEngine *engine, Transfer *transfer)
{
	if (transfer->easy)
	{
		curl_multi_remove_handle(engine->multi, transfer->easy);
		curl_easy_cleanup(transfer->easy);
		transfer->easy = NULL;
	}
	if (transfer->tls_ftp)
		engine->tls_ftp_running--;
	if (transfer->prev)
		transfer->prev->next = transfer->next;
	else
		engine->runners = transfer->next;
	if (transfer->next)
		transfer->next->prev = transfer->prev;
	schedule_finished(engine, transfer);
}

/* A transfer has ended, by itself or by us: makes its result of what curl says. */
static void
runner_end(TransferEngine *engine, Transfer *transfer, CURLcode code)
{
	TransferResult *result = transfer->result;

	result->elapsed_ms = transfer_now_ms() - transfer->started_ms;
	if (transfer->easy)
	{
		curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &result->status);
		if (transfer->op == TRANSFER_HTTP)
			http_collect(transfer);
		else
			code = ftp_collect(transfer, code);
	}
	outcome_decide(transfer, code);
	outcome_blot_answer(transfer);
	runner_stop(engine, transfer);
	deliver(engine, transfer);
	transfer_destroy(transfer);
}

/* Starts a transfer that schedule_take() gave. */
static void
runner_start(TransferEngine *engine, Transfer *transfer)
{
	CURLcode	code = CURLE_OUT_OF_MEMORY;

	transfer->engine = engine;
	transfer->started_ms = transfer->active_ms = transfer_now_ms();
	transfer->known_fd = CURL_SOCKET_BAD;
	transfer->nudge_ms = transfer->started_ms;
	runner_link(engine, transfer);
	transfer->easy = curl_easy_init();
	if (transfer->easy)
	{
		code = prepare_common(transfer);
		if (code == CURLE_OK)
			code = transfer->op == TRANSFER_HTTP ? http_prepare(transfer) : ftp_prepare(transfer);
		if (code == CURLE_OK && curl_multi_add_handle(engine->multi, transfer->easy) != CURLM_OK)
			code = CURLE_OUT_OF_MEMORY;
	}
	if (transfer->tls_ftp)
		engine->tls_ftp_running++;
	if (code != CURLE_OK)
		runner_end(engine, transfer, code);
}

/* Collects what curl has finished.  Returns whether there was anything. */
static bool
collect_finished(TransferEngine *engine)
{
	CURLMsg    *message;
	int			left;
	bool		any = false;

	while ((message = curl_multi_info_read(engine->multi, &left)) != NULL)
	{
		char	   *private = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private);
		runner_end(engine, (Transfer *) private, message->data.result);
		any = true;
	}
	return any;
}

/* When the first silent transfer has been so for too long, or -1.  With "strike", ends those for which that is now. */
static int64_t
watchdog(TransferEngine *engine, int64_t now_ms, bool strike)
{
	int64_t		due_ms = -1;
	Transfer   *next;

	for (Transfer *transfer = engine->runners; transfer; transfer = next)
	{
		int64_t		limit_ms = transfer->low_speed_seconds;

		next = transfer->next;
		if (limit_ms == 0)
			continue;
		limit_ms = limit_ms > INT32_MAX ? (int64_t) INT32_MAX * 1000 : limit_ms * 1000;
		if (strike && now_ms - transfer->active_ms >= limit_ms)
		{
			snprintf(transfer->errbuf, sizeof(transfer->errbuf), "nothing came for %ld seconds", transfer->low_speed_seconds);
			runner_end(engine, transfer, CURLE_OPERATION_TIMEDOUT);
		}
		else if (due_ms < 0 || transfer->active_ms + limit_ms < due_ms)
			due_ms = transfer->active_ms + limit_ms;
	}
	return due_ms;
}

/* One round: sockets, clock, starts, ends.  Returns whether another one may find something to do. */
static bool
step_round(TransferEngine *engine)
{
	bool		busy = mux_poll(engine);
	int64_t		now_ms = transfer_now_ms();
	Transfer   *transfer;

	if (engine->curl_due_ms >= 0 && engine->curl_due_ms <= now_ms)
	{
		engine->curl_due_ms = -1;
		mux_call_curl(engine, CURL_SOCKET_TIMEOUT, 0);
		busy = true;
	}
	mux_nudge(engine, now_ms, true);
	busy |= collect_finished(engine);
	watchdog(engine, now_ms, true);
	schedule_release(engine, now_ms);
	while ((transfer = schedule_take(engine)) != NULL)
	{
		runner_start(engine, transfer);
		busy = true;
	}
	return busy;
}

/* Does what can be done now.  Returns the number of transfers under way; -1 when the engine is broken and can only be freed. */
int
transfer_engine_step(TransferEngine *engine)
{
	SignalState signals;
	int			rounds = 0;

	mux_block_signals(&signals);
	while (!engine->broken && step_round(engine) && ++rounds < MAX_ROUNDS)
		;
	/* Out of rounds with work left: sockets are level-triggered, and curl's due time is in the past, so the descriptor stays readable. */
	mux_arm(engine, watchdog(engine, 0, false));
	mux_restore_signals(&signals);
	return engine->broken ? -1 : engine->active;
}

/* Takes a request in; it starts at the next step.  0, or -1 with a message in errbuf where it is wrong. */
int
transfer_engine_add(TransferEngine *engine, const TransferRequest *request, char *errbuf, size_t errlen)
{
	char	   *host_key;
	Transfer   *transfer = transfer_make(request, &host_key, errbuf, errlen);
	bool		ok;

	if (transfer == NULL)
		return -1;
	ok = schedule_add(engine, transfer, host_key, request->start_delay_ms);
	free(host_key);
	if (!ok)
	{
		transfer_destroy(transfer);
		snprintf(errbuf, errlen, "out of memory");
		return -1;
	}
	mux_wake(engine);
	return 0;
}

/* The next result, which is the caller's from now on, or NULL. */
TransferResult *
transfer_engine_next(TransferEngine *engine)
{
	TransferResult *result = engine->done_first;

	if (result)
	{
		engine->done_first = result->next;
		if (engine->done_first == NULL)
			engine->done_last = NULL;
		result->next = NULL;
	}
	return result;
}

bool
transfer_engine_has_result(const TransferEngine *engine)
{
	return engine->done_first != NULL;
}

void
transfer_result_free(TransferResult *result)
{
	if (result == NULL)
		return;
	for (int i = 0; i < result->header_count; i++)
	{
		free(result->headers[i].name);
		free(result->headers[i].value);
	}
	free(result->headers);
	free(result->body);
	free(result);
}

/* Drops the transfer with this tag, wherever it is.  Returns false where there is none. */
bool
transfer_engine_cancel(TransferEngine *engine, uint64_t tag)
{
	Transfer   *transfer;
	SignalState signals;

	for (transfer = engine->runners; transfer; transfer = transfer->next)
	{
		if (transfer->result->tag == tag)
			break;
	}
	if (transfer)
	{
		mux_block_signals(&signals);
		engine->call_ms = transfer_now_ms();
		runner_stop(engine, transfer);
		mux_arm(engine, watchdog(engine, 0, false));
		mux_restore_signals(&signals);
	}
	else
	{
		transfer = schedule_find(engine, tag);
		if (transfer == NULL)
			return false;
		schedule_remove(engine, transfer);
	}
	transfer_destroy(transfer);
	return true;
}

/* Transfers under way, delayed ones included. */
int
transfer_engine_active(const TransferEngine *engine)
{
	return engine->active;
}

int
transfer_engine_fd(const TransferEngine *engine)
{
	return engine->mux_fd;
}

/* A new engine, or NULL with errno.  The first one of a process initialises libcurl, and with it OpenSSL. */
TransferEngine *
transfer_engine_create(int max_connections, int max_per_host)
{
	static bool initialised = false;
	TransferEngine *engine;
	int			saved_errno;

	if (!initialised && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
	{
		errno = ENOMEM;
		return NULL;
	}
	initialised = true;
	engine = calloc(1, sizeof(TransferEngine));
	if (engine == NULL)
		return NULL;
	engine->mux_fd = engine->timer_fd = -1;
	engine->curl_due_ms = engine->armed_ms = -1;
	engine->max_connections = max_connections > 0 ? max_connections : 1;
	engine->max_per_host = max_per_host > 0 ? max_per_host : 1;
	if (mux_open(engine))
		return engine;
	saved_errno = errno;
	transfer_engine_free(engine);
	errno = saved_errno;
	return NULL;
}

/* Drops all transfers and frees everything.  NULL is fine. */
void
transfer_engine_free(TransferEngine *engine)
{
	TransferResult *result;
	SignalState signals;

	if (engine == NULL)
		return;
	mux_block_signals(&signals);
	engine->call_ms = transfer_now_ms();
	while (engine->runners)
	{
		Transfer   *transfer = engine->runners;

		runner_stop(engine, transfer);
		transfer_destroy(transfer);
	}
	schedule_clear(engine);
	mux_close(engine);
	while ((result = transfer_engine_next(engine)) != NULL)
		transfer_result_free(result);
	free(engine);
	mux_restore_signals(&signals);
}
