/*
 * test_token.c
 *	  Tokens that a server gives: taken out of its answer, kept in a private file, never left where SQL would see them.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "worker/token.h"

static int	tests = 0;
static int	failures = 0;
static char folder[256];

static bool __attribute__((format(printf, 2, 3)))
ok(bool good, const char *format,...)
{
	va_list		args;

	printf("%sok %d - ", good ? "" : "not ", ++tests);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	failures += !good;
	return good;
}

/* What is in a file of the folder; "" where there is none. */
static const char *
content(const char *name)
{
	static char text[8192];
	char		path[512];
	int			fd;
	ssize_t		n;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_RDONLY);
	n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	text[n < 0 ? 0 : n] = '\0';
	if (fd >= 0)
		close(fd);
	return text;
}

/* An answer goes through token_keep(): what remains of it (NULL: nothing), and whether the token was kept. */
static void
keep_case(const char *what, const char *body, const char *remains, int kept, const char *token)
{
	TransferResult result = {.body = body ? strdup(body) : NULL, .body_len = body ? strlen(body) : 0, .kept = -1};
	TokenKeep	keep = {"shop", "access_token"};

	token_keep(&result, folder, &keep);
	if (!ok(result.kept == kept && (remains ? result.body && result.body_len == strlen(remains) && memcmp(result.body, remains, result.body_len) == 0 :
									result.body == NULL && result.body_len == 0), "%s", what))
		printf("# kept %d: %.*s (%s)\n", result.kept, (int) result.body_len, result.body ? result.body : "", result.message);
	ok((result.message[0] == '\0') == (kept == 1), "%s: says so", what);
	ok(strstr(result.message, "t0ken") == NULL, "%s: without telling", what);
	ok(strcmp(content("shop"), token) == 0, "%s: what is kept", what);
	free(result.body);
}

int
main(void)
{
	TransferResult refused = {.class = TRANSFER_PERMANENT, .status = 400, .body = strdup("{\"access_token\": \"t0ken\"}"), .body_len = 25};
	TokenKeep	keep = {"shop", "access_token"};
	char		path[512];
	char		error[512] = "";
	char	   *large = malloc(200000);
	struct stat st;

	snprintf(folder, sizeof(folder), "%s/test_token_XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	if (mkdtemp(folder) == NULL)
		abort();

	keep_case("no token yet", "{\"scope\":\"read\"}", "{\"scope\":\"read\"}", 0, "");
	keep_case("a token", "{\"access_token\": \"t0ken-1\", \"scope\": \"read\", \"expires_in\": 86399}", "{\"scope\":\"read\",\"expires_in\":86399}", 1, "t0ken-1");
	keep_case("a newer one", "{\"access_token\": \"t0ken-2\"}", "{}", 1, "t0ken-2");
	snprintf(path, sizeof(path), "%s/shop", folder);
	ok(stat(path, &st) == 0 && (st.st_mode & 07777) == 0600, "the file is private");
	keep_case("an answer without one", "{\"error\":\"no\"}", "{\"error\":\"no\"}", 0, "t0ken-2");
	keep_case("one that is a number", "{\"access_token\": 1, \"b\": 2}", "{\"b\":2}", 0, "t0ken-2");
	keep_case("one that is empty", "{\"access_token\": \"\"}", "{}", 0, "t0ken-2");
	keep_case("one with a line break", "{\"access_token\": \"t0ken\\r\\nX: y\"}", "{}", 0, "t0ken-2");
	keep_case("one with NUL in it", "{\"access_token\": \"t0ken\\u0000\"}", NULL, 0, "t0ken-2");
	keep_case("two of them", "{\"access_token\": \"t0ken\", \"access_token\": \"t0ken\"}", NULL, 0, "t0ken-2");
	keep_case("an answer that is no JSON", "access_token=t0ken", NULL, 0, "t0ken-2");
	keep_case("an answer cut off", "{\"access_token\": \"t0ken", NULL, 0, "t0ken-2");
	keep_case("a list", "[{\"access_token\": \"t0ken\"}]", NULL, 0, "t0ken-2");
	keep_case("no body", NULL, NULL, 0, "t0ken-2");
	memset(large, 'x', 199999);
	large[199999] = '\0';
	memcpy(large, "{\"access_token\":\"t0ken", 22);
	strcpy(large + 199990, "\"}");
	keep_case("an answer too large", large, NULL, 0, "t0ken-2");
	free(large);

	token_keep(&refused, folder, &keep);
	ok(refused.kept == 0 && refused.body_len == 25, "a refusal is left alone");
	refused.class = TRANSFER_NETWORK;
	refused.status = 200;
	token_keep(&refused, folder, &keep);
	ok(refused.kept == 0 && refused.body == NULL && refused.body_len == 0, "a success that was cut off is dropped");
	free(refused.body);

	ok(!token_write(folder, "../shop", "t0ken", error, sizeof(error)) && strstr(error, "not a name"), "a name with a folder is refused");
	ok(!token_write(folder, ".shop", "t0ken", error, sizeof(error)), "and a hidden one");
	ok(!token_write("/nonexistent", "shop", "t0ken", error, sizeof(error)) && strstr(error, "No such file") && !strstr(error, "t0ken"),
	   "a folder that is not there: %s", error);
	/* Where somebody has put a link, the link is replaced, not what it leads to. */
	unlink(path);
	ok(symlink("/dev/null", path) == 0 && token_write(folder, "shop", "t0ken-3", error, sizeof(error)) && lstat(path, &st) == 0 && S_ISREG(st.st_mode),
	   "a link in its place is replaced");
	chmod(folder, 0755);
	ok(!token_write(folder, "shop", "t0ken-4", error, sizeof(error)), "a folder that others may enter is refused");
	chmod(folder, 0700);
	ok(strcmp(content("shop"), "t0ken-3") == 0, "the token is still the one before");
	unlink(path);
	ok(rmdir(folder) == 0, "no draft is left behind");
	printf("1..%d\n", tests);
	return failures > 0;
}
