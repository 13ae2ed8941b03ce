/*
 * document.c
 *	  Writes jsonb directly in its stored form; src/include/utils/jsonb.h of PostgreSQL describes it, convertJsonbObject() and
 *	  convertJsonbArray() in jsonb_util.c write the same bytes.
 */
#include "feed/document.h"

#include "utils/jsonb.h"
#include "utils/memutils.h"
#if __has_include("varatt.h")
#include "varatt.h"				/* apart from postgres.h since 16 */
#endif

static JEntry append_container(StringInfo out, const DocumentNode *node);

static void
append_bytes(StringInfo out, const void *data, size_t len)
{
	if (len > (size_t) (MaxAllocSize / 2) - (size_t) out->len)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a record of the feed is too large for jsonb")));
	appendBinaryStringInfo(out, data, (int) len);
}

/* Pads to a multiple of four, from the start of the value; returns the number of bytes. */
static uint32
append_padding(StringInfo out)
{
	static const char zeros[4] = {0};
	uint32		n = INTALIGN(out->len) - out->len;

	if (n > 0)
		append_bytes(out, zeros, n);
	return n;
}

/* Appends a value; its entry holds type and length. */
static JEntry
append_value(StringInfo out, const DocumentNode *node)
{
	uint32		padding;

	switch (node->kind)
	{
		case DOCUMENT_TEXT:
			append_bytes(out, node->text, node->text_len);
			return JENTRY_ISSTRING | (uint32) node->text_len;
		case DOCUMENT_NUMBER:
			padding = append_padding(out);
			append_bytes(out, node->number, VARSIZE_ANY(node->number));
			return JENTRY_ISNUMERIC | (padding + (uint32) VARSIZE_ANY(node->number));
		case DOCUMENT_BOOLEAN:
			return node->boolean ? JENTRY_ISBOOL_TRUE : JENTRY_ISBOOL_FALSE;
		default:
			return append_container(out, node);
	}
}

/* Puts an entry to its place: every JB_OFFSET_STRIDE-th holds the end of its value, the others their length. */
static void
set_entry(StringInfo out, int entries, int i, JEntry entry, uint32 *total)
{
	*total += entry & JENTRY_OFFLENMASK;
	if (*total > JENTRY_OFFLENMASK)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a record of the feed is too large for jsonb")));
	if (i % JB_OFFSET_STRIDE == 0)
		entry = (entry & JENTRY_TYPEMASK) | *total | JENTRY_HAS_OFF;
	memcpy(out->data + entries + (size_t) i * sizeof(JEntry), &entry, sizeof(JEntry));
}

static JEntry
append_container(StringInfo out, const DocumentNode *node)
{
	int			start = out->len;
	bool		object = node->kind == DOCUMENT_OBJECT;
	int			n = node->nchildren;
	size_t		room = sizeof(JEntry) * (size_t) n * (object ? 2 : 1);
	uint32		header = (uint32) n | (object ? JB_FOBJECT : JB_FARRAY);
	uint32		total = 0;
	int			entries;

	append_padding(out);
	append_bytes(out, &header, sizeof(header));
	entries = out->len;
	enlargeStringInfo(out, (int) room);
	out->len += (int) room;
	for (int i = 0; object && i < n; i++)
	{
		append_bytes(out, node->children[i].key, node->children[i].key_len);
		set_entry(out, entries, i, JENTRY_ISSTRING | (uint32) node->children[i].key_len, &total);
	}
	for (int i = 0; i < n; i++)
	{
		JEntry		entry = append_value(out, &node->children[i]);

		set_entry(out, entries, object ? n + i : i, entry, &total);
	}
	return JENTRY_ISCONTAINER | (uint32) (out->len - start);
}

/* An object as a jsonb datum in the current memory context. */
struct varlena *
document_to_jsonb(StringInfo scratch, const DocumentNode *object)
{
	struct varlena *result;

	resetStringInfo(scratch);
	enlargeStringInfo(scratch, VARHDRSZ);
	scratch->len = VARHDRSZ;
	append_container(scratch, object);
	result = palloc(scratch->len);
	memcpy(result, scratch->data, scratch->len);
	SET_VARSIZE(result, scratch->len);
	return result;
}
