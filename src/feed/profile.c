/*
 * profile.c
 *	  Reads a feed profile from its tables and applies it to a header; profile.h says what comes out.
 *
 * Headers are compared without case, quotes and outer space, for they are typed by people.  A rule whose header ends in * stands for any
 * ending, which goes to the end of the target; an exact rule comes first.  A type in brackets at the end of such a header
 * (Metafield: custom.color[list.single_line_text]) is no part of the name: a list type makes the value a list.
 */
#include "feed/profile.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"

/* A row of sync.feed_profile_column. */
typedef struct FeedRule
{
	char	   *header;			/* folded; without its * */
	bool		wildcard;
	char	   *target;
	FeedTransform transform;
	bool		required;
} FeedRule;

static const struct
{
	const char *name;
	FeedTransform transform;
}			transforms[] = {
	{"text", FEED_TEXT}, {"gtin", FEED_TEXT}, {"html", FEED_TEXT},
	{"number", FEED_NUMBER}, {"integer", FEED_INTEGER}, {"boolean", FEED_BOOLEAN},
	{"list", FEED_LIST}, {"url", FEED_URL}, {"status", FEED_STATUS}
};

/* A header as it is compared. */
static char *
fold_header(const char *header)
{
	char	   *folded = palloc(strlen(header) + 1);
	char	   *to = folded;

	for (; *header != '\0'; header++)
	{
		if (*header != '"' && *header != '\'')
			*to++ = *header >= 'A' && *header <= 'Z' ? *header + ('a' - 'A') : *header;
	}
	*to = '\0';
	while (*folded == ' ' || *folded == '\t')
		folded++;
	while (to > folded && (to[-1] == ' ' || to[-1] == '\t'))
		*--to = '\0';
	return folded;
}

static FeedTransform
transform_named(const char *name)
{
	for (size_t i = 0; i < lengthof(transforms); i++)
	{
		if (strcmp(transforms[i].name, name) == 0)
			return transforms[i].transform;
	}
	elog(ERROR, "unknown transform \"%s\"", name);
}

/* Reads a profile; the caller is connected to SPI, the result is in the current context.  Error 22023 when there is none. */
FeedProfile *
feed_profile_read(const char *name)
{
	MemoryContext caller = CurrentMemoryContext;
	FeedProfile *profile = palloc0(sizeof(FeedProfile));
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {CStringGetTextDatum(name)};

	if (SPI_execute_with_args("SELECT encoding, delimiter, group_target FROM sync.feed_profile WHERE name OPERATOR(pg_catalog.=) $1",
							  1, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read sync.feed_profile");
	MemoryContextSwitchTo(caller);
	if (SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("feed profile \"%s\" does not exist", name),
				 errhint("Set feed_profile of the connection to a name in sync.feed_profile.")));
	profile->name = pstrdup(name);
	profile->encoding = pstrdup(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	profile->delimiter = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2)[0];
	profile->group_target = pstrdup(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3));

	if (SPI_execute_with_args("SELECT header, target, transform, required FROM sync.feed_profile_column "
							  "WHERE profile OPERATOR(pg_catalog.=) $1 ORDER BY id",
							  1, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read sync.feed_profile_column");
	MemoryContextSwitchTo(caller);
	profile->nrules = (int) SPI_processed;
	profile->rules = palloc0(sizeof(FeedRule) * Max(profile->nrules, 1));
	for (int i = 0; i < profile->nrules; i++)
	{
		FeedRule   *rule = &profile->rules[i];
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		size_t		len;

		rule->header = fold_header(SPI_getvalue(row, desc, 1));
		rule->target = pstrdup(SPI_getvalue(row, desc, 2));
		rule->transform = transform_named(SPI_getvalue(row, desc, 3));
		rule->required = SPI_getvalue(row, desc, 4)[0] == 't';
		len = strlen(rule->header);
		rule->wildcard = len > 0 && rule->header[len - 1] == '*';
		if (rule->wildcard)
			rule->header[len - 1] = '\0';
	}
	return profile;
}

/* Order of keys in jsonb: by length, then by bytes. */
int
feed_key_compare(const char *a, int a_len, const char *b, int b_len)
{
	if (a_len != b_len)
		return a_len < b_len ? -1 : 1;
	return memcmp(a, b, a_len);
}

/* Whether a level has this field of its own: what the catalogue has a column for, and the rest of an image. */
static bool
is_field(FeedLevel level, const char *name)
{
	static const char *const fields[FEED_LEVELS][10] = {
		[FEED_PRODUCT] = {"handle", "title", "description", "vendor", "type", "tags", "status"},
		[FEED_VARIANT] = {"sku", "barcode", "mpn", "price", "compare_at_price", "cost", "currency", "weight"},
		[FEED_IMAGE] = {"src", "position", "alt"}
	};

	for (const char *const *field = fields[level]; *field != NULL; field++)
	{
		if (strcmp(*field, name) == 0)
			return true;
	}
	return false;
}

/* Splits a target into level, place and name.  Error 22023 for one that no document has a place for. */
static void
parse_target(FeedSlot *slot, const char *target)
{
	const char *rest = strchr(target, '.') + 1;

	slot->target = target;
	slot->level = strncmp(target, "product.", 8) == 0 ? FEED_PRODUCT :
		strncmp(target, "variant.", 8) == 0 ? FEED_VARIANT : FEED_IMAGE;
	slot->place = FEED_TOP;
	slot->name = rest;
	if (slot->level == FEED_PRODUCT && strncmp(rest, "metafields.", 11) == 0)
	{
		slot->place = FEED_METAFIELDS;
		slot->name = rest + 11;
	}
	else if (slot->level != FEED_IMAGE && strncmp(rest, "attributes.", 11) == 0)
	{
		slot->place = FEED_ATTRIBUTES;
		slot->name = rest + 11;
	}
	else if (slot->level == FEED_VARIANT && strncmp(rest, "options.", 8) == 0 && rest[8] >= '1' && rest[8] <= '0' + FEED_OPTIONS &&
			 (strcmp(rest + 9, ".name") == 0 || strcmp(rest + 9, ".value") == 0))
	{
		slot->place = rest[10] == 'n' ? FEED_OPTION_NAME : FEED_OPTION_VALUE;
		slot->option = rest[8] - '1';
	}
	else if (!is_field(slot->level, rest))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("feed profile has the target \"%s\", which is no field of a product, variant or image", target),
				 errhint("Fields without a name of their own go to product.metafields.*, product.attributes.* or variant.attributes.*, options to variant.options.1.name to variant.options.%d.value.",
						 FEED_OPTIONS)));
	slot->name_len = (int) strlen(slot->name);
}

/* The slot of a target, made when it is new. */
static int
slot_for(FeedProfile *profile, const char *target)
{
	for (int i = 0; i < profile->nslots; i++)
	{
		if (strcmp(profile->slots[i].target, target) == 0)
			return i;
	}
	parse_target(&profile->slots[profile->nslots], target);
	return profile->nslots++;
}

/* Cuts "[type]" off the end of a name; true when the type is a list. */
static bool
cut_type(char *name)
{
	char	   *open = strrchr(name, '[');
	size_t		len = strlen(name);
	bool		list;

	if (open == NULL || open == name || name[len - 1] != ']')
		return false;
	list = pg_strncasecmp(open + 1, "list.", 5) == 0;
	while (open > name && open[-1] == ' ')
		open--;
	*open = '\0';
	return list;
}

/* Finds what a profile says about a header. */
static void
map_column(FeedProfile *profile, FeedColumn *column, const char *header)
{
	char	   *folded = fold_header(header);

	column->header = header;
	column->slot = -1;
	for (int wildcard = 0; wildcard <= 1; wildcard++)
	{
		for (int i = 0; i < profile->nrules; i++)
		{
			const FeedRule *rule = &profile->rules[i];
			size_t		len = strlen(rule->header);
			char	   *ending;
			bool		list;

			if (rule->wildcard != wildcard || (wildcard ? strncmp(folded, rule->header, len) : strcmp(folded, rule->header)) != 0)
				continue;
			column->transform = rule->transform;
			if (!wildcard)
			{
				column->slot = slot_for(profile, rule->target);
				return;
			}
			/* The ending is taken from the header as it is written, for metafields' names have case. */
			ending = pstrdup(header + strspn(header, " \t\"'"));
			if (strlen(ending) <= len || pg_strncasecmp(ending, rule->header, len) != 0)
				continue;
			ending += len;
			ending[strcspn(ending, "\"'")] = '\0';
			list = cut_type(ending);
			if (ending[0] == '\0')
				continue;
			if (list)
				column->transform = FEED_LIST;
			column->slot = slot_for(profile, psprintf("%s%s", rule->target, ending));
			return;
		}
	}
}

static const FeedSlot *sort_slots;

static int
compare_slots(const void *a, const void *b)
{
	const FeedSlot *x = &sort_slots[*(const int *) a];
	const FeedSlot *y = &sort_slots[*(const int *) b];

	return feed_key_compare(x->name, x->name_len, y->name, y->name_len);
}

/* Sorts the slots into the objects of the documents. */
static void
fill_objects(FeedProfile *profile)
{
	for (int level = 0; level < FEED_LEVELS; level++)
	{
		for (int place = 0; place < FEED_NESTED; place++)
		{
			FeedObject *object = &profile->objects[level][place];

			object->slots = palloc(sizeof(int) * Max(profile->nslots, 1));
			for (int i = 0; i < profile->nslots; i++)
			{
				if ((int) profile->slots[i].level == level && (int) profile->slots[i].place == place)
					object->slots[object->nslots++] = i;
			}
			sort_slots = profile->slots;
			qsort(object->slots, object->nslots, sizeof(int), compare_slots);
		}
	}
}

/* The first names of a header, for an error. */
static char *
list_header(char **header, int nheader)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < nheader && i < 20 && list.len < 1000; i++)
		appendStringInfo(&list, "%s\"%.60s\"", i > 0 ? ", " : "", header[i]);
	if (nheader > 20)
		appendStringInfo(&list, " and %d more", nheader - 20);
	return list.data;
}

/* Raises 22023 when the header lacks the SKU or a required column. */
static void
check_required(FeedProfile *profile, char **header, int nheader)
{
	const char *missing = NULL;

	for (int i = 0; i < profile->nrules; i++)
	{
		const FeedRule *rule = &profile->rules[i];
		bool		found = rule->wildcard || !rule->required;

		for (int k = 0; k < profile->nslots && !found; k++)
			found = strcmp(profile->slots[k].target, rule->target) == 0;
		if (!found)
			missing = rule->target;
	}
	if (profile->sku < 0)
		missing = "variant.sku";
	if (missing != NULL)
	{
		StringInfoData names;

		initStringInfo(&names);
		for (int i = 0; i < profile->nrules; i++)
		{
			if (strcmp(profile->rules[i].target, missing) == 0)
				appendStringInfo(&names, "%s\"%s\"", names.len > 0 ? " or " : "", profile->rules[i].header);
		}
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("header of the feed has no column for %s", missing),
				 errdetail("The header has %d columns: %s.", nheader, list_header(header, nheader)),
				 errhint("Feed profile \"%s\" takes it from %s; add the header to sync.feed_profile_column if it has another name now.",
						 profile->name, names.len > 0 ? names.data : "no column")));
	}
}

/* The slot of a target, or -1. */
static int
find_slot(const FeedProfile *profile, const char *target)
{
	for (int i = 0; i < profile->nslots; i++)
	{
		if (strcmp(profile->slots[i].target, target) == 0)
			return i;
	}
	return -1;
}

/* Applies a profile to the names of a feed's columns, which the profile goes on pointing to.  Error 22023 when a column is missing. */
void
feed_profile_apply(FeedProfile *profile, char **header, int nheader)
{
	profile->ncolumns = nheader;
	profile->columns = palloc0(sizeof(FeedColumn) * nheader);
	profile->slots = palloc0(sizeof(FeedSlot) * nheader);
	for (int i = 0; i < nheader; i++)
	{
		map_column(profile, &profile->columns[i], header[i]);
		if (header[i][strspn(header[i], " \t")] != '\0')
			profile->named_columns = i + 1;
	}
	profile->group = find_slot(profile, profile->group_target);
	profile->title = find_slot(profile, "product.title");
	profile->sku = find_slot(profile, "variant.sku");
	for (int i = 0; i < FEED_OPTIONS; i++)
	{
		profile->option_name[i] = find_slot(profile, psprintf("variant.options.%d.name", i + 1));
		profile->option_value[i] = find_slot(profile, psprintf("variant.options.%d.value", i + 1));
	}
	check_required(profile, header, nheader);
	fill_objects(profile);
}
