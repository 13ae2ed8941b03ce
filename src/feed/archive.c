/*
 * archive.c
 *	  A feed's zip file; archive.h says what is checked.
 *
 * libzip compares a member's CRC only in the read that returns 0, and delivers as many bytes as the packed data give, whatever the
 * directory claims; hence every member is read until that 0 and bytes are counted here.  The content hash is the SHA-256 of the unpacked
 * CSV: the archive's own bytes change whenever the supplier packs the same CSV again, for they hold times.
 */
#include "feed/archive.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include <openssl/evp.h>
#include <zip.h>

#define RATIO_FREE		((uint64_t) 1 << 20)	/* unpacked bytes for which the ratio is not looked at */
#define SCRAP_BYTES		65536

struct Archive
{
	ArchiveLimits limits;
	zip_t	   *zip;
	zip_file_t *file;			/* the CSV, while it is read */
	EVP_MD_CTX *hash;
	zip_uint64_t csv;			/* index of the CSV */
	uint64_t	packed;			/* bytes of the archive */
	uint64_t	unpacked;		/* bytes of members read so far */
	atomic_bool aborted;
	bool		claims;
	uint64_t	claimed_size;
	uint32_t	claimed_crc;
	char		member[256];
};

/* Copies a name for people: control characters and what is not ASCII become '?', the end is cut. */
static void
printable(char *out, size_t room, const char *name)
{
	size_t		n = 0;

	for (; *name != '\0' && n + 1 < room; name++)
		out[n++] = *name >= 0x20 && *name < 0x7f ? *name : '?';
	out[n] = '\0';
}

static void
set_error(ArchiveError *error, ArchiveStatus status, uint64_t number, const char *member, const char *detail)
{
	memset(error, 0, sizeof(*error));
	error->status = status;
	error->number = number;
	printable(error->member, sizeof(error->member), member);
	printable(error->detail, sizeof(error->detail), detail);
}

/* What an error of libzip means here. */
static ArchiveStatus
status_of(const zip_error_t *error)
{
	switch (zip_error_code_zip(error))
	{
		case ZIP_ER_NOPASSWD:
		case ZIP_ER_WRONGPASSWD:
			return ARCHIVE_ENCRYPTED;
		case ZIP_ER_MEMORY:
			return ARCHIVE_NO_MEMORY;
		case ZIP_ER_COMPNOTSUPP:
		case ZIP_ER_ENCRNOTSUPP:
			return ARCHIVE_UNSUPPORTED;
		default:
			return ARCHIVE_CORRUPT;
	}
}

/* A name that could lead out of a folder, on any system, if somebody unpacked the archive. */
static bool
unsafe_name(const char *name)
{
	const char *p = name;

	if (name[0] == '/' || name[0] == '\\' || (name[0] != '\0' && name[1] == ':'))
		return true;
	for (;;)
	{
		size_t		n = strcspn(p, "/\\");

		if (n == 2 && p[0] == '.' && p[1] == '.')
			return true;
		if (p[n] == '\0')
			return false;
		p += n + 1;
	}
}

/* A member that holds a CSV; ._x.csv is what macOS keeps beside x.csv. */
static bool
csv_name(const char *name)
{
	const char *slash = strrchr(name, '/');
	const char *base = slash == NULL ? name : slash + 1;
	size_t		len = strlen(base);

	return len > 4 && strcasecmp(base + len - 4, ".csv") == 0 && strncmp(base, "._", 2) != 0;
}

/* Checks the directory and finds the CSV. */
static bool
look_through(Archive *a, ArchiveError *error)
{
	zip_int64_t entries = zip_get_num_entries(a->zip, 0);
	bool		found = false;

	if (entries < 0 || (uint64_t) entries > a->limits.max_entries)
	{
		set_error(error, ARCHIVE_TOO_MANY_ENTRIES, (uint64_t) entries, "", "");
		return false;
	}
	for (zip_uint64_t i = 0; i < (zip_uint64_t) entries; i++)
	{
		zip_stat_t	st;

		if (zip_stat_index(a->zip, i, 0, &st) != 0 || !(st.valid & ZIP_STAT_NAME))
		{
			set_error(error, ARCHIVE_CORRUPT, 0, "", zip_strerror(a->zip));
			return false;
		}
		if (unsafe_name(st.name))
		{
			set_error(error, ARCHIVE_UNSAFE_NAME, 0, st.name, "");
			return false;
		}
		if ((st.valid & ZIP_STAT_ENCRYPTION_METHOD) && st.encryption_method != ZIP_EM_NONE)
		{
			set_error(error, ARCHIVE_ENCRYPTED, 0, st.name, "");
			return false;
		}
		if (!found && csv_name(st.name))
		{
			found = true;
			a->csv = i;
			printable(a->member, sizeof(a->member), st.name);
			a->claims = (st.valid & ZIP_STAT_SIZE) && (st.valid & ZIP_STAT_CRC);
			a->claimed_size = st.size;
			a->claimed_crc = st.crc;
		}
	}
	if (!found)
		set_error(error, ARCHIVE_NO_CSV, (uint64_t) entries, "", "");
	return found;
}

/* Opens a member; NULL with the error set when it cannot be read. */
static zip_file_t *
open_member(Archive *a, zip_uint64_t index, const char *name, ArchiveError *error)
{
	zip_file_t *file = zip_fopen_index(a->zip, index, 0);

	if (file == NULL)
		set_error(error, status_of(zip_get_error(a->zip)), 0, name, zip_strerror(a->zip));
	return file;
}

/* The common end of opening: takes over "source". */
static Archive *
open_source(zip_source_t *source, uint64_t packed, const ArchiveLimits *limits, zip_error_t *ze, ArchiveError *error)
{
	Archive    *a = calloc(1, sizeof(Archive));

	if (a == NULL || (a->hash = EVP_MD_CTX_new()) == NULL || EVP_DigestInit_ex(a->hash, EVP_sha256(), NULL) != 1)
	{
		zip_source_free(source);
		archive_close(a);
		set_error(error, ARCHIVE_NO_MEMORY, 0, "", "");
		return NULL;
	}
	a->limits = *limits;
	a->packed = packed;
	a->zip = zip_open_from_source(source, ZIP_RDONLY, ze);
	if (a->zip == NULL)
	{
		ArchiveStatus status = zip_error_code_zip(ze) == ZIP_ER_MEMORY ? ARCHIVE_NO_MEMORY : ARCHIVE_NOT_ZIP;

		set_error(error, status, 0, "", zip_error_strerror(ze));
		zip_source_free(source);
		archive_close(a);
		return NULL;
	}
	if (!look_through(a, error) || (a->file = open_member(a, a->csv, a->member, error)) == NULL)
	{
		archive_close(a);
		return NULL;
	}
	return a;
}

/* Opens the archive at a path; NULL with *error filled when it is not a feed. */
Archive *
archive_open(const char *path, const ArchiveLimits *limits, ArchiveError *error)
{
	struct stat st;
	zip_error_t ze;
	zip_source_t *source;
	Archive    *a;

	if (stat(path, &st) != 0)
	{
		int			save_errno = errno;

		set_error(error, ARCHIVE_CANNOT_OPEN, 0, "", "");
		error->system_error = save_errno;
		return NULL;
	}
	if (st.st_size == 0)
	{
		set_error(error, ARCHIVE_EMPTY_FILE, 0, "", "");
		return NULL;
	}
	zip_error_init(&ze);
	source = zip_source_file_create(path, 0, -1, &ze);
	if (source == NULL)
	{
		set_error(error, ARCHIVE_NO_MEMORY, 0, "", zip_error_strerror(&ze));
		zip_error_fini(&ze);
		return NULL;
	}
	a = open_source(source, (uint64_t) st.st_size, limits, &ze, error);
	zip_error_fini(&ze);
	return a;
}

/* The same for an archive in memory, which must stay there until archive_close(). */
Archive *
archive_open_bytes(const void *data, size_t len, const ArchiveLimits *limits, ArchiveError *error)
{
	zip_error_t ze;
	zip_source_t *source;
	Archive    *a;

	if (len == 0)
	{
		set_error(error, ARCHIVE_EMPTY_FILE, 0, "", "");
		return NULL;
	}
	zip_error_init(&ze);
	source = zip_source_buffer_create(data, len, 0, &ze);
	if (source == NULL)
	{
		set_error(error, ARCHIVE_NO_MEMORY, 0, "", zip_error_strerror(&ze));
		zip_error_fini(&ze);
		return NULL;
	}
	a = open_source(source, len, limits, &ze, error);
	zip_error_fini(&ze);
	return a;
}

void
archive_close(Archive *a)
{
	if (a == NULL)
		return;
	if (a->file != NULL)
		zip_fclose(a->file);
	if (a->zip != NULL)
		zip_discard(a->zip);
	EVP_MD_CTX_free(a->hash);
	free(a);
}

/* Makes every further read fail; the only call that another thread may make while one reads. */
void
archive_abort(Archive *a)
{
	atomic_store(&a->aborted, true);
}

/* Name of the CSV, for people. */
const char *
archive_member(const Archive *a)
{
	return a->member;
}

/* Size and CRC of the CSV as the directory claims them; they are checked when it has been read.  False where it does not say. */
bool
archive_claims(const Archive *a, uint64_t *size, uint32_t *crc)
{
	*size = a->claimed_size;
	*crc = a->claimed_crc;
	return a->claims;
}

/* Reads on in a member and counts.  Number of bytes, 0 at its end with its CRC right, -1 on error. */
static ssize_t
read_member(Archive *a, zip_file_t *file, const char *name, void *buf, size_t len, ArchiveError *error)
{
	zip_int64_t n;

	if (atomic_load_explicit(&a->aborted, memory_order_relaxed))
	{
		set_error(error, ARCHIVE_ABORTED, 0, "", "");
		return -1;
	}
	n = zip_fread(file, buf, len);
	if (n < 0)
	{
		set_error(error, status_of(zip_file_get_error(file)), 0, name, zip_file_strerror(file));
		return -1;
	}
	a->unpacked += (uint64_t) n;
	if (a->unpacked > a->limits.max_bytes)
	{
		set_error(error, ARCHIVE_TOO_LARGE, a->unpacked, name, "");
		return -1;
	}
	if (a->unpacked > RATIO_FREE && a->unpacked / a->limits.max_ratio > a->packed)
	{
		set_error(error, ARCHIVE_RATIO, a->unpacked / a->packed, name, "");
		return -1;
	}
	return (ssize_t) n;
}

/* Reads on in the CSV: number of bytes, 0 at its end with its CRC right, -1 with *error filled. */
ssize_t
archive_read(Archive *a, void *buf, size_t len, ArchiveError *error)
{
	ssize_t		n = read_member(a, a->file, a->member, buf, len, error);

	if (n > 0 && EVP_DigestUpdate(a->hash, buf, (size_t) n) != 1)
	{
		set_error(error, ARCHIVE_NO_MEMORY, 0, a->member, "");
		return -1;
	}
	if (n == 0 && a->claims && a->unpacked != a->claimed_size)
	{
		set_error(error, ARCHIVE_CORRUPT, a->unpacked, a->member, "size differs from the directory's");
		return -1;
	}
	return n;
}

/* Reads every other member to its end; called when archive_read() has returned 0. */
bool
archive_finish(Archive *a, ArchiveError *error)
{
	zip_int64_t entries = zip_get_num_entries(a->zip, 0);
	char	   *scrap = malloc(SCRAP_BYTES);
	bool		good = scrap != NULL;

	if (!good)
		set_error(error, ARCHIVE_NO_MEMORY, 0, "", "");
	for (zip_uint64_t i = 0; good && i < (zip_uint64_t) entries; i++)
	{
		const char *name = zip_get_name(a->zip, i, 0);
		zip_file_t *file;
		ssize_t		n;

		if (i == a->csv)
			continue;
		file = open_member(a, i, name == NULL ? "" : name, error);
		if (file == NULL)
		{
			good = false;
			break;
		}
		do
			n = read_member(a, file, name == NULL ? "" : name, scrap, SCRAP_BYTES, error);
		while (n > 0);
		good = n == 0;
		zip_fclose(file);
	}
	free(scrap);
	return good;
}

/* SHA-256 of the CSV; called once, when archive_read() has returned 0. */
bool
archive_hash(Archive *a, unsigned char hash[ARCHIVE_HASH_BYTES])
{
	unsigned int len = ARCHIVE_HASH_BYTES;

	return EVP_DigestFinal_ex(a->hash, hash, &len) == 1;
}
