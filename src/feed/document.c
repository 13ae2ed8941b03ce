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

/* Where the next byte of a value goes; room for all has been made. */
typedef struct Writer
{
	char	   *start;
	char	   *to;
} Writer;

static JEntry append_container(Writer *w, const DocumentNode *node);

/* An upper bound of the stored size of a node's value. */
static size_t
value_bound(const DocumentNode *node)
{
	size_t		bound = sizeof(uint32) + sizeof(uint32);	/* header and padding */

	switch (node->kind)
	{
		case DOCUMENT_TEXT:
			return node->text_len;
		case DOCUMENT_NUMBER:
			return VARSIZE_ANY(node->number) + sizeof(uint32);
		case DOCUMENT_BOOLEAN:
			return 0;
		default:
			for (int i = 0; i < node->nchildren; i++)
				bound += 2 * sizeof(JEntry) + node->children[i].key_len + value_bound(&node->children[i]);
			return bound;
	}
}

static inline void
append_bytes(Writer *w, const void *data, size_t len)
{
	memcpy(w->to, data, len);
	w->to += len;
}

/* Pads to a multiple of four, from the start of the datum; returns the number of bytes. */
static uint32
append_padding(Writer *w)
{
	uint32		n = (uint32) (-(w->to - w->start) & 3);

	memset(w->to, 0, n);
	w->to += n;
	return n;
}

/* Appends a value; its entry holds type and length. */
static JEntry
append_value(Writer *w, const DocumentNode *node)
{
	uint32		padding;

	switch (node->kind)
	{
		case DOCUMENT_TEXT:
			append_bytes(w, node->text, node->text_len);
			return JENTRY_ISSTRING | (uint32) node->text_len;
		case DOCUMENT_NUMBER:
			padding = append_padding(w);
			append_bytes(w, node->number, VARSIZE_ANY(node->number));
			return JENTRY_ISNUMERIC | (padding + (uint32) VARSIZE_ANY(node->number));
		case DOCUMENT_BOOLEAN:
			return node->boolean ? JENTRY_ISBOOL_TRUE : JENTRY_ISBOOL_FALSE;
		default:
			return append_container(w, node);
	}
}

/* Puts an entry to its place: every JB_OFFSET_STRIDE-th holds the end of its value, the others their length. */
static inline void
set_entry(char *entries, int i, JEntry entry, uint32 *total)
{
	*total += entry & JENTRY_OFFLENMASK;
	if (i % JB_OFFSET_STRIDE == 0)
		entry = (entry & JENTRY_TYPEMASK) | *total | JENTRY_HAS_OFF;
	memcpy(entries + (size_t) i * sizeof(JEntry), &entry, sizeof(JEntry));
}

static JEntry
append_container(Writer *w, const DocumentNode *node)
{
	char	   *start = w->to;
	bool		object = node->kind == DOCUMENT_OBJECT;
	int			n = node->nchildren;
	uint32		header = (uint32) n | (object ? JB_FOBJECT : JB_FARRAY);
	uint32		total = 0;
	char	   *entries;

	append_padding(w);
	append_bytes(w, &header, sizeof(header));
	entries = w->to;
	w->to += sizeof(JEntry) * (size_t) n * (object ? 2 : 1);
	for (int i = 0; object && i < n; i++)
	{
		append_bytes(w, node->children[i].key, node->children[i].key_len);
		set_entry(entries, i, JENTRY_ISSTRING | (uint32) node->children[i].key_len, &total);
	}
	for (int i = 0; i < n; i++)
	{
		JEntry		entry = append_value(w, &node->children[i]);

		set_entry(entries, object ? n + i : i, entry, &total);
	}
	return JENTRY_ISCONTAINER | (uint32) (w->to - start);
}

/* An object as a jsonb datum in the current memory context.  Error 54000 when it is larger than jsonb may be. */
struct varlena *
document_to_jsonb(const DocumentNode *object)
{
	size_t		bound = VARHDRSZ + value_bound(object);
	Writer		w;

	if (bound > JENTRY_OFFLENMASK)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a record of the feed is too large for jsonb")));
	w.start = palloc(bound);
	w.to = w.start + VARHDRSZ;
	append_container(&w, object);
	SET_VARSIZE(w.start, w.to - w.start);
	return (struct varlena *) w.start;
}
