/*
 * index_file.c
 *	  A match index as a file that any process may map.
 *
 * Header, then the arrays one after another, each at a multiple of 64 bytes.  The file is written under another name and renamed, so a
 * reader meets either none or a whole one; one that a lost server left damaged fails the checksum and is built again.  It holds numbers
 * in the machine's own order, since it never leaves the machine: the format number reads differently on another.
 */
#include "match/index.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAGIC "PSMATCH\n"
#define FILE_FORMAT 17
#define SECTION_ALIGN 64
#define N_SECTIONS 12

typedef struct FileHeader
{
	char		magic[8];
	uint32_t	format;
	uint32_t	header_size;
	uint64_t	file_size;
	uint64_t	version;
	uint64_t	seed;
	uint32_t	n_items;
	uint32_t	n_terms;
	uint32_t	n_forward;
	uint32_t	n_postings;
	uint32_t	n_ids;
	uint32_t	term_mask;
	uint32_t	gtin_mask;
	uint32_t	mpn_mask;
	uint32_t	sku_mask;
	uint32_t	alias_mask;
	uint32_t	n_named;
	uint32_t	n_texts;
	uint64_t	signature;		/* of how items are prepared */
	uint64_t	body_checksum;
	uint64_t	checksum;		/* of all before it */
} FileHeader;

typedef struct Section
{
	const void *data;
	size_t		size;
} Section;

/* Lists the index's arrays, in the order of the file. */
static void
list_sections(const MatchIndex *index, Section sections[N_SECTIONS])
{
	sections[0] = (Section) {index->items, ((size_t) index->n_items + 1) * sizeof(IndexItem)};
	sections[1] = (Section) {index->terms, (size_t) index->n_terms * sizeof(IndexTerm)};
	sections[2] = (Section) {index->term_slots, ((size_t) index->term_mask + 1) * sizeof(uint32_t)};
	sections[3] = (Section) {index->forward, (size_t) index->n_forward * sizeof(uint32_t)};
	sections[4] = (Section) {index->postings, (size_t) index->n_postings * sizeof(uint32_t)};
	sections[5] = (Section) {index->gtin_keys, ((size_t) index->gtin_mask + 1) * sizeof(IndexKey)};
	sections[6] = (Section) {index->mpn_keys, ((size_t) index->mpn_mask + 1) * sizeof(IndexKey)};
	sections[7] = (Section) {index->sku_keys, ((size_t) index->sku_mask + 1) * sizeof(IndexKey)};
	sections[8] = (Section) {index->aliases.slots, ((size_t) index->aliases.mask + 1) * sizeof(BrandAlias)};
	sections[9] = (Section) {index->ids, index->n_ids};
	sections[10] = (Section) {index->text_at, (size_t) index->n_named * sizeof(uint32_t)};
	sections[11] = (Section) {index->texts, index->n_texts};
}

static size_t
align_up(size_t n)
{
	return (n + SECTION_ALIGN - 1) / SECTION_ALIGN * SECTION_ALIGN;
}

/* Checksum of a block that follows one with the given checksum: four lanes of multiply and rotate, as fast as memory. */
static uint64_t
checksum(uint64_t start, const void *data, size_t size)
{
	const unsigned char *p = data;
	uint64_t	lane[4] = {start + 1, start + 2, start + 3, start + 4};
	uint64_t	word;
	size_t		i;
	int			k;

	for (i = 0; i + 32 <= size; i += 32)
		for (k = 0; k < 4; k++)
		{
			memcpy(&word, p + i + 8 * k, 8);
			lane[k] = (lane[k] ^ word) * UINT64_C(0x9e3779b97f4a7c15);
			lane[k] = lane[k] << 31 | lane[k] >> 33;
		}
	for (; i < size; i++)
		lane[0] = (lane[0] ^ p[i]) * UINT64_C(0x9e3779b97f4a7c15);
	for (k = 1; k < 4; k++)
		lane[0] = (lane[0] ^ lane[k] ^ lane[0] >> 29) * UINT64_C(0xff51afd7ed558ccd);
	return lane[0] ^ lane[0] >> 32;
}

/*
 * A number that differs where items are prepared in another way: a file of an older library must not be searched with tokens of this one.
 * It is what becomes of an item that has something of everything.
 */
static uint64_t
preparation_signature(void)
{
	static const char title[] = "Kön. DSC-W150/B-2 x 10 pack 1,5 TB 7200rpm 2.4 GHz usb3 remanufactured kit for black 10/100 19\" the with";
	static const char code[] = "AB-1234/XYZ 55";
	MatchFields fields = {{NULL, 0}, {code, 9}, {"03600029145", 11}, {"Acme Tools Inc", 14}, {title, sizeof(title) - 1},
	{title, sizeof(title) - 1}, {title + 4, 60}, 12.5};
	MatchItem	item;
	uint64_t	sum;
	int			i;

	item_prepare(&item, &fields, 42, NULL, true);
	sum = text_hash(item.mpn ^ item.sku, (const char *) &item.brand, sizeof(item.brand)) + item.mpn_stem + item.guess.low +
		item.tokens.conditions + item.tokens.colours + sizeof(MatchItem);
	for (i = 0; i < item.tokens.n; i++)
	{
		const Token *token = &item.tokens.tokens[i];

		sum = (sum ^ token->hash ^ token->stem) * UINT64_C(0x9e3779b97f4a7c15) + token->kind + token->unit * 7u + token->span * 31u;
		sum = checksum(sum, &token->value, sizeof(token->value));
	}
	return sum;
}

static void
fill_header(FileHeader *header, const MatchIndex *index)
{
	Section		sections[N_SECTIONS];
	size_t		size = align_up(sizeof(FileHeader));
	uint64_t	sum = 0;
	int			i;

	list_sections(index, sections);
	for (i = 0; i < N_SECTIONS; i++)
	{
		sum = checksum(sum, sections[i].data, sections[i].size);
		size += align_up(sections[i].size);
	}
	memset(header, 0, sizeof(FileHeader));
	memcpy(header->magic, FILE_MAGIC, sizeof(header->magic));
	header->format = FILE_FORMAT;
	header->header_size = sizeof(FileHeader);
	header->file_size = size;
	header->version = index->version;
	header->seed = index->seed;
	header->n_items = index->n_items;
	header->n_terms = index->n_terms;
	header->n_forward = index->n_forward;
	header->n_postings = index->n_postings;
	header->n_ids = index->n_ids;
	header->term_mask = index->term_mask;
	header->gtin_mask = index->gtin_mask;
	header->mpn_mask = index->mpn_mask;
	header->sku_mask = index->sku_mask;
	header->alias_mask = index->aliases.mask;
	header->n_named = index->n_named;
	header->n_texts = index->n_texts;
	header->signature = preparation_signature();
	header->body_checksum = sum;
	header->checksum = checksum(0, header, offsetof(FileHeader, checksum));
}

/* Writes a block and zeros up to the next multiple of SECTION_ALIGN.  Returns false with errno set. */
static bool
write_block(int fd, const void *data, size_t size)
{
	static const char zeros[SECTION_ALIGN];
	size_t		parts[2] = {size, align_up(size) - size};
	int			part;

	for (part = 0; part < 2; part++)
	{
		const char *p = part == 0 ? data : zeros;
		size_t		left = parts[part];

		while (left > 0)
		{
			ssize_t		written = write(fd, p, left);

			if (written < 0 && errno == EINTR)
				continue;
			if (written <= 0)
				return false;
			p += written;
			left -= (size_t) written;
		}
	}
	return true;
}

/*
 * Writes the index to a file of this name, in one step as others see it.  Not flushed to the disk: what a crash leaves is caught by
 * the checksum.  Returns false with errno set, and leaves no file of its own behind.
 */
bool
mindex_write(const MatchIndex *index, const char *path)
{
	size_t		room = strlen(path) + 32;
	char	   *temporary = malloc(room);
	Section		sections[N_SECTIONS];
	FileHeader	header;
	bool		ok;
	int			fd;
	int			i;
	int			error;

	if (temporary == NULL)
		return false;
	snprintf(temporary, room, "%s.%ld.tmp", path, (long) getpid());
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
	{
		free(temporary);
		return false;
	}
	fill_header(&header, index);
	list_sections(index, sections);
	ok = write_block(fd, &header, sizeof(header));
	for (i = 0; ok && i < N_SECTIONS; i++)
		ok = write_block(fd, sections[i].data, sections[i].size);
	error = errno;
	if (close(fd) != 0 && ok)
	{
		ok = false;
		error = errno;
	}
	if (ok && rename(temporary, path) != 0)
	{
		ok = false;
		error = errno;
	}
	if (!ok)
		unlink(temporary);
	free(temporary);
	errno = error;
	return ok;
}

/* Whether the mask is of a table with a power of two of entries. */
static bool
is_mask(uint32_t mask)
{
	return (mask & (mask + 1)) == 0 && mask != UINT32_MAX;
}

/* Points the index's arrays into a mapped file whose header is sound.  Returns false where the sizes do not fit. */
static bool
place_sections(MatchIndex *index, const char *base, size_t file_size)
{
	const void **places[N_SECTIONS] = {
		(const void **) &index->items, (const void **) &index->terms, (const void **) &index->term_slots,
		(const void **) &index->forward, (const void **) &index->postings, (const void **) &index->gtin_keys,
		(const void **) &index->mpn_keys, (const void **) &index->sku_keys, (const void **) &index->aliases.slots, (const void **) &index->ids,
		(const void **) &index->text_at, (const void **) &index->texts};
	Section		sections[N_SECTIONS];
	size_t		offset = align_up(sizeof(FileHeader));
	int			i;

	list_sections(index, sections);
	for (i = 0; i < N_SECTIONS; i++)
	{
		if (align_up(sections[i].size) > file_size - offset)
			return false;
		*places[i] = base + offset;
		offset += align_up(sections[i].size);
	}
	index->bytes = file_size;
	return offset == file_size;
}

/* Reads and checks a mapped file.  The whole of it is read once for its checksum, at the speed of memory. */
static IndexStatus
read_mapped(MatchIndex *index, const char *base, size_t size)
{
	FileHeader	header;
	Section		sections[N_SECTIONS];
	uint64_t	sum = 0;
	int			i;

	memcpy(&header, base, sizeof(header));
	if (memcmp(header.magic, FILE_MAGIC, sizeof(header.magic)) != 0)
		return INDEX_DAMAGED;
	if (header.format != FILE_FORMAT || header.header_size != sizeof(FileHeader))
		return INDEX_OTHER_FORMAT;
	if (header.checksum != checksum(0, &header, offsetof(FileHeader, checksum)) || header.file_size != size ||
		!is_mask(header.term_mask) || !is_mask(header.gtin_mask) || !is_mask(header.mpn_mask) || !is_mask(header.sku_mask) ||
		!is_mask(header.alias_mask) || header.n_named > header.n_terms)
		return INDEX_DAMAGED;
	index->version = header.version;
	index->seed = header.seed;
	index->n_items = header.n_items;
	index->n_terms = header.n_terms;
	index->n_forward = header.n_forward;
	index->n_postings = header.n_postings;
	index->n_ids = header.n_ids;
	index->term_mask = header.term_mask;
	index->gtin_mask = header.gtin_mask;
	index->mpn_mask = header.mpn_mask;
	index->sku_mask = header.sku_mask;
	index->aliases.mask = header.alias_mask;
	index->n_named = header.n_named;
	index->n_texts = header.n_texts;
	if (header.signature != preparation_signature())
		return INDEX_OTHER_FORMAT;
	if (!place_sections(index, base, size))
		return INDEX_DAMAGED;
	list_sections(index, sections);
	for (i = 0; i < N_SECTIONS; i++)
		sum = checksum(sum, sections[i].data, sections[i].size);
	return sum == header.body_checksum ? INDEX_OK : INDEX_DAMAGED;
}

/*
 * Maps an index file read-only.  Returns INDEX_MISSING, INDEX_UNREADABLE (errno says why), INDEX_OTHER_FORMAT or INDEX_DAMAGED where it
 * cannot be used; the index is then empty.
 */
IndexStatus
mindex_open(MatchIndex *index, const char *path)
{
	struct stat info;
	void	   *base;
	IndexStatus status;
	int			fd = open(path, O_RDONLY | O_CLOEXEC);

	memset(index, 0, sizeof(MatchIndex));
	if (fd < 0)
		return errno == ENOENT ? INDEX_MISSING : INDEX_UNREADABLE;
	if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
	{
		close(fd);
		return INDEX_UNREADABLE;
	}
	if ((size_t) info.st_size < align_up(sizeof(FileHeader)))
	{
		close(fd);
		return INDEX_DAMAGED;
	}
	base = mmap(NULL, (size_t) info.st_size, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (base == MAP_FAILED)
		return INDEX_UNREADABLE;
	status = read_mapped(index, base, (size_t) info.st_size);
	if (status != INDEX_OK)
	{
		munmap(base, (size_t) info.st_size);
		memset(index, 0, sizeof(MatchIndex));
		return status;
	}
	index->mapping = base;
	index->mapping_size = (size_t) info.st_size;
	return INDEX_OK;
}

const char *
mindex_status_text(IndexStatus status)
{
	switch (status)
	{
		case INDEX_OK:
			return "sound";
		case INDEX_MISSING:
			return "missing";
		case INDEX_UNREADABLE:
			return "unreadable";
		case INDEX_OTHER_FORMAT:
			return "of another format";
		default:
			return "damaged";
	}
}

/* Frees an index, or unmaps its file. */
void
mindex_free(MatchIndex *index)
{
	if (index->mapping != NULL)
		munmap(index->mapping, index->mapping_size);
	else
	{
		free((void *) index->items);
		free((void *) index->terms);
		free((void *) index->term_slots);
		free((void *) index->forward);
		free((void *) index->postings);
		free((void *) index->gtin_keys);
		free((void *) index->mpn_keys);
		free((void *) index->sku_keys);
		free((void *) index->ids);
		free((void *) index->text_at);
		free((void *) index->texts);
		brand_aliases_free(&index->aliases);
	}
	memset(index, 0, sizeof(MatchIndex));
}
