/*
 * engine.c
 *	  The loop: curl's sockets and its clock in one epoll descriptor, and a transfer's way over the wire.
 *
 * curl's multi interface tells us through two callbacks which sockets it wants watched and when it wants to be called.  They only note
 * that (in the kernel's epoll set, in curl_due_ms); curl is never called from inside curl, and nothing in a callback can jump out of it.
 * One timerfd in the same epoll set covers all the engine waits for: curl's clock, delayed starts, and the watchdog over silent servers.
 *
 * Traps that this file avoids, each from what others met:
 * - A resolver thread must not receive the caller's signals: all are blocked around calls that may start one (signals_block).
 * - OpenSSL writes without MSG_NOSIGNAL, and CURLOPT_NOSIGNAL stops curl from ignoring SIGPIPE: one that is raised meanwhile is consumed.
 * - Dropping a handle waits for its resolver thread unless CURLOPT_QUICK_EXIT is set.
 * - While curl talks on an FTP control connection between transfer states no timer of its own runs: the watchdog sees to it.
 * - curl waits inside a call for the server's word after an FTP file: progress_callback ends that wait, ftp_hang_up avoids the one at QUIT.
 */
#define _GNU_SOURCE
#include "transfer/internal.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MAX_EVENTS		64
#define MAX_ROUNDS		32		/* of epoll_wait in one step, so that a fast server cannot keep the caller out */
#define MAX_CONNECT_MS	300000
#define USER_AGENT		"product_sync/1.0"

typedef struct SignalState
{
	sigset_t	before;
	bool		pipe_pending;
} SignalState;

/* Milliseconds of a clock that only runs forward. */
int64_t
transfer_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Holds back all signals that another thread could take in our place. */
static void
signals_block(SignalState *state)
{
	sigset_t	all;
	sigset_t	pending;

	sigfillset(&all);
	/* Faults of our own: blocking them would kill without a trace. */
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	sigdelset(&all, SIGABRT);
	sigdelset(&all, SIGTRAP);
	pthread_sigmask(SIG_BLOCK, &all, &state->before);
	state->pipe_pending = sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
}

/* Lets signals through again, except a SIGPIPE that curl's TLS library caused. */
static void
signals_restore(const SignalState *state)
{
	sigset_t	pipe_only;
	struct timespec at_once = {0, 0};

	if (!state->pipe_pending)
	{
		sigemptyset(&pipe_only);
		sigaddset(&pipe_only, SIGPIPE);
		while (sigtimedwait(&pipe_only, NULL, &at_once) == -1 && errno == EINTR)
			;
	}
	pthread_sigmask(SIG_SETMASK, &state->before, NULL);
}

/* curl wants a socket watched, otherwise, or no longer.  -1 stops the multi handle. */
static int
socket_callback(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
	TransferEngine *engine = arg;
	struct epoll_event event = {.data.fd = fd};
	int			rc;

	(void) easy;
	(void) unused;
	if (what == CURL_POLL_REMOVE)
	{
		/* A descriptor that curl has closed left the set by itself. */
		epoll_ctl(engine->mux_fd, EPOLL_CTL_DEL, fd, NULL);
		return 0;
	}
	if (what & CURL_POLL_IN)
		event.events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		event.events |= EPOLLOUT;
	rc = epoll_ctl(engine->mux_fd, EPOLL_CTL_MOD, fd, &event);
	if (rc < 0 && errno == ENOENT)
		rc = epoll_ctl(engine->mux_fd, EPOLL_CTL_ADD, fd, &event);
	if (rc < 0)
	{
		engine->broken = true;
		return -1;
	}
	return 0;
}

/* curl wants to be called after so many milliseconds, or not at all. */
static int
timer_callback(CURLM *multi, long timeout_ms, void *arg)
{
	TransferEngine *engine = arg;

	(void) multi;
	engine->curl_due_ms = timeout_ms < 0 ? -1 : transfer_now_ms() + timeout_ms;
	return 0;
}

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
	if (transfer->password)
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

/* The earlier of two times, of which -1 is never. */
static int64_t
earlier(int64_t a, int64_t b)
{
	if (a < 0)
		return b;
	return b < 0 || a < b ? a : b;
}

/* Sets the timer for whatever comes first. */
static void
arm_timer(TransferEngine *engine)
{
	int64_t		due_ms = earlier(engine->curl_due_ms, schedule_next_due(engine));
	struct itimerspec when = {{0, 0}, {0, 0}};

	due_ms = earlier(due_ms, watchdog(engine, 0, false));
	if (due_ms == engine->armed_ms)
		return;
	if (due_ms >= 0)
	{
		/* All zero would switch it off. */
		when.it_value.tv_sec = due_ms / 1000;
		when.it_value.tv_nsec = (due_ms % 1000) * 1000000 + 1;
	}
	if (timerfd_settime(engine->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) < 0)
		engine->broken = true;
	engine->armed_ms = due_ms;
}

/* Lets curl act on a socket or on the clock. */
static void
call_curl(TransferEngine *engine, curl_socket_t fd, int what)
{
	int			running;

	engine->call_ms = transfer_now_ms();
	if (curl_multi_socket_action(engine->multi, fd, what, &running) != CURLM_OK)
		engine->broken = true;
}

/* Acts on what epoll reports, if anything.  Returns whether it did. */
static bool
poll_sockets(TransferEngine *engine)
{
	struct epoll_event events[MAX_EVENTS];
	int			count = epoll_wait(engine->mux_fd, events, MAX_EVENTS, 0);

	for (int i = 0; i < count && !engine->broken; i++)
	{
		int			what = 0;

		if (events[i].data.fd == engine->timer_fd)
		{
			uint64_t	expirations;

			if (read(engine->timer_fd, &expirations, sizeof(expirations)) > 0)
				engine->armed_ms = -1;
			continue;
		}
		if (events[i].events & EPOLLIN)
			what |= CURL_CSELECT_IN;
		if (events[i].events & EPOLLOUT)
			what |= CURL_CSELECT_OUT;
		if (events[i].events & (EPOLLERR | EPOLLHUP))
			what |= CURL_CSELECT_ERR;
		call_curl(engine, events[i].data.fd, what);
	}
	return count > 0;
}

/* One round: sockets, clock, starts, ends.  Returns whether another one may find something to do. */
static bool
step_round(TransferEngine *engine)
{
	bool		busy = poll_sockets(engine);
	int64_t		now_ms = transfer_now_ms();
	Transfer   *transfer;

	if (engine->curl_due_ms >= 0 && engine->curl_due_ms <= now_ms)
	{
		engine->curl_due_ms = -1;
		call_curl(engine, CURL_SOCKET_TIMEOUT, 0);
		busy = true;
	}
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

	signals_block(&signals);
	while (!engine->broken && step_round(engine) && ++rounds < MAX_ROUNDS)
		;
	/* Out of rounds with work left: sockets are level-triggered, and curl's due time is in the past, so the descriptor stays readable. */
	arm_timer(engine);
	signals_restore(&signals);
	return engine->broken ? -1 : engine->active;
}

/* Takes a request in; it starts at the next step.  0, or -1 with a message in errbuf where it is wrong. */
int
transfer_engine_add(TransferEngine *engine, const TransferRequest *request, char *errbuf, size_t errlen)
{
	char	   *host_key;
	Transfer   *transfer = transfer_make(request, &host_key, errbuf, errlen);
	struct itimerspec at_once = {{0, 0}, {0, 1}};
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
	/* The caller may wait before it steps: it must be woken. */
	if (engine->armed_ms != 0)
	{
		timerfd_settime(engine->timer_fd, 0, &at_once, NULL);
		engine->armed_ms = 0;
	}
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

void
transfer_result_free(TransferResult *result)
{
	if (result)
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
		signals_block(&signals);
		engine->call_ms = transfer_now_ms();
		runner_stop(engine, transfer);
		arm_timer(engine);
		signals_restore(&signals);
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

/* Makes the descriptors and curl's multi handle.  False, with errno, when the system refuses. */
static bool
engine_open(TransferEngine *engine)
{
	struct epoll_event event = {.events = EPOLLIN};

	engine->mux_fd = epoll_create1(EPOLL_CLOEXEC);
	engine->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (engine->mux_fd < 0 || engine->timer_fd < 0)
		return false;
	event.data.fd = engine->timer_fd;
	if (epoll_ctl(engine->mux_fd, EPOLL_CTL_ADD, engine->timer_fd, &event) < 0)
		return false;
	engine->multi = curl_multi_init();
	if (engine->multi == NULL ||
		curl_multi_setopt(engine->multi, CURLMOPT_SOCKETFUNCTION, socket_callback) != CURLM_OK ||
		curl_multi_setopt(engine->multi, CURLMOPT_SOCKETDATA, engine) != CURLM_OK ||
		curl_multi_setopt(engine->multi, CURLMOPT_TIMERFUNCTION, timer_callback) != CURLM_OK ||
		curl_multi_setopt(engine->multi, CURLMOPT_TIMERDATA, engine) != CURLM_OK ||
		curl_multi_setopt(engine->multi, CURLMOPT_MAXCONNECTS, (long) engine->max_connections) != CURLM_OK ||
		curl_multi_setopt(engine->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long) engine->max_connections) != CURLM_OK)
	{
		errno = ENOMEM;
		return false;
	}
	return true;
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
	if (engine_open(engine))
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
	signals_block(&signals);
	engine->call_ms = transfer_now_ms();
	while (engine->runners)
	{
		Transfer   *transfer = engine->runners;

		runner_stop(engine, transfer);
		transfer_destroy(transfer);
	}
	schedule_clear(engine);
	if (engine->multi)
		curl_multi_cleanup(engine->multi);
	while ((result = transfer_engine_next(engine)) != NULL)
		transfer_result_free(result);
	if (engine->timer_fd >= 0)
		close(engine->timer_fd);
	if (engine->mux_fd >= 0)
		close(engine->mux_fd);
	free(engine);
	signals_restore(&signals);
}
