/*
 * test_transfer.c
 *	  The transfer engine against servers that misbehave, each a thread of this program on loopback.
 *
 * What real servers do is tested with real ones, in test/t.  Here is what they never do when one wants it: stall at a given reply, send
 * garbage, promise more than they send, fall silent after the last byte.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "transfer/transfer.h"

#define MANY 10000

static int	tests = 0;
static int	failures = 0;

/* One line of TAP. */
static bool __attribute__((format(printf, 2, 3)))
ok(bool good, const char *format,...)
{
	va_list		args;

	printf("%sok %d - ", good ? "" : "not ", ++tests);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	if (!good)
		failures++;
	return good;
}

static int64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Servers ---------------------------------------------------------------------------------------------------------------------- */

typedef struct Server
{
	int			listener;
	int			port;
	void		(*talk) (struct Server *server, int fd);
	const char *mode;
	pthread_mutex_t lock;
	int			now;			/* requests being answered, and the most at a time */
	int			most;
	int			served;
} Server;

typedef struct Visit
{
	Server	   *server;
	int			fd;
} Visit;

/* Waits until the other side is gone; what a server does that has nothing to say. */
static void
linger(int fd)
{
	char		buffer[4096];

	while (read(fd, buffer, sizeof(buffer)) > 0)
		;
}

static void *
visit_main(void *arg)
{
	Visit		visit = *(Visit *) arg;

	free(arg);
	visit.server->talk(visit.server, visit.fd);
	close(visit.fd);
	return NULL;
}

static void *
server_main(void *arg)
{
	Server	   *server = arg;

	for (;;)
	{
		Visit	   *visit;
		pthread_t	thread;
		int			fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			return NULL;
		visit = malloc(sizeof(Visit));
		visit->server = server;
		visit->fd = fd;
		if (pthread_create(&thread, NULL, visit_main, visit) != 0)
			abort();
		pthread_detach(thread);
	}
}

/* A listening socket on a free port of loopback. */
static int
listen_any(int *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t	len = sizeof(address);
	int			fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *) &address, len) < 0 || listen(fd, 512) < 0 ||
		getsockname(fd, (struct sockaddr *) &address, &len) < 0)
		abort();
	*port = ntohs(address.sin_port);
	return fd;
}

/* Starts a server that lives as long as this program. */
static Server *
server_start(void (*talk) (Server *, int), const char *mode)
{
	Server	   *server = calloc(1, sizeof(Server));
	pthread_t	thread;

	server->talk = talk;
	server->mode = mode;
	pthread_mutex_init(&server->lock, NULL);
	server->listener = listen_any(&server->port);
	if (pthread_create(&thread, NULL, server_main, server) != 0)
		abort();
	pthread_detach(thread);
	return server;
}

static void
send_all(int fd, const char *data, size_t len)
{
	while (len > 0)
	{
		ssize_t		n = send(fd, data, len, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		data += n;
		len -= n;
	}
}

static void __attribute__((format(printf, 2, 3)))
say(int fd, const char *format,...)
{
	char		line[2048];
	va_list		args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	send_all(fd, line, strlen(line));
}

/* A line, without its end.  False when the other side is gone. */
static bool
hear(int fd, char *line, size_t room)
{
	size_t		len = 0;
	char		c;

	while (read(fd, &c, 1) == 1)
	{
		if (c == '\n')
		{
			line[len] = '\0';
			return true;
		}
		if (c != '\r' && len + 1 < room)
			line[len++] = c;
	}
	return false;
}

/* HTTP ------------------------------------------------------------------------------------------------------------------------- */

/* Ends a connection with a reset. */
static void
http_reset(int fd)
{
	struct linger at_once = {1, 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

/* Answers by path.  False ends the connection. */
static bool
http_answer(int fd, const char *path, const char *authorization, const char *range, const char *body)
{
	static char block[65536];

	if (strcmp(path, "/ok") == 0)
	{
		static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/x-\x01odd\r\nContent-Length: 11\r\n\r\nhello\0world";

		send_all(fd, answer, sizeof(answer) - 1);
		return true;
	}
	if (strncmp(path, "/status/", 8) == 0)
	{
		say(fd, "HTTP/1.1 %.3s Status\r\n%sContent-Length: 2\r\n\r\nno", path + 8, strstr(path, "later") ? "Retry-After: 7\r\n" : "");
		return true;
	}
	if (strcmp(path, "/echo") == 0)
	{
		say(fd, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s|%s", strlen(authorization) + strlen(body) + 1, authorization, body);
		return true;
	}
	if (strcmp(path, "/wanted") == 0)
	{
		say(fd, "HTTP/1.1 100 Continue\r\nX-Gone: 1\r\n\r\nHTTP/1.1 200 OK\r\nX-Version:  2026-10 \r\nX-Odd: a\x01\xff\r\nX-Versions: 1\r\n"
			"X-Long: %01500d\r\nX-Told: opensesame\r\nContent-Length: 0\r\n\r\n", 7);
		return true;
	}
	if (strcmp(path, "/range") == 0)
	{
		long		from = 0;

		memset(block, 'f', 1000);
		sscanf(range, "bytes=%ld-", &from);
		say(fd, from > 0 ? "HTTP/1.1 206 Part\r\nContent-Length: %ld\r\nContent-Range: bytes %ld-999/1000\r\n\r\n" :
			"HTTP/1.1 200 OK\r\nContent-Length: %ld\r\n\r\n", 1000 - from, from);
		send_all(fd, block, 1000 - from);
		return true;
	}
	if (strcmp(path, "/slow") == 0)
	{
		usleep(20000);
		say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
		return true;
	}
	if (strcmp(path, "/big") == 0)
	{
		say(fd, "HTTP/1.1 200 OK\r\n\r\n");
		for (int i = 0; i < 1600; i++)
			send_all(fd, block, sizeof(block));
	}
	else if (strcmp(path, "/headers") == 0)
	{
		say(fd, "HTTP/1.1 200 OK\r\n");
		for (int i = 0; i < 100000; i++)
			say(fd, "X-Header-%d: a value that says nothing at all\r\n", i);
	}
	else if (strcmp(path, "/garbage") == 0)
		send_all(fd, "\x16\x03\x01\x02\x00\x01\x00\n\xff\xfe\n\n", 12);
	else if (strcmp(path, "/half") == 0)
		say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf");
	else if (strcmp(path, "/stall") == 0)
	{
		say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf");
		linger(fd);
	}
	else if (strcmp(path, "/silent") == 0)
		linger(fd);
	else if (strcmp(path, "/reset") == 0)
		http_reset(fd);
	return false;
}

static void
http_talk(Server *server, int fd)
{
	char		line[4096];
	char		path[4096] = "";
	char		authorization[256] = "";
	char		range[64] = "";
	char		body[256];
	bool		more = true;

	while (more && hear(fd, line, sizeof(line)))
	{
		size_t		len = 0;

		sscanf(line, "%*s %4000s", path);
		while (hear(fd, line, sizeof(line)) && line[0])
		{
			sscanf(line, "Authorization: %200[^\n]", authorization);
			sscanf(line, "X-Token: %200[^\n]", authorization);
			sscanf(line, "Range: %60[^\n]", range);
			sscanf(line, "Content-Length: %zu", &len);
		}
		memset(body, 0, sizeof(body));
		for (size_t i = 0; i < len && i < sizeof(body) - 1; i++)
		{
			if (read(fd, body + i, 1) != 1)
				return;
		}
		pthread_mutex_lock(&server->lock);
		server->served++;
		if (++server->now > server->most)
			server->most = server->now;
		pthread_mutex_unlock(&server->lock);
		more = http_answer(fd, path, authorization, range, body);
		pthread_mutex_lock(&server->lock);
		server->now--;
		pthread_mutex_unlock(&server->lock);
	}
}

/* FTP -------------------------------------------------------------------------------------------------------------------------- */

#define FTP_SIZE 100000

static bool
is_mode(const Server *server, const char *mode)
{
	return strcmp(server->mode, mode) == 0;
}

/* Sends the file from an offset over the data connection, then the reply. */
static void
ftp_retrieve(Server *server, int fd, int data_listener, long from)
{
	char		block[1000];
	int			data;

	say(fd, "150 here it comes\r\n");
	data = accept(data_listener, NULL, NULL);
	memset(block, 'x', sizeof(block));
	for (long at = from; at < FTP_SIZE; at += sizeof(block))
	{
		if (is_mode(server, "short") && at >= FTP_SIZE / 2)
			break;
		if (is_mode(server, "stall") && at >= FTP_SIZE / 2)
			linger(fd);
		send_all(data, block, sizeof(block));
	}
	close(data);
	if (is_mode(server, "no_word"))
		linger(fd);
	else
		say(fd, "226 done\r\n");
}

/* One command.  False ends the connection. */
static bool
ftp_command(Server *server, int fd, const char *line, int *data_listener, long *from)
{
	int			port;

	if (strncmp(line, "USER", 4) == 0)
		say(fd, is_mode(server, "busy") ? "421 too many connections\r\n" : "331 and the password?\r\n");
	else if (strncmp(line, "PASS ", 5) == 0)
	{
		if (is_mode(server, "hang"))
			linger(fd);
		if (is_mode(server, "tell"))
			say(fd, "530 \"%s\" is wrong\x01\xff\r\n", line + 5);
		else
			say(fd, "230 welcome\r\n");
	}
	else if (strncmp(line, "PWD", 3) == 0)
		say(fd, "257 \"/\" is where you are\r\n");
	else if (strncmp(line, "MDTM", 4) == 0)
		say(fd, is_mode(server, "no_size") ? "500 what?\r\n" : "213 20240102030405\r\n");
	else if (strncmp(line, "SIZE", 4) == 0)
		say(fd, is_mode(server, "no_size") ? "500 what?\r\n" : is_mode(server, "absent") ? "550 no such file\r\n" : "213 %d\r\n", FTP_SIZE);
	else if (strncmp(line, "TYPE", 4) == 0)
		say(fd, "200 fine\r\n");
	else if (strncmp(line, "REST", 4) == 0)
	{
		*from = atol(line + 5);
		say(fd, "350 go on\r\n");
	}
	else if (strncmp(line, "EPSV", 4) == 0 && is_mode(server, "elsewhere"))
		say(fd, "500 what?\r\n");
	else if (strncmp(line, "EPSV", 4) == 0 || strncmp(line, "PASV", 4) == 0)
	{
		*data_listener = listen_any(&port);
		if (line[0] == 'E')
			say(fd, "229 here (|||%d|)\r\n", port);
		else
			say(fd, "227 there (192,0,2,1,%d,%d)\r\n", port >> 8, port & 255);
	}
	else if (strncmp(line, "RETR", 4) == 0)
		ftp_retrieve(server, fd, *data_listener, *from);
	else if (strncmp(line, "QUIT", 4) == 0)
		linger(fd);
	else
		say(fd, "500 what?\r\n");
	return true;
}

static void
ftp_talk(Server *server, int fd)
{
	char		line[4096];
	int			data_listener = -1;
	long		from = 0;

	if (is_mode(server, "garbage"))
	{
		send_all(fd, "\x00\xff\xfe\x80\n\n\n999 \n", 12);
		linger(fd);
		return;
	}
	say(fd, "220 hello\r\n");
	while (hear(fd, line, sizeof(line)) && ftp_command(server, fd, line, &data_listener, &from))
		;
	if (data_listener >= 0)
		close(data_listener);
}

/* The engine's user ------------------------------------------------------------------------------------------------------------ */

/* Steps until a result is there or so much time is gone.  Counts wake-ups. */
static TransferResult *
wait_result(TransferEngine *engine, int64_t limit_ms, int *wakes)
{
	int64_t		end = now_ms() + limit_ms;
	TransferResult *result;

	for (;;)
	{
		struct pollfd fd = {transfer_engine_fd(engine), POLLIN, 0};
		int64_t		left;

		if (transfer_engine_step(engine) < 0)
			return NULL;
		result = transfer_engine_next(engine);
		left = end - now_ms();
		if (result || left <= 0)
			return result;
		poll(&fd, 1, (int) left);
		if (wakes)
			(*wakes)++;
	}
}

static char *
address(const char *scheme, const Server *server, const char *path)
{
	static char texts[8][256];
	static int	turn = 0;

	turn = (turn + 1) % 8;
	snprintf(texts[turn], sizeof(texts[turn]), "%s://127.0.0.1:%d%s", scheme, server->port, path);
	return texts[turn];
}

/* One request from start to end on an engine of its own. */
static TransferResult *
once(const TransferRequest *request)
{
	TransferEngine *engine = transfer_engine_create(4, 4);
	char		error[256] = "";
	TransferResult *result = NULL;

	if (transfer_engine_add(engine, request, error, sizeof(error)) == 0)
		result = wait_result(engine, 20000, NULL);
	else
		printf("# %s\n", error);
	if (result == NULL)
	{
		result = calloc(1, sizeof(TransferResult));
		strcpy(result->message, "no result");
		result->class = -1;
	}
	transfer_engine_free(engine);
	return result;
}

/* Checks class, curl's code (-1: any), and a part of the message of one HTTP request. */
static void
http_case(const Server *server, const char *path, TransferClass class, int code, const char *part)
{
	TransferRequest request = {.op = TRANSFER_HTTP, .url = address("http", server, path), .low_speed_seconds = 1, .max_bytes = 1000000};
	TransferResult *result = once(&request);

	if (!ok(result->class == class && (code < 0 || result->curl_code == code) && strstr(result->message, part), "http %s", path))
		printf("# class %d, curl %d, status %ld: %s\n", result->class, result->curl_code, result->status, result->message);
	transfer_result_free(result);
}

static void
test_http(const Server *server)
{
	TransferRequest request = {.op = TRANSFER_HTTP, .url = address("http", server, "/ok")};
	const char *headers[] = {"X-One: 1", NULL};
	TransferResult *result = once(&request);

	ok(result->class == TRANSFER_OK && result->body_len == 11 && memcmp(result->body, "hello\0world", 11) == 0, "a body with a NUL byte comes whole");
	ok(strcmp(result->content_type, "text/x-?odd") == 0, "a header with odd bytes is made printable");
	transfer_result_free(result);

	request = (TransferRequest) {.op = TRANSFER_HTTP, .url = address("http", server, "/echo"), .headers = headers, .body = "a=1", .body_len = 3,
		.username = "key", .password = "secret"};
	result = once(&request);
	ok(result->body_len == 26 && memcmp(result->body, "Basic a2V5OnNlY3JldA==|a=1", 26) == 0, "login and body arrive");
	transfer_result_free(result);

	http_case(server, "/status/404", TRANSFER_PERMANENT, 0, "404");
	http_case(server, "/status/401", TRANSFER_PERMANENT, 0, "login");
	http_case(server, "/status/302", TRANSFER_PERMANENT, 0, "base_url");
	http_case(server, "/status/429", TRANSFER_API_LIMIT, 0, "too many requests");
	http_case(server, "/status/503", TRANSFER_NETWORK, 0, "503");
	http_case(server, "/status/503-later", TRANSFER_API_LIMIT, 0, "503");
	http_case(server, "/status/500", TRANSFER_NETWORK, 0, "500");
	http_case(server, "/big", TRANSFER_PERMANENT, 63, "more came than is allowed");
	http_case(server, "/headers", TRANSFER_PERMANENT, -1, "more came");
	http_case(server, "/garbage", TRANSFER_NETWORK, -1, "http://127.0.0.1:");
	http_case(server, "/half", TRANSFER_NETWORK, 18, "ended before");
	http_case(server, "/stall", TRANSFER_NETWORK, 28, "took too long");
	http_case(server, "/silent", TRANSFER_NETWORK, 28, "nothing came for 1 seconds");
	http_case(server, "/reset", TRANSFER_NETWORK, -1, "http://127.0.0.1:");
	http_case(server, "/close?token=hidden", TRANSFER_NETWORK, 52, "/close:");

	request = (TransferRequest) {.op = TRANSFER_HTTP, .url = address("http", server, "/status/429-later")};
	result = once(&request);
	ok(result->retry_after == 7, "Retry-After is handed on");
	transfer_result_free(result);
}

/* A secret that is no login: it arrives where it shall, and what a server tells of it is blotted out. */
static void
test_secrets(const Server *server)
{
	static const char *const wanted[] = {"X-VERSION", "X-Odd", "X-Long", "X-Told", "X-Gone", "X-Absent", NULL};
	TransferRequest request = {.op = TRANSFER_HTTP, .url = address("http", server, "/echo"), .password = "s3cret", .secret_header = "X-Token"};
	TransferResult *result = once(&request);

	ok(result->body_len == 7 && memcmp(result->body, "s3cret|", 7) == 0, "a secret in a header of its own");
	transfer_result_free(result);
	request.password = "opensesame";
	result = once(&request);
	ok(result->body_len == 11 && memcmp(result->body, "**********|", 11) == 0, "written back by the server, it is blotted out");
	transfer_result_free(result);
	request = (TransferRequest) {.op = TRANSFER_HTTP, .url = address("http", server, "/echo"), .body = "a=1", .body_len = 3, .password = "s/c+&t",
		.form_secret = "client_secret"};
	result = once(&request);
	ok(result->body_len == 31 && memcmp(result->body, "|a=1&client_secret=s%2Fc%2B%26t", 31) == 0, "a secret in a form, encoded");
	transfer_result_free(result);

	request = (TransferRequest) {.op = TRANSFER_HTTP, .url = address("http", server, "/wanted"), .want_headers = wanted, .password = "opensesame",
		.secret_header = "X-Token"};
	result = once(&request);
	ok(result->header_count == 6 && strcmp(result->headers[0].name, "x-version") == 0 && strcmp(result->headers[0].value, "2026-10") == 0,
	   "a header that was wanted, whatever its case");
	ok(strcmp(result->headers[1].value, "a??") == 0, "is made printable");
	ok(strlen(result->headers[2].value) == TRANSFER_MAX_VALUE, "is cut");
	ok(strcmp(result->headers[3].value, "**********") == 0, "tells no secret");
	ok(result->headers[4].value == NULL && result->headers[5].value == NULL, "and does not come from an answer before the answer");
	transfer_result_free(result);
}

/* A body into a file: class, status, bytes, what is in the file then, what is in memory. */
static void
file_case(const Server *server, const char *path, int64_t resume_from, int64_t max_bytes, TransferClass class, int code, int64_t bytes,
		  size_t in_memory)
{
	char		name[] = "/tmp/test_transfer_XXXXXX";
	int			file = mkstemp(name);
	TransferRequest request = {.op = TRANSFER_HTTP, .url = address("http", server, path), .to_file = true, .file_fd = file,
		.resume_from = resume_from, .max_bytes = max_bytes, .low_speed_seconds = 1};
	TransferResult *result;
	bool		good = ftruncate(file, resume_from) == 0 && lseek(file, resume_from, SEEK_SET) == resume_from;

	result = once(&request);
	if (!ok(good && result->class == class && result->curl_code == code && result->bytes == bytes && result->body_len == in_memory &&
			lseek(file, 0, SEEK_END) == resume_from + (in_memory ? 0 : bytes), "file %s from %lld, at most %lld", path, (long long) resume_from,
			(long long) max_bytes))
		printf("# class %d, curl %d, %lld bytes, %zu in memory: %s\n", result->class, result->curl_code, (long long) result->bytes,
			   result->body_len, result->message);
	transfer_result_free(result);
	close(file);
	unlink(name);
}

static void
test_file(const Server *server)
{
	file_case(server, "/range", 0, 1000, TRANSFER_OK, 0, 1000, 0);
	file_case(server, "/range", 400, 1000, TRANSFER_OK, 0, 600, 0);
	file_case(server, "/range", 400, 999, TRANSFER_PERMANENT, 63, 0, 0);
	file_case(server, "/half", 0, 0, TRANSFER_NETWORK, 18, 4, 0);
	file_case(server, "/status/404", 0, 0, TRANSFER_PERMANENT, 0, 2, 2);
	file_case(server, "/status/503", 0, 0, TRANSFER_NETWORK, 0, 2, 2);
	/* A server that knows no ranges starts at the beginning: not what belongs behind the part that is there. */
	file_case(server, "/ok", 4, 0, TRANSFER_NETWORK, 33, 0, 0);
}

static void
test_refused(void)
{
	static const char *const bad_headers[] = {"X: a\r\nY: b", NULL};
	static const char *const bad_names[] = {"X: a", NULL};
	TransferRequest bad[] = {
		{.op = TRANSFER_HTTP},
		{.op = TRANSFER_HTTP, .url = "file:///etc/passwd"},
		{.op = TRANSFER_HTTP, .url = "gopher://127.0.0.1/"},
		{.op = TRANSFER_HTTP, .url = "ftp://127.0.0.1/x"},
		{.op = TRANSFER_HTTP, .url = "http://user:pw@127.0.0.1/"},
		{.op = TRANSFER_HTTP, .url = "http://127.0.0.1/a\r\nb"},
		{.op = TRANSFER_HTTP, .url = "not an address"},
		{.op = TRANSFER_HTTP, .url = "http://127.0.0.1/", .headers = bad_headers},
		{.op = TRANSFER_HTTP, .url = "http://127.0.0.1/", .method = "GET /x HTTP/1.1"},
		{.op = TRANSFER_HTTP, .url = "http://127.0.0.1/", .username = "a:b"},
		{.op = TRANSFER_HTTP, .url = "http://127.0.0.1/", .timeout_ms = -1},
		{.op = TRANSFER_FTP_STAT, .url = "http://127.0.0.1/x"},
		{.op = TRANSFER_FTP_STAT, .url = "ftp://127.0.0.1/"},
		{.op = TRANSFER_FTP_STAT, .url = "ftp://127.0.0.1/a%0d%0aDELE%20b"},
		{.op = TRANSFER_FTP_STAT, .url = "ftp://127.0.0.1/a", .username = "x\r\nDELE b"},
		{.op = TRANSFER_FTP_STAT, .url = "ftp://127.0.0.1/a", .password = "x\nDELE b"},
		{.op = TRANSFER_FTP_GET, .url = "ftp://127.0.0.1/a", .file_fd = -1},
		{.op = TRANSFER_HTTP, .url = "http://127.0.0.1/", .to_file = true, .file_fd = -1},
		{.op = TRANSFER_HTTP, .url = "http://127.0.0.1/", .resume_from = 1},
		{.op = TRANSFER_HTTP, .url = "http://127.0.0.1/", .secret_header = "X-Token"},
		{.op = TRANSFER_HTTP, .url = "http://127.0.0.1/", .secret_header = "X-Token", .password = "a\nb"},
		{.op = TRANSFER_HTTP, .url = "http://127.0.0.1/", .secret_header = "X:Token", .password = "a"},
		{.op = TRANSFER_HTTP, .url = "http://127.0.0.1/", .secret_header = "X", .password = "a", .username = "b"},
		{.op = TRANSFER_HTTP, .url = "http://127.0.0.1/", .form_secret = "x", .password = "a"},
		{.op = TRANSFER_HTTP, .url = "http://127.0.0.1/", .form_secret = "x", .secret_header = "y", .password = "a", .body = "", .body_len = 0},
		{.op = TRANSFER_HTTP, .url = "http://127.0.0.1/", .want_headers = bad_names},
		{.op = TRANSFER_FTP_STAT, .url = "ftp://127.0.0.1/a", .secret_header = "X-Token", .password = "a"},
	};
	TransferEngine *engine = transfer_engine_create(1, 1);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		char		error[256] = "";

		ok(transfer_engine_add(engine, &bad[i], error, sizeof(error)) == -1 && error[0], "refused: %s", error);
	}
	ok(transfer_engine_active(engine) == 0, "nothing of that was taken");
	transfer_engine_free(engine);
}

/* An FTP transfer with a server of this mode: class, code, part of the message. */
static TransferResult *
ftp_case(TransferOp op, const char *mode, int64_t resume_from, TransferClass class, int code, const char *part)
{
	Server	   *server = server_start(ftp_talk, mode);
	char		path[] = "/tmp/test_transfer_XXXXXX";
	int			file = mkstemp(path);
	TransferRequest request = {.op = op, .url = address("ftp", server, "/feed.zip"), .username = "user", .password = "opensesame",
	.low_speed_seconds = 1, .file_fd = file, .resume_from = resume_from};
	int64_t		began = now_ms();
	TransferResult *result = once(&request);

	if (!ok(result->class == class && (code < 0 || result->curl_code == code) && strstr(result->message, part) &&
			!strstr(result->message, "opensesame"), "ftp %s %s", op == TRANSFER_FTP_STAT ? "look" : "get", mode))
		printf("# class %d, curl %d, status %ld, %lld bytes: %s\n", result->class, result->curl_code, result->status, (long long) result->bytes,
			   result->message);
	if (now_ms() - began > 8000)
		ok(false, "ftp %s took %lld ms", mode, (long long) (now_ms() - began));
	if (op == TRANSFER_FTP_GET)
		ok(lseek(file, 0, SEEK_END) == result->bytes, "ftp get %s: what came is in the file", mode);
	close(file);
	unlink(path);
	return result;
}

static void
test_ftp(void)
{
	TransferResult *result = ftp_case(TRANSFER_FTP_STAT, "good", 0, TRANSFER_OK, 0, "");

	ok(result->size == FTP_SIZE && result->modified_at == 1704164645, "size and time of a file");
	transfer_result_free(result);
	result = ftp_case(TRANSFER_FTP_STAT, "no_size", 0, TRANSFER_OK, 0, "");
	ok(result->size == -1 && result->modified_at == -1, "a server that knows neither");
	transfer_result_free(result);
	result = ftp_case(TRANSFER_FTP_GET, "good", 0, TRANSFER_OK, 0, "");
	ok(result->bytes == FTP_SIZE, "a whole file");
	transfer_result_free(result);
	result = ftp_case(TRANSFER_FTP_GET, "good", FTP_SIZE - 1000, TRANSFER_OK, 0, "");
	ok(result->bytes == 1000, "the rest of a file");
	transfer_result_free(result);
	transfer_result_free(ftp_case(TRANSFER_FTP_GET, "elsewhere", 0, TRANSFER_OK, 0, ""));
	transfer_result_free(ftp_case(TRANSFER_FTP_GET, "short", 0, TRANSFER_NETWORK, 18, "ended before"));
	transfer_result_free(ftp_case(TRANSFER_FTP_GET, "stall", 0, TRANSFER_NETWORK, 28, "nothing came"));
	result = ftp_case(TRANSFER_FTP_GET, "no_word", 0, TRANSFER_NETWORK, -1, "127.0.0.1");
	ok(result->bytes == FTP_SIZE, "no word at the end: the bytes are there all the same");
	transfer_result_free(result);
	transfer_result_free(ftp_case(TRANSFER_FTP_STAT, "absent", 0, TRANSFER_PERMANENT, 78, "550 no such file"));
	transfer_result_free(ftp_case(TRANSFER_FTP_STAT, "busy", 0, TRANSFER_NETWORK, -1, "421 too many"));
	transfer_result_free(ftp_case(TRANSFER_FTP_STAT, "tell", 0, TRANSFER_PERMANENT, 67, "530 \"**********\" is wrong??"));
	transfer_result_free(ftp_case(TRANSFER_FTP_STAT, "hang", 0, TRANSFER_NETWORK, 28, "took too long"));
	transfer_result_free(ftp_case(TRANSFER_FTP_STAT, "garbage", 0, TRANSFER_NETWORK, -1, "127.0.0.1"));
}

/* Many requests, far more than may run. */
static void
test_many(Server *server)
{
	TransferEngine *engine = transfer_engine_create(50, 20);
	TransferRequest request = {.op = TRANSFER_HTTP, .url = address("http", server, "/ok")};
	char		error[256];
	int			good = 0;
	int			added = 0;
	int64_t		began = now_ms();
	TransferResult *result;

	server->most = 0;
	for (int i = 0; i < MANY; i++)
	{
		request.tag = i;
		added += transfer_engine_add(engine, &request, error, sizeof(error)) == 0;
	}
	ok(added == MANY && transfer_engine_active(engine) == MANY, "%d requests are taken at once", MANY);
	while (transfer_engine_active(engine) > 0 && now_ms() - began < 120000 && (result = wait_result(engine, 60000, NULL)) != NULL)
	{
		good += result->class == TRANSFER_OK && result->body_len == 11;
		transfer_result_free(result);
	}
	while ((result = transfer_engine_next(engine)) != NULL)
	{
		good += result->class == TRANSFER_OK;
		transfer_result_free(result);
	}
	ok(good == MANY, "and answered");
	ok(server->most <= 20, "not more at a time than one server may get (%d)", server->most);
	printf("# %lld ms\n", (long long) (now_ms() - began));
	transfer_engine_free(engine);
}

/* A server that stalls holds up its own requests only. */
static void
test_turns(Server *server, Server *other)
{
	TransferEngine *engine = transfer_engine_create(4, 2);
	TransferRequest request = {.op = TRANSFER_HTTP, .url = address("http", server, "/silent")};
	char		error[256];
	int			good = 0;
	TransferResult *result;

	for (int i = 0; i < 50; i++)
		transfer_engine_add(engine, &request, error, sizeof(error));
	request.url = address("http", other, "/slow");
	for (int i = 0; i < 10; i++)
		transfer_engine_add(engine, &request, error, sizeof(error));
	while (good < 10 && (result = wait_result(engine, 5000, NULL)) != NULL)
	{
		good += result->class == TRANSFER_OK;
		transfer_result_free(result);
	}
	ok(good == 10, "a silent server does not hold up another");
	ok(transfer_engine_active(engine) == 50, "its own requests wait");
	transfer_engine_free(engine);
}

static void
test_delay_and_cancel(Server *server)
{
	TransferEngine *engine = transfer_engine_create(2, 1);
	TransferRequest request = {.op = TRANSFER_HTTP, .url = address("http", server, "/ok"), .start_delay_ms = 400, .tag = 1};
	char		error[256];
	int64_t		began = now_ms();
	int			wakes = 0;
	TransferResult *result;

	transfer_engine_add(engine, &request, error, sizeof(error));
	request.start_delay_ms = 200;
	request.tag = 2;
	transfer_engine_add(engine, &request, error, sizeof(error));
	request.start_delay_ms = INT64_MAX;
	request.tag = 3;
	transfer_engine_add(engine, &request, error, sizeof(error));
	result = wait_result(engine, 5000, &wakes);
	ok(result && result->tag == 2 && now_ms() - began >= 200, "the earlier start comes first, and not before its time");
	transfer_result_free(result);
	result = wait_result(engine, 5000, &wakes);
	ok(result && result->tag == 1 && now_ms() - began >= 400, "then the later one");
	transfer_result_free(result);
	ok(wakes < 40, "waiting for a start costs no wake-ups (%d)", wakes);

	request = (TransferRequest) {.op = TRANSFER_HTTP, .url = address("http", server, "/silent"), .tag = 4};
	transfer_engine_add(engine, &request, error, sizeof(error));
	request.tag = 5;
	transfer_engine_add(engine, &request, error, sizeof(error));
	wakes = 0;
	ok(wait_result(engine, 1000, &wakes) == NULL && wakes < 20, "a silent server costs few wake-ups (%d in a second)", wakes);
	ok(transfer_engine_active(engine) == 3, "one delayed, one queued, one on the wire");
	ok(transfer_engine_cancel(engine, 3) && transfer_engine_cancel(engine, 4) && transfer_engine_cancel(engine, 5), "all can be cancelled");
	ok(!transfer_engine_cancel(engine, 5), "but once");
	ok(transfer_engine_active(engine) == 0 && transfer_engine_next(engine) == NULL, "and give no result");
	request = (TransferRequest) {.op = TRANSFER_HTTP, .url = address("http", server, "/ok")};
	transfer_engine_add(engine, &request, error, sizeof(error));
	result = wait_result(engine, 5000, NULL);
	ok(result && result->class == TRANSFER_OK, "the place of a cancelled transfer is free again");
	transfer_result_free(result);
	transfer_engine_free(engine);
}

/* An FTP transfer that is dropped while its server hangs must not wait for the server. */
static void
test_cancel_ftp(void)
{
	Server	   *server = server_start(ftp_talk, "stall");
	TransferEngine *engine = transfer_engine_create(2, 2);
	int			file = open("/dev/null", O_WRONLY);
	TransferRequest request = {.op = TRANSFER_FTP_GET, .url = address("ftp", server, "/feed.zip"), .file_fd = file, .tag = 1};
	char		error[256];
	int64_t		began;

	transfer_engine_add(engine, &request, error, sizeof(error));
	ok(wait_result(engine, 500, NULL) == NULL, "a download hangs");
	began = now_ms();
	ok(transfer_engine_cancel(engine, 1) && now_ms() - began < 500, "it is dropped at once (%lld ms)", (long long) (now_ms() - began));
	transfer_engine_add(engine, &request, error, sizeof(error));
	wait_result(engine, 500, NULL);
	began = now_ms();
	transfer_engine_free(engine);
	ok(now_ms() - began < 500, "and so is an engine with one in it (%lld ms)", (long long) (now_ms() - began));
	close(file);
}

static int
open_descriptors(void)
{
	DIR		   *dir = opendir("/proc/self/fd");
	int			count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* What is the process's own stays as it was. */
static void
test_manners(Server *server)
{
	TransferRequest request = {.op = TRANSFER_HTTP, .url = address("http", server, "/reset")};
	sigset_t	before;
	sigset_t	after;
	struct sigaction pipe_action;
	TransferEngine *engine = transfer_engine_create(1, 1);
	char		error[256];
	bool		same = true;
	int			fds;

	/* A SIGPIPE that gets through ends the program. */
	signal(SIGPIPE, SIG_DFL);

	transfer_engine_free(engine);
	fds = open_descriptors();
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	engine = transfer_engine_create(4, 4);
	for (int i = 0; i < 8; i++)
		transfer_engine_add(engine, &request, error, sizeof(error));
	transfer_result_free(wait_result(engine, 5000, NULL));
	transfer_engine_free(engine);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	sigaction(SIGPIPE, NULL, &pipe_action);
	for (int number = 1; number < NSIG; number++)
		same &= sigismember(&before, number) == sigismember(&after, number);
	ok(same && pipe_action.sa_handler == SIG_DFL, "signals are as they were, and none came through");
	/* The server's threads close their ends a moment later. */
	for (int i = 0; i < 100 && open_descriptors() > fds; i++)
		usleep(20000);
	ok(open_descriptors() <= fds, "no descriptor is left open");
}

/* The table has a row for whatever may come, and no row that another one hides entirely. */
static void
test_table(void)
{
	bool		good = true;

	for (int i = 0; i < transfer_rules_count; i++)
	{
		const TransferRule *rule = &transfer_rules[i];

		good &= rule->first <= rule->last && transfer_class_name(rule->class) && rule->meaning[0] && rule->advice[0];
		for (int j = 0; j < i; j++)
		{
			if (transfer_rules[j].source == rule->source && transfer_rules[j].first <= rule->first && transfer_rules[j].last >= rule->last)
				good = false;
		}
	}
	ok(good && transfer_rules_count > 30, "the table of outcomes is sound");
}

int
main(void)
{
	Server	   *http = server_start(http_talk, "");
	Server	   *other = server_start(http_talk, "");

	test_table();
	test_refused();
	test_manners(other);
	test_http(http);
	test_secrets(http);
	test_file(http);
	test_ftp();
	test_delay_and_cancel(http);
	test_cancel_ftp();
	test_turns(http, other);
	test_many(other);
	printf("1..%d\n", tests);
	return failures > 0;
}
