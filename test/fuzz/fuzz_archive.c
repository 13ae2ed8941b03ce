/*
 * fuzz_archive.c
 *	  libFuzzer: whatever the bytes of a zip file, reading it ends within the limits, with a status and no more memory than it needs.
 *	  clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -Isrc test/fuzz/fuzz_archive.c src/feed/archive.c -lzip -lcrypto
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "feed/archive.h"

#define MUST(condition) do { if (!(condition)) { fprintf(stderr, "%s\n", #condition); abort(); } } while (0)

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	ArchiveLimits limits = {20, 4 << 20, 50};
	ArchiveError error = {0};
	Archive    *archive = archive_open_bytes(data, size, &limits, &error);
	unsigned char hash[ARCHIVE_HASH_BYTES];
	char		buf[4096];
	uint64_t	total = 0;
	ssize_t		n;

	if (archive == NULL)
	{
		MUST(error.status != ARCHIVE_OK);
		return 0;
	}
	MUST(strchr(archive_member(archive), '\n') == NULL);
	while ((n = archive_read(archive, buf, sizeof(buf), &error)) > 0)
		total += (uint64_t) n;
	MUST(total <= limits.max_bytes);
	if (n < 0 || !archive_finish(archive, &error))
		MUST(error.status != ARCHIVE_OK);
	else
		MUST(archive_hash(archive, hash));
	archive_close(archive);
	return 0;
}
