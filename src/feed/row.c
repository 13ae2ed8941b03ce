/*
 * row.c
 *	  One record of a feed; row.h says what becomes of it.
 *
 * Whatever is allocated for a record is in the current memory context, which the caller resets after a batch of them.
 */
#include "feed/row.h"

#include "feed/encoding.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/formatting.h"
#include "utils/memutils.h"

#define NUMBER_DIGITS	10		/* before the point: the catalogue keeps numeric(14,4) */
#define NUMBER_PLACES	4		/* behind it */
#define NUMBER_LENGTH	60
#define KEY_BYTES		1000	/* longest SKU and handle: they are indexed, and an index entry has its limit */

FeedRow *
feed_row_create(const FeedProfile *profile)
{
	FeedRow    *row = palloc0(sizeof(FeedRow));

	row->profile = profile;
	row->cells = palloc0(sizeof(FeedCell) * profile->nslots);
	row->option_context = AllocSetContextCreate(CurrentMemoryContext, "feed option names", ALLOCSET_SMALL_SIZES);
	row->nodes_room = profile->nslots + FEED_NESTED + FEED_OPTIONS + 64;
	row->nodes = palloc(sizeof(DocumentNode) * row->nodes_room);
	return row;
}

static bool
is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static void
trim(const char **text, size_t *len)
{
	while (*len > 0 && is_blank((*text)[*len - 1]))
		(*len)--;
	while (*len > 0 && is_blank(**text))
	{
		(*text)++;
		(*len)--;
	}
}

static bool
fault_at(const FeedRow *row, const FeedCell *cell, const char *reason, FeedFault *fault)
{
	fault->header = row->profile->columns[cell->column].header;
	fault->value = cell->text;
	fault->value_len = cell->len;
	fault->reason = reason;
	return false;
}

/* Turns a cell into UTF-8; false when it has a byte that is undefined in Windows-1252. */
static bool
recode(const FeedRow *row, FeedCell *cell, FeedFault *fault)
{
	char	   *out = palloc(cell->len * UTF8_PER_WINDOWS1252);
	size_t		len;
	size_t		bad;

	if (!windows1252_to_utf8(cell->text, cell->len, out, &len, &bad))
	{
		fault_at(row, cell, psprintf("byte 0x%02x, number %zu of the value, is not defined in Windows-1252",
									 (unsigned char) cell->text[bad], bad + 1), fault);
		return false;
	}
	cell->text = out;
	cell->len = len;
	return true;
}

/* Sorts the fields of a good record into cells.  False with *fault when the record cannot be used. */
bool
feed_row_read(FeedRow *row, const CsvRecord *record, bool windows1252, FeedFault *fault)
{
	const FeedProfile *profile = row->profile;
	int			nfields = (int) record->nfields;

	memset(row->cells, 0, sizeof(FeedCell) * profile->nslots);
	memset(fault, 0, sizeof(*fault));
	row->blank = true;
	for (int i = 0; i < nfields; i++)
	{
		FeedCell	cell = {record->fields[i].data, record->fields[i].len, i};
		int			slot;

		if (cell.len == 0)
			continue;
		trim(&cell.text, &cell.len);
		if (cell.len == 0)
			continue;
		row->blank = false;
		if (i >= profile->ncolumns)
		{
			fault->reason = psprintf("%d fields where the header has %d", nfields, profile->ncolumns);
			return false;
		}
		slot = profile->columns[i].slot;
		if (slot < 0 || row->cells[slot].len != 0)
			continue;
		if (windows1252 && !text_is_ascii(cell.text, cell.len) && !recode(row, &cell, fault))
			return false;
		row->cells[slot] = cell;
	}
	if (nfields < profile->named_columns && !row->blank)
	{
		fault->reason = psprintf("%d field%s where the header has %d", nfields, nfields == 1 ? "" : "s", profile->ncolumns);
		return false;
	}
	return true;
}

/* Remembers the option names of a product row: the rows of its other variants give values only. */
void
feed_row_keep_options(FeedRow *row)
{
	MemoryContext caller = MemoryContextSwitchTo(row->option_context);

	MemoryContextReset(row->option_context);
	for (int i = 0; i < FEED_OPTIONS; i++)
	{
		int			slot = row->profile->option_name[i];

		row->option_names[i] = slot < 0 || row->cells[slot].len == 0 ? NULL :
			pnstrdup(row->cells[slot].text, row->cells[slot].len);
	}
	MemoryContextSwitchTo(caller);
}

/*
 * Reads a number as people write it: 12, -3.50, $1,234.50.  False when it is none: a comma stands between groups of three digits only,
 * so 1,50 is no number, rather than a hundred times too much.  *whole: digits before the point; *places: behind it.
 */
static bool
parse_number(const char *text, size_t len, Numeric *number, bool *negative, int *whole, int *places)
{
	char		digits[NUMBER_LENGTH + 2];
	int			n = 0;
	int			scale = 0;
	int			group = 0;		/* digits since the last comma */
	bool		commas = false;
	bool		point = false;
	size_t		i = 0;

	*negative = false;
	*whole = *places = 0;
	if (len > NUMBER_LENGTH)
		return false;
	if (i < len && (text[i] == '-' || text[i] == '+'))
		*negative = text[i++] == '-';
	if (i < len && text[i] == '$')
		i++;
	if (*negative)
		digits[n++] = '-';
	for (; i < len; i++)
	{
		if (text[i] >= '0' && text[i] <= '9')
		{
			digits[n++] = text[i];
			if (point)
				scale++;
			else if ((*whole > 0 || text[i] != '0'))
				(*whole)++;
			group++;
		}
		else if (text[i] == '.' && !point && (!commas || group == 3))
		{
			point = true;
			digits[n++] = '.';
		}
		else if (text[i] == ',' && !point && group > 0 && (commas ? group == 3 : group <= 3))
		{
			commas = true;
			group = 0;
		}
		else
			return false;
	}
	digits[n] = '\0';
	if (*whole + scale == 0 && strchr(digits, '0') == NULL)
		return false;
	if (commas && !point && group != 3)
		return false;
	*places = scale;
	if (*whole + scale <= 18)
	{
		int64		value = 0;

		for (const char *p = digits; *p != '\0'; p++)
		{
			if (*p >= '0' && *p <= '9')
				value = value * 10 + (*p - '0');
		}
		*number = int64_div_fast_to_numeric(*negative ? -value : value, scale);
	}
	else
		*number = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(digits), ObjectIdGetDatum(InvalidOid),
													  Int32GetDatum(-1)));
	return true;
}

/* Whether a cell is one of the words, without case. */
static bool
one_of(const FeedCell *cell, const char *const *words)
{
	for (; *words != NULL; words++)
	{
		if (strlen(*words) == cell->len && pg_strncasecmp(*words, cell->text, cell->len) == 0)
			return true;
	}
	return false;
}

/* A free node; they all go at once, with the document. */
static DocumentNode *
new_nodes(FeedRow *row, int n)
{
	DocumentNode *nodes;

	if (row->nodes_used + n > row->nodes_room)
		return palloc0(sizeof(DocumentNode) * n);
	nodes = &row->nodes[row->nodes_used];
	row->nodes_used += n;
	memset(nodes, 0, sizeof(DocumentNode) * n);
	return nodes;
}

/* Splits "a, b, c" into a list; empty parts are left out. */
static void
split_list(FeedRow *row, const FeedCell *cell, DocumentNode *node)
{
	const char *p = cell->text;
	const char *stop = p + cell->len;
	int			parts = 1;

	for (const char *c = p; (c = memchr(c, ',', stop - c)) != NULL; c++)
		parts++;
	node->kind = DOCUMENT_LIST;
	node->children = new_nodes(row, parts);
	while (p <= stop)
	{
		const char *comma = p < stop ? memchr(p, ',', stop - p) : NULL;
		const char *part = p;
		size_t		len = (comma != NULL ? comma : stop) - p;

		trim(&part, &len);
		if (len > 0)
		{
			node->children[node->nchildren].text = part;
			node->children[node->nchildren++].text_len = len;
		}
		p += (comma != NULL ? comma : stop) - p + 1;
	}
}

/* Checks a cell and makes its node.  False with *fault when its value is not of its kind. */
static bool
transform_cell(FeedRow *row, int slot, DocumentNode *node, FeedFault *fault)
{
	static const char *const yes[] = {"true", "yes", "y", "t", "1", "on", NULL};
	static const char *const no[] = {"false", "no", "n", "f", "0", "off", NULL};
	static const char *const states[] = {"active", "draft", "archived", NULL};
	const FeedCell *cell = &row->cells[slot];
	const FeedSlot *where = &row->profile->slots[slot];
	FeedTransform transform = row->profile->columns[cell->column].transform;
	bool		negative;
	int			whole;
	int			places;

	node->kind = DOCUMENT_TEXT;
	node->text = cell->text;
	node->text_len = cell->len;
	if (cell->len > KEY_BYTES && (strcmp(where->target, "variant.sku") == 0 || strcmp(where->target, "product.handle") == 0))
		return fault_at(row, cell, psprintf("longer than %d bytes", KEY_BYTES), fault);
	switch (transform)
	{
		case FEED_TEXT:
			break;
		case FEED_NUMBER:
		case FEED_INTEGER:
			node->kind = DOCUMENT_NUMBER;
			if (!parse_number(cell->text, cell->len, &node->number, &negative, &whole, &places) ||
				(transform == FEED_INTEGER && memchr(cell->text, '.', cell->len) != NULL))
				return fault_at(row, cell, transform == FEED_INTEGER ? "not a whole number" : "not a number", fault);
			if (where->level == FEED_VARIANT && where->place == FEED_TOP && negative)
				return fault_at(row, cell, "negative number", fault);
			if (whole > NUMBER_DIGITS)
				return fault_at(row, cell, psprintf("number has more than %d digits before the point", NUMBER_DIGITS), fault);
			/* As the catalogue will keep it, or it would differ from the catalogue's for ever. */
			if (where->level == FEED_VARIANT && where->place == FEED_TOP && places > NUMBER_PLACES)
				node->number = DatumGetNumeric(DirectFunctionCall2(numeric_round, NumericGetDatum(node->number), Int32GetDatum(NUMBER_PLACES)));
			break;
		case FEED_BOOLEAN:
			node->kind = DOCUMENT_BOOLEAN;
			node->boolean = one_of(cell, yes);
			if (!node->boolean && !one_of(cell, no))
				return fault_at(row, cell, "neither true nor false", fault);
			break;
		case FEED_LIST:
			split_list(row, cell, node);
			break;
		case FEED_URL:
			if (pg_strncasecmp(cell->text, "http://", 7) != 0 && pg_strncasecmp(cell->text, "https://", 8) != 0)
				return fault_at(row, cell, "not a web address (http:// or https://)", fault);
			break;
		case FEED_STATUS:
			if (!one_of(cell, states))
				return fault_at(row, cell, "not a status (active, draft or archived)", fault);
			node->text = asc_tolower(cell->text, cell->len);
			break;
	}
	return true;
}

/* Makes the nodes of the slots of an object that have a cell. */
static bool
fill_object(FeedRow *row, const FeedObject *slots, DocumentNode *object, int extra, FeedFault *fault)
{
	object->kind = DOCUMENT_OBJECT;
	object->children = new_nodes(row, slots->nslots + extra);
	for (int i = 0; i < slots->nslots; i++)
	{
		int			slot = slots->slots[i];
		DocumentNode *node = &object->children[object->nchildren];

		if (row->cells[slot].len == 0)
			continue;
		if (!transform_cell(row, slot, node, fault))
			return false;
		node->key = row->profile->slots[slot].name;
		node->key_len = row->profile->slots[slot].name_len;
		object->nchildren++;
	}
	return true;
}

/* Adds a child to an object at its place; where there is one of that key, that one stays. */
static void
insert_sorted(DocumentNode *object, const DocumentNode *child)
{
	int			i = object->nchildren;
	int			order = 1;

	while (i > 0 && (order = feed_key_compare(object->children[i - 1].key, object->children[i - 1].key_len,
											  child->key, child->key_len)) > 0)
		i--;
	if (i > 0 && order == 0)
		return;
	memmove(&object->children[i + 1], &object->children[i], sizeof(DocumentNode) * (object->nchildren - i));
	object->children[i] = *child;
	object->nchildren++;
}

/* The options of a variant: names from this row, else from its product's.  Shopify's placeholder for "no options" is left out. */
static void
fill_options(FeedRow *row, DocumentNode *object)
{
	static const char *const defaults[FEED_OPTIONS] = {"Option1", "Option2", "Option3"};

	object->kind = DOCUMENT_OBJECT;
	object->children = new_nodes(row, FEED_OPTIONS);
	for (int i = 0; i < FEED_OPTIONS; i++)
	{
		int			slot = row->profile->option_value[i];
		int			name = row->profile->option_name[i];
		DocumentNode node = {0};

		if (slot < 0 || row->cells[slot].len == 0)
			continue;
		node.key = row->option_names[i] != NULL ? row->option_names[i] : defaults[i];
		node.key_len = (int) strlen(node.key);
		if (name >= 0 && row->cells[name].len > 0)
		{
			node.key = row->cells[name].text;
			node.key_len = (int) row->cells[name].len;
		}
		node.text = row->cells[slot].text;
		node.text_len = row->cells[slot].len;
		if (i == 0 && node.text_len == 13 && pg_strncasecmp(node.text, "Default Title", 13) == 0)
			continue;
		insert_sorted(object, &node);
	}
}

/*
 * The document of a level: what the record's cells say, empty ones left out; NULL when they are all empty.  False with *fault when a
 * value is not of its kind.
 */
bool
feed_row_document(FeedRow *row, FeedLevel level, struct varlena **document, FeedFault *fault)
{
	static const char *const keys[FEED_NESTED] = {NULL, "metafields", "attributes"};
	DocumentNode object = {0};

	*document = NULL;
	row->nodes_used = 0;
	if (!fill_object(row, &row->profile->objects[level][FEED_TOP], &object, FEED_NESTED, fault))
		return false;
	for (int place = FEED_METAFIELDS; place < FEED_NESTED; place++)
	{
		DocumentNode nested = {0};

		nested.key = keys[place];
		nested.key_len = 10;
		if (!fill_object(row, &row->profile->objects[level][place], &nested, 0, fault))
			return false;
		if (nested.nchildren > 0)
			insert_sorted(&object, &nested);
	}
	if (level == FEED_VARIANT)
	{
		DocumentNode options = {0};

		options.key = "options";
		options.key_len = 7;
		fill_options(row, &options);
		if (options.nchildren > 0)
			insert_sorted(&object, &options);
	}
	if (object.nchildren > 0)
		*document = document_to_jsonb(&object);
	return true;
}
