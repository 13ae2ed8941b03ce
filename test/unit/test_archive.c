/*
 * test_archive.c
 *	  Zip files of feeds: what is read, and that each bad one has its own status; the same through the reading thread; encodings.  Prints TAP.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zip.h>

#include "feed/archive.h"
#include "feed/encoding.h"
#include "feed/reader.h"

#define MEMBERS 3

typedef struct Member
{
	const char *name;
	const char *data;
	size_t		repeat;			/* times that data is written */
	bool		encrypt;
} Member;

static int	number;
static int	failed;

static void
ok(bool good, const char *name)
{
	printf("%sok %d - %s\n", good ? "" : "not ", ++number, name);
	failed += !good;
}

/* A zip file in memory. */
static char *
make_zip(const Member *members, size_t *len)
{
	zip_error_t ze;
	zip_source_t *out;
	zip_t	   *zip;
	char	   *bytes;

	zip_error_init(&ze);
	out = zip_source_buffer_create(NULL, 0, 0, &ze);
	zip_source_keep(out);
	zip = zip_open_from_source(out, ZIP_TRUNCATE, &ze);
	for (int i = 0; i < MEMBERS && members[i].name != NULL; i++)
	{
		size_t		n = strlen(members[i].data);
		char	   *data = malloc(n * members[i].repeat + 1);
		zip_int64_t index;

		for (size_t k = 0; k < members[i].repeat; k++)
			memcpy(data + k * n, members[i].data, n);
		index = zip_file_add(zip, members[i].name, zip_source_buffer(zip, data, n * members[i].repeat, 1), ZIP_FL_ENC_UTF_8);
		if (members[i].encrypt)
			zip_file_set_encryption(zip, (zip_uint64_t) index, ZIP_EM_AES_256, "secret");
	}
	zip_close(zip);
	zip_source_open(out);
	zip_source_seek(out, 0, SEEK_END);
	*len = (size_t) zip_source_tell(out);
	zip_source_seek(out, 0, SEEK_SET);
	bytes = malloc(*len);
	zip_source_read(out, bytes, *len);
	zip_source_close(out);
	zip_source_free(out);
	return bytes;
}

static const ArchiveLimits limits = {2, 4 << 20, 50};

/* Reads an archive to its end; its status. */
static ArchiveStatus
read_all(const char *bytes, size_t len, size_t *total)
{
	ArchiveError error = {0};
	Archive    *archive = archive_open_bytes(bytes, len, &limits, &error);
	char		buf[1000];
	ssize_t		n;

	*total = 0;
	if (archive == NULL)
		return error.status;
	while ((n = archive_read(archive, buf, sizeof(buf), &error)) > 0)
		*total += (size_t) n;
	if (n == 0 && archive_finish(archive, &error))
		error.status = ARCHIVE_OK;
	archive_close(archive);
	return error.status;
}

static void
expect(const char *name, const Member *members, ArchiveStatus status)
{
	size_t		len;
	size_t		total;
	char	   *bytes = make_zip(members, &len);

	ok(read_all(bytes, len, &total) == status, name);
	free(bytes);
}

static void
test_statuses(void)
{
	expect("a feed", (Member[MEMBERS]) {{"feed.csv", "a,b\n", 10, false}}, ARCHIVE_OK);
	expect("a feed in a folder, beside another file", (Member[MEMBERS]) {{"x.txt", "x", 1, false}, {"d/FEED.CSV", "a", 1, false}}, ARCHIVE_OK);
	expect("no CSV", (Member[MEMBERS]) {{"feed.txt", "a", 1, false}}, ARCHIVE_NO_CSV);
	expect("a name that leads out", (Member[MEMBERS]) {{"../feed.csv", "a", 1, false}}, ARCHIVE_UNSAFE_NAME);
	expect("a drive in a name", (Member[MEMBERS]) {{"c:feed.csv", "a", 1, false}}, ARCHIVE_UNSAFE_NAME);
	expect("dots that lead nowhere", (Member[MEMBERS]) {{"a..b/feed..csv", "a", 1, false}}, ARCHIVE_OK);
	expect("encrypted", (Member[MEMBERS]) {{"feed.csv", "a", 1, true}}, ARCHIVE_ENCRYPTED);
	expect("another member encrypted", (Member[MEMBERS]) {{"feed.csv", "a", 1, false}, {"x", "a", 1, true}}, ARCHIVE_ENCRYPTED);
	expect("too many members", (Member[MEMBERS]) {{"feed.csv", "a", 1, false}, {"x", "a", 1, false}, {"y", "a", 1, false}}, ARCHIVE_TOO_MANY_ENTRIES);
	expect("a bomb", (Member[MEMBERS]) {{"feed.csv", "aaaaaaaaaa", 200000, false}}, ARCHIVE_RATIO);
	expect("a bomb beside the feed", (Member[MEMBERS]) {{"feed.csv", "a", 1, false}, {"x", "aaaaaaaaaa", 200000, false}}, ARCHIVE_RATIO);
}

static void
test_damage(void)
{
	char		noise[4001];
	Member		members[MEMBERS] = {{"feed.csv", noise, 5, false}};
	size_t		len;
	size_t		total;
	char	   *bytes;

	srand(1);
	for (int i = 0; i < 4000; i++)
		noise[i] = (char) ('a' + rand() % 26);
	noise[4000] = '\0';
	bytes = make_zip(members, &len);
	ok(read_all(bytes, len, &total) == ARCHIVE_OK && total == 20000, "all bytes come");
	ok(read_all(bytes, len - 1, &total) == ARCHIVE_NOT_ZIP && read_all(bytes, len / 2, &total) == ARCHIVE_NOT_ZIP, "cut short");
	ok(read_all(bytes, 0, &total) == ARCHIVE_EMPTY_FILE, "no byte");
	bytes[len / 3] ^= 0x55;
	ok(read_all(bytes, len, &total) == ARCHIVE_CORRUPT, "a damaged byte");
	free(bytes);
}

/* Through the thread, from a file: the same bytes and hash; stopped at any time without a leak. */
static void
test_reader(void)
{
	static const unsigned char hash[ARCHIVE_HASH_BYTES] = {	/* of "abcdefghij\n" times 100000, by sha256sum */
		0xa0, 0xa8, 0x5c, 0x2f, 0x1d, 0xd1, 0xe2, 0xf9, 0xe7, 0x7c, 0x22, 0x04, 0x14, 0xc5, 0x2d, 0x25,
		0x70, 0x5a, 0x9d, 0xbf, 0xf7, 0xd1, 0x77, 0xb2, 0x73, 0x2e, 0xd4, 0x85, 0x02, 0x7e, 0x05, 0x1c
	};
	char		path[] = "/tmp/test_archive.XXXXXX";
	Member		members[MEMBERS] = {{"feed.csv", "abcdefghij\n", 100000, false}};
	ArchiveLimits wide = {2, 4 << 20, 5000};
	ArchiveError error;
	size_t		len;
	char	   *bytes = make_zip(members, &len);
	int			fd = mkstemp(path);
	FILE	   *file = fdopen(fd, "wb");
	size_t		total = 0;
	bool		same = true;

	fwrite(bytes, 1, len, file);
	fclose(file);
	free(bytes);
	for (int stop_after = 0; stop_after < 4; stop_after++)
	{
		Archive    *archive = archive_open(path, &wide, &error);
		Reader	   *reader = reader_start(archive);
		const char *data;
		size_t		n;
		ReaderResult result;
		int			pieces = 0;

		total = 0;
		while ((result = reader_take(reader, &data, &n, 1000)) == READER_DATA && (stop_after == 3 || pieces++ < stop_after))
		{
			for (size_t i = 0; i < n; i++)
				same = same && data[i] == "abcdefghij\n"[(total + i) % 11];
			total += n;
			reader_release(reader);
		}
		if (stop_after == 3)
		{
			ok(result == READER_END && total == 1100000 && same, "the thread gives every byte, in order");
			ok(memcmp(reader_hash(reader), hash, ARCHIVE_HASH_BYTES) == 0, "and their SHA-256");
		}
		reader_stop(reader);
	}
	unlink(path);
	ok(archive_open(path, &wide, &error) == NULL && error.status == ARCHIVE_CANNOT_OPEN, "no file");
}

static void
test_encoding(void)
{
	char		out[30];
	size_t		len = 0;
	size_t		bad = 99;

	ok(utf8_valid_prefix("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z", 11) == 11, "valid UTF-8");
	ok(utf8_valid_prefix("abcdefgh\xc3", 9) == 8, "a cut sequence");
	ok(utf8_valid_prefix("\xc0\x80", 2) == 0 && utf8_valid_prefix("\xe0\x80\x80", 3) == 0 && utf8_valid_prefix("\xf0\x80\x80\x80", 4) == 0,
	   "overlong forms");
	ok(utf8_valid_prefix("\xed\xa0\x80", 3) == 0 && utf8_valid_prefix("\xf4\x90\x80\x80", 4) == 0 && utf8_valid_prefix("\xff", 1) == 0,
	   "surrogates and beyond");
	ok(windows1252_to_utf8("\x80" "14\x94\xe9", 5, out, &len, &bad) && len == 10 && memcmp(out, "\xe2\x82\xac" "14\xe2\x80\x9d\xc3\xa9", 10) == 0,
	   "Windows-1252");
	ok(!windows1252_to_utf8("ab\x81", 3, out, &len, &bad) && bad == 2, "undefined in Windows-1252");
	ok(windows1252_plausible("caf\xe9\x99", 5) && !windows1252_plausible("\xff\xfe", 2) && !windows1252_plausible("\xc3(", 2) &&
	   !windows1252_plausible("\x9d", 1), "what could be Windows-1252");
}

int
main(void)
{
	test_statuses();
	test_damage();
	test_reader();
	test_encoding();
	printf("1..%d\n", number);
	return failed != 0;
}
