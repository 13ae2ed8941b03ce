/*
 * mux.c
 *	  Waiting without waiting: curl's sockets and one timer in an epoll descriptor that the caller waits for.
 *
 * curl's multi interface tells through two callbacks which sockets it wants watched and when it wants to be called.  They only note that
 * (in the kernel's epoll set, in curl_due_ms); curl is never called from inside curl, and nothing in a callback can jump out of it.  One
 * timerfd in the same set covers all that the engine waits for: curl's clock, delayed starts, and the watch over silent servers.
 *
 * Traps that this file avoids:
 * - A resolver thread must not receive the caller's signals: all are blocked around calls that may start one (mux_block_signals).
 * - OpenSSL writes without MSG_NOSIGNAL, and CURLOPT_NOSIGNAL stops curl from ignoring SIGPIPE: one that is raised meanwhile is consumed.
 * - While curl 7.88 waits for the TLS of an FTP data connection it forgets to have the control connection watched: mux_nudge().
 */
#include "transfer/internal.h"

#include <errno.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MAX_EVENTS		64
#define MIN_NUDGE_MS	20
#define MAX_NUDGE_MS	1000

/* Milliseconds of a clock that only runs forward. */
int64_t
transfer_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Holds back all signals that another thread could take in our place. */
void
mux_block_signals(SignalState *state)
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
void
mux_restore_signals(const SignalState *state)
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

/* Notes a socket of an FTP transfer under TLS, for mux_nudge(). */
static void
note_socket(TransferEngine *engine, const CURL *easy, curl_socket_t fd)
{
	for (Transfer *transfer = engine->runners; transfer; transfer = transfer->next)
	{
		if (transfer->tls_ftp && transfer->easy == easy)
			transfer->known_fd = fd;
	}
}

/* curl wants a socket watched, otherwise, or no longer.  -1 stops the multi handle. */
static int
socket_callback(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
	TransferEngine *engine = arg;
	struct epoll_event event = {.data.fd = fd};
	int			rc;

	(void) unused;
	if (engine->tls_ftp_running > 0)
		note_socket(engine, easy, what == CURL_POLL_REMOVE ? CURL_SOCKET_BAD : fd);
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

/* The earlier of two times, of which -1 is never. */
static int64_t
earlier(int64_t a, int64_t b)
{
	if (a < 0)
		return b;
	return b < 0 || a < b ? a : b;
}

/* Lets curl act on a socket or on the clock. */
void
mux_call_curl(TransferEngine *engine, curl_socket_t fd, int what)
{
	int			running;

	engine->call_ms = transfer_now_ms();
	if (curl_multi_socket_action(engine->multi, fd, what, &running) != CURLM_OK)
		engine->broken = true;
}

/*
 * Calls curl on FTP transfers under TLS from which no socket event came for a while: soon at first, then ever more seldom.  Returns when
 * the next one wants it, or -1.  With "act" false it only tells.
 */
int64_t
mux_nudge(TransferEngine *engine, int64_t now_ms, bool act)
{
	int64_t		due_ms = -1;

	if (engine->tls_ftp_running == 0)
		return -1;
	for (Transfer *transfer = engine->runners; transfer; transfer = transfer->next)
	{
		if (!transfer->tls_ftp)
			continue;
		if (act && transfer->nudge_ms <= now_ms)
		{
			int64_t		wait_ms = (now_ms - transfer->active_ms) / 4;

			if (transfer->known_fd != CURL_SOCKET_BAD && wait_ms > 0)
				mux_call_curl(engine, transfer->known_fd, 0);
			transfer->nudge_ms = now_ms + (wait_ms < MIN_NUDGE_MS ? MIN_NUDGE_MS : wait_ms > MAX_NUDGE_MS ? MAX_NUDGE_MS : wait_ms);
		}
		due_ms = earlier(due_ms, transfer->nudge_ms);
	}
	return due_ms;
}

/* Acts on what epoll reports, if anything.  Returns whether it did. */
bool
mux_poll(TransferEngine *engine)
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
		mux_call_curl(engine, events[i].data.fd, what);
	}
	return count > 0;
}

/* Sets the timer for whatever comes first; silence_ms is when the watch over silent servers is due, or -1. */
void
mux_arm(TransferEngine *engine, int64_t silence_ms)
{
	int64_t		due_ms = earlier(engine->curl_due_ms, schedule_next_due(engine));
	struct itimerspec when = {{0, 0}, {0, 0}};

	due_ms = earlier(due_ms, silence_ms);
	due_ms = earlier(due_ms, mux_nudge(engine, 0, false));
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

/* Makes the descriptors and curl's multi handle.  False, with errno, when the system refuses: mux_close() is still to be called. */
bool
mux_open(TransferEngine *engine)
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

/* Closes what mux_open() opened. */
void
mux_close(TransferEngine *engine)
{
	if (engine->multi)
		curl_multi_cleanup(engine->multi);
	if (engine->timer_fd >= 0)
		close(engine->timer_fd);
	if (engine->mux_fd >= 0)
		close(engine->mux_fd);
}

/* Makes the descriptor readable at once, for a caller that waits before it steps. */
void
mux_wake(TransferEngine *engine)
{
	struct itimerspec at_once = {{0, 0}, {0, 1}};

	if (engine->armed_ms != 0)
	{
		timerfd_settime(engine->timer_fd, 0, &at_once, NULL);
		engine->armed_ms = 0;
	}
}
