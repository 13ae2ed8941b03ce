/*
 * set.c
 *	  Reads labelled sets: two product files and the pairs that are the same, as sets.tsv lists them.
 *
 * A set whose files are absent is left out with a message, since nobody has all sets.  Anything else that is wrong ends the program: a
 * model fitted on half of the data would look like one fitted on all of it.
 */
#include "fit.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "feed/csv.h"

#define READ_BYTES 65536
#define PATH_BYTES 4096
#define LIST_COLUMNS 9

typedef struct Table
{
	char	  **header;
	uint32_t	n_columns;
	MatchText  *cells;			/* n x n_columns */
	uint32_t	n;
	uint32_t	room;
} Table;

static const char *const field_names[N_FIELDS] = {"id", "sku", "gtin", "brand", "mpn", "title", "description", "price"};

/* Says what is wrong and ends the program. */
void
fail(const char *format, ...)
{
	va_list		args;

	fflush(stdout);
	fputs("fit: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

/* What malloc gave; ends the program where that is nothing. */
void *
need(void *data)
{
	if (data == NULL)
		fail("out of memory");
	return data;
}

static MatchText
copy_text(const char *data, size_t length)
{
	char	   *copy = need(malloc(length + 1));

	memcpy(copy, data, length);
	copy[length] = '\0';
	return (MatchText) {copy, length};
}

static void
take_header(Table *table, const CsvRecord *record)
{
	uint32_t	i;

	table->n_columns = record->nfields;
	table->header = need(calloc(record->nfields, sizeof(char *)));
	for (i = 0; i < record->nfields; i++)
		table->header[i] = (char *) copy_text(record->fields[i].data, record->fields[i].len).data;
}

static void
take_record(Table *table, const CsvRecord *record, const char *path)
{
	uint32_t	i;

	if (record->error != CSV_OK || record->nfields != table->n_columns)
		fail("%s, line %llu: %s; the header has %u fields, this line %u", path, (unsigned long long) record->line,
			 record->error != CSV_OK ? csv_error_text(record->error) : "another number of fields", table->n_columns, record->nfields);
	if (table->n == table->room)
	{
		table->room = table->room == 0 ? 1024 : table->room * 2;
		table->cells = need(realloc(table->cells, (size_t) table->room * table->n_columns * sizeof(MatchText)));
	}
	for (i = 0; i < table->n_columns; i++)
		table->cells[(size_t) table->n * table->n_columns + i] = copy_text(record->fields[i].data, record->fields[i].len);
	table->n++;
}

static void
table_read(Table *table, const char *path)
{
	CsvOptions	options = csv_default_options();
	CsvParser  *parser = need(csv_create(&options));
	FILE	   *file = fopen(path, "rb");
	CsvRecord	record;
	CsvResult	result;

	if (file == NULL)
		fail("%s cannot be opened: %s", path, strerror(errno));
	memset(table, 0, sizeof(Table));
	while ((result = csv_next(parser, &record)) != CSV_END)
	{
		if (result == CSV_NO_MEMORY)
			fail("out of memory");
		if (result == CSV_MORE)
		{
			size_t		got = fread(need(csv_space(parser, READ_BYTES)), 1, READ_BYTES, file);

			if (ferror(file))
				fail("%s cannot be read: %s", path, strerror(errno));
			csv_filled(parser, got);
			if (got == 0)
				csv_finish(parser);
		}
		else if (table->header == NULL)
			take_header(table, &record);
		else
			take_record(table, &record, path);
	}
	if (table->header == NULL)
		fail("%s is empty: a header was expected", path);
	fclose(file);
	csv_free(parser);
}

static uint32_t
table_column(const Table *table, const char *name, const char *path)
{
	uint32_t	i;

	for (i = 0; i < table->n_columns; i++)
		if (strcmp(table->header[i], name) == 0)
			return i;
	fail("%s has no column \"%s\"", path, name);
}

static SetField
find_field(const char *name, size_t length, const char *columns)
{
	int			i;

	for (i = 0; i < N_FIELDS; i++)
		if (strlen(field_names[i]) == length && memcmp(field_names[i], name, length) == 0)
			return (SetField) i;
	fail("\"%.*s\" in \"%s\" is no field; fields are id, sku, gtin, brand, mpn, title, description and price", (int) length, name, columns);
}

/* Reads one side of a set.  columns: field=header,... */
static void
side_read(SetSide *side, const char *path, const char *columns)
{
	char	   *list = (char *) copy_text(columns, strlen(columns)).data;
	char	   *rest = NULL;
	char	   *one;
	Table		table;
	uint32_t	i;

	table_read(&table, path);
	side->n = table.n;
	side->has = 0;
	side->items = need(calloc((size_t) table.n + 1, sizeof(*side->items)));
	for (one = strtok_r(list, ",", &rest); one != NULL; one = strtok_r(NULL, ",", &rest))
	{
		char	   *equal = strchr(one, '=');
		SetField	field;
		uint32_t	column;

		if (equal == NULL)
			fail("\"%s\" in \"%s\" is not field=header", one, columns);
		field = find_field(one, (size_t) (equal - one), columns);
		column = table_column(&table, equal + 1, path);
		side->has |= FIELD_BIT(field);
		for (i = 0; i < table.n; i++)
		{
			MatchText	text = table.cells[(size_t) i * table.n_columns + column];

			if (text.length > 0)
				side->items[i][field] = text;
		}
	}
	if (!(side->has & FIELD_BIT(FIELD_ID)))
		fail("\"%s\" does not say which column is the id", columns);
	free(list);
	free(table.cells);
}

static const SetSide *sorting;

static int
compare_ids(const void *a, const void *b)
{
	const MatchText *x = &sorting->items[*(const uint32_t *) a][FIELD_ID];
	const MatchText *y = &sorting->items[*(const uint32_t *) b][FIELD_ID];
	size_t		length = x->length < y->length ? x->length : y->length;
	int			order = length == 0 ? 0 : memcmp(x->data, y->data, length);

	return order != 0 ? order : x->length < y->length ? -1 : x->length > y->length;
}

/* The items of a side in the order of their ids. */
static uint32_t *
order_by_id(const SetSide *side, const char *path)
{
	uint32_t   *order = need(malloc(((size_t) side->n + 1) * sizeof(uint32_t)));
	uint32_t	i;

	for (i = 0; i < side->n; i++)
		order[i] = i;
	sorting = side;
	qsort(order, side->n, sizeof(uint32_t), compare_ids);
	for (i = 1; i < side->n; i++)
		if (compare_ids(&order[i - 1], &order[i]) == 0)
			fail("%s has the id \"%s\" twice", path, side->items[order[i]][FIELD_ID].data);
	return order;
}

static uint32_t
find_id(SetSide *side, const uint32_t *order, MatchText id, const char *path)
{
	uint32_t	probe = side->n;
	uint32_t   *found;

	/* The slot behind the items stands for what is looked for. */
	side->items[probe][FIELD_ID] = id;
	sorting = side;
	found = bsearch(&probe, order, side->n, sizeof(uint32_t), compare_ids);
	if (found == NULL)
		fail("%s names the id \"%s\", which its file does not have", path, id.data);
	return *found;
}

static int
compare_pairs(const void *a, const void *b)
{
	const TruePair *x = a;
	const TruePair *y = b;

	if (x->of[INCOMING] != y->of[INCOMING])
		return x->of[INCOMING] < y->of[INCOMING] ? -1 : 1;
	return x->of[EXISTING] < y->of[EXISTING] ? -1 : x->of[EXISTING] > y->of[EXISTING];
}

static void
pairs_read(LabelledSet *set, const char *path, const char *columns[2], const char *paths[2])
{
	Table		table;
	uint32_t	i;
	int			side;

	table_read(&table, path);
	set->n_pairs = table.n;
	set->pairs = need(calloc((size_t) table.n + 1, sizeof(TruePair)));
	for (side = 0; side < 2; side++)
	{
		uint32_t	column = table_column(&table, columns[side], path);
		uint32_t   *order = order_by_id(&set->sides[side], paths[side]);

		for (i = 0; i < table.n; i++)
			set->pairs[i].of[side] = find_id(&set->sides[side], order, table.cells[(size_t) i * table.n_columns + column], path);
		free(order);
	}
	qsort(set->pairs, set->n_pairs, sizeof(TruePair), compare_pairs);
	free(table.cells);
}

/* Reads the set of a line of the list.  Returns false where its files are absent. */
static bool
set_read(LabelledSet *set, char *columns[LIST_COLUMNS], const char *folder)
{
	char		paths[3][PATH_BYTES];
	const char *sides[2] = {paths[0], paths[1]};
	const char *ids[2] = {columns[4], columns[5]};
	char	   *end;
	int			i;

	for (i = 0; i < 3; i++)
	{
		bool		absolute = columns[i + 1][0] == '/';

		if (snprintf(paths[i], PATH_BYTES, "%s%s%s", absolute ? "" : folder, absolute ? "" : "/", columns[i + 1]) >= PATH_BYTES)
			fail("the path %s is too long", columns[i + 1]);
		if (access(paths[i], R_OK) != 0)
		{
			fprintf(stderr, "fit: the set %s is left out: %s cannot be read\n", columns[0], paths[i]);
			return false;
		}
	}
	memset(set, 0, sizeof(LabelledSet));
	set->name = (char *) copy_text(columns[0], strlen(columns[0])).data;
	set->missing = strtod(columns[8], &end);
	if (end == columns[8] || *end != '\0' || !(set->missing >= 0 && set->missing < 1))
		fail("set %s: \"%s\" is no share of missing labels, from 0 to below 1", columns[0], columns[8]);
	side_read(&set->sides[INCOMING], paths[0], columns[6]);
	side_read(&set->sides[EXISTING], paths[1], columns[7]);
	pairs_read(set, paths[2], ids, sides);
	return true;
}

/* Reads the sets of the list whose files are in the folder.  Returns false where that is none. */
bool
sets_read(const char *list, const char *folder, LabelledSets *sets)
{
	FILE	   *file = fopen(list, "r");
	char	   *line = NULL;
	size_t		room = 0;
	int			number = 0;

	if (file == NULL)
		fail("%s cannot be opened: %s", list, strerror(errno));
	memset(sets, 0, sizeof(LabelledSets));
	while (getline(&line, &room, file) > 0)
	{
		char	   *columns[LIST_COLUMNS];
		char	   *rest = line;
		int			n = 0;

		number++;
		line[strcspn(line, "\r\n")] = '\0';
		if (line[0] == '#' || line[0] == '\0')
			continue;
		while (n < LIST_COLUMNS && (columns[n] = strsep(&rest, "\t")) != NULL)
			n++;
		if (n != LIST_COLUMNS || rest != NULL)
			fail("%s, line %d: %d columns with tabs between were expected", list, number, LIST_COLUMNS);
		sets->sets = need(realloc(sets->sets, (size_t) (sets->n + 1) * sizeof(LabelledSet)));
		if (set_read(&sets->sets[sets->n], columns, folder))
			sets->n++;
	}
	free(line);
	fclose(file);
	return sets->n > 0;
}

const LabelledSet *
sets_find(const LabelledSets *sets, const char *name)
{
	int			i;

	for (i = 0; i < sets->n; i++)
		if (strcmp(sets->sets[i].name, name) == 0)
			return &sets->sets[i];
	fail("there is no set \"%s\", or its files are absent", name);
}
