/*
 * node.c
 *	  Reading what Shopify sent: members of a GraphQL node with their types checked.  See node.h.
 */
#include "shop/node.h"

#include <ctype.h>

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#define SHOWN_BYTES		80		/* of a value in a message */
#define MONEY_DIGITS	10		/* before the point, as many as the catalogue keeps */
#define LONGEST_MONEY	40

/* Reads gid://shopify/KIND/NUMBER, with a query behind it or not.  False where the text is something else. */
bool
shop_gid_parse(const char *text, size_t length, ShopGid *gid)
{
	static const char prefix[] = "gid://shopify/";
	static const char item[] = "?inventory_item_id=";
	const char *end = text + length;
	const char *at = text + sizeof(prefix) - 1;
	size_t		kind = 0;
	int			digits = 0;

	memset(gid, 0, sizeof(*gid));
	if (length < sizeof(prefix) - 1 || memcmp(text, prefix, sizeof(prefix) - 1) != 0)
		return false;
	while (at < end && *at != '/' && kind < SHOP_MAX_KIND - 1)
	{
		if (!isalnum((unsigned char) *at) || IS_HIGHBIT_SET(*at))
			return false;
		gid->kind[kind++] = *at++;
	}
	if (kind == 0 || at >= end || *at++ != '/')
		return false;
	for (; at < end && *at >= '0' && *at <= '9' && digits < 18; digits++)
		gid->number = gid->number * 10 + (*at++ - '0');
	if (gid->number == 0 || (at < end && *at != '?'))
		return false;
	if ((size_t) (end - at) > sizeof(item) - 1 && memcmp(at, item, sizeof(item) - 1) == 0)
	{
		at += sizeof(item) - 1;
		for (digits = 0; at < end && *at >= '0' && *at <= '9' && digits < 18; digits++)
			gid->item = gid->item * 10 + (*at++ - '0');
	}
	return true;
}

/* A value as a message shows it. */
static char *
shown(const JsonbValue *value)
{
	char	   *digits;
	int			length;

	if (value == NULL || value->type == jbvNull)
		return "null";
	if (value->type == jbvNumeric)
	{
		digits = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		return psprintf("%.*s%s", SHOWN_BYTES, digits, strlen(digits) > SHOWN_BYTES ? "..." : "");
	}
	if (value->type == jbvBool)
		return value->val.boolean ? "true" : "false";
	if (value->type != jbvString)
		return value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data) ? "an object" : "a list";
	length = pg_mbcliplen(value->val.string.val, value->val.string.len, SHOWN_BYTES);
	return psprintf("\"%.*s%s\"", length, value->val.string.val, length < value->val.string.len ? "..." : "");
}

/* Notes that a field is not as it should be; false, so that callers can return it. */
bool
node_fault(NodeReader *reader, const char *field, const JsonbValue *value, const char *wanted)
{
	if (reader->error == NULL)
		reader->error = psprintf("%s of %s is %s, which is no %s", field, reader->where, shown(value), wanted);
	return false;
}

/* The member of an object; NULL where there is none, or null. */
JsonbValue *
node_member(JsonbContainer *node, const char *name, JsonbValue *value)
{
	if (node == NULL || !JsonContainerIsObject(node) || getKeyJsonValueFromContainer(node, name, strlen(name), value) == NULL)
		value->type = jbvNull;
	return value->type == jbvNull ? NULL : value;
}

/* Reads a text; value->type is jbvNull where there is none. */
bool
node_text(NodeReader *reader, JsonbContainer *node, const char *name, JsonbValue *value)
{
	return node_member(node, name, value) == NULL || value->type == jbvString || node_fault(reader, name, value, "text");
}

/* Reads an object; NULL where there is none. */
bool
node_object(NodeReader *reader, JsonbContainer *node, const char *name, JsonbContainer **object)
{
	JsonbValue	value;

	*object = NULL;
	if (node_member(node, name, &value) == NULL)
		return true;
	if (value.type != jbvBinary || !JsonContainerIsObject(value.val.binary.data))
		return node_fault(reader, name, &value, "object");
	*object = value.val.binary.data;
	return true;
}

/* Reads a list; NULL where there is none. */
bool
node_list(NodeReader *reader, JsonbContainer *node, const char *name, JsonbContainer **list)
{
	JsonbValue	value;

	*list = NULL;
	if (node_member(node, name, &value) == NULL)
		return true;
	if (value.type != jbvBinary || !JsonContainerIsArray(value.val.binary.data))
		return node_fault(reader, name, &value, "list");
	*list = value.val.binary.data;
	return true;
}

/* Reads a truth value; value->type is jbvNull where there is none. */
bool
node_boolean(NodeReader *reader, JsonbContainer *node, const char *name, JsonbValue *value)
{
	return node_member(node, name, value) == NULL || value->type == jbvBool || node_fault(reader, name, value, "truth value");
}

/* Reads a whole number of 32 bits; says whether there is one. */
bool
node_integer(NodeReader *reader, JsonbContainer *node, const char *name, int32 *number, bool *found)
{
	JsonbValue	value;
	char	   *text;
	char	   *end = NULL;
	long		parsed = 0;

	*found = node_member(node, name, &value) != NULL;
	if (!*found)
		return true;
	if (value.type == jbvNumeric)
	{
		text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value.val.numeric)));
		parsed = strlen(text) <= 11 ? strtol(text, &end, 10) : 0;
	}
	if (end == NULL || *end != '\0' || parsed < PG_INT32_MIN || parsed > PG_INT32_MAX)
		return node_fault(reader, name, &value, "whole number of 32 bits");
	*number = (int32) parsed;
	return true;
}

/* Reads a gid of this kind, or of any where NULL; it must be there. */
bool
node_gid(NodeReader *reader, JsonbContainer *node, const char *name, const char *kind, ShopGid *gid)
{
	JsonbValue	value;

	if (node_member(node, name, &value) == NULL || value.type != jbvString ||
		!shop_gid_parse(value.val.string.val, value.val.string.len, gid) || (kind != NULL && strcmp(gid->kind, kind) != 0))
		return node_fault(reader, name, &value, kind == NULL ? "gid" : psprintf("gid of kind %s", kind));
	return true;
}

/* Reads an amount, which Shopify writes as a text; value is a number without needless zeros, or jbvNull where there is none. */
bool
node_money(NodeReader *reader, JsonbContainer *node, const char *name, JsonbValue *value)
{
	JsonbValue	given;
	char		text[LONGEST_MONEY + 1];
	size_t		length;
	size_t		whole;
	size_t		i;
	Datum		number;

	value->type = jbvNull;
	if (node_member(node, name, &given) == NULL)
		return true;
	if (given.type == jbvString && given.val.string.len <= LONGEST_MONEY)
	{
		memcpy(text, given.val.string.val, given.val.string.len);
		text[given.val.string.len] = '\0';
	}
	else if (given.type == jbvNumeric)
		strlcpy(text, DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(given.val.numeric))), sizeof(text));
	else
		return node_fault(reader, name, &given, "amount");
	length = given.type == jbvString ? (size_t) given.val.string.len : strlen(text);
	whole = strspn(text, "0123456789");
	i = whole;
	if (i < length && text[i] == '.')
		i += 1 + strspn(text + i + 1, "0123456789");
	if (whole == 0 || i != length || i == whole + 1 || whole - strspn(text, "0") > MONEY_DIGITS)
		return node_fault(reader, name, &given, "amount of at most 10 digits before the point");
	number = DirectFunctionCall3(numeric_in, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	value->type = jbvNumeric;
	value->val.numeric = DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale, number));
	return true;
}

/* So many digits at *at, which moves behind them; -1 where there are others. */
static int
digits_at(const char **at, const char *end, int count)
{
	int			number = 0;

	for (; count > 0; count--, (*at)++)
	{
		if (*at >= end || **at < '0' || **at > '9')
			return -1;
		number = number * 10 + (**at - '0');
	}
	return number;
}

static bool
skip(const char **at, const char *end, char c)
{
	if (*at >= end || **at != c)
		return false;
	(*at)++;
	return true;
}

/* Whether a text is a time that PostgreSQL can read: 2026-10-01T12:00:00Z, or with a fraction or an offset. */
static bool
is_time(const char *text, size_t length)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	const char *end = text + length;
	const char *at = text;
	int			year = digits_at(&at, end, 4);
	int			month = skip(&at, end, '-') ? digits_at(&at, end, 2) : -1;
	int			day = skip(&at, end, '-') ? digits_at(&at, end, 2) : -1;
	int			hour = skip(&at, end, 'T') ? digits_at(&at, end, 2) : -1;
	int			minute = skip(&at, end, ':') ? digits_at(&at, end, 2) : -1;
	int			second = skip(&at, end, ':') ? digits_at(&at, end, 2) : -1;
	bool		leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	if (year < 1 || month < 1 || month > 12 || day < 1 || day > days[month - 1] + (month == 2 && leap) || hour < 0 || hour > 23 ||
		minute < 0 || minute > 59 || second < 0 || second > 59)
		return false;
	if (skip(&at, end, '.'))
	{
		int			fraction = 0;

		while (at < end && *at >= '0' && *at <= '9' && fraction++ < 9)
			at++;
		if (fraction == 0)
			return false;
	}
	if (skip(&at, end, 'Z'))
		return at == end;
	if (!skip(&at, end, '+') && !skip(&at, end, '-'))
		return false;
	hour = digits_at(&at, end, 2);
	skip(&at, end, ':');
	minute = digits_at(&at, end, 2);
	return at == end && hour >= 0 && hour <= 14 && minute >= 0 && minute <= 59;
}

/* Reads a time; value->type is jbvNull where there is none. */
bool
node_time(NodeReader *reader, JsonbContainer *node, const char *name, JsonbValue *value)
{
	if (node_member(node, name, value) == NULL || (value->type == jbvString && is_time(value->val.string.val, value->val.string.len)))
		return true;
	return node_fault(reader, name, value, "time");
}

JsonbContainer *
node_element(JsonbContainer *list, uint32 i)
{
	JsonbValue *value = getIthJsonbValueFromContainer(list, i);

	return value != NULL && value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data) ? value->val.binary.data : NULL;
}

/*
 * Errors of the parser that are about the text are caught without a subtransaction, which would cost more than the parsing: it takes
 * nothing but memory, so there is nothing to be undone.
 */
Jsonb *
shop_json_parse(const char *text, int length, char **message)
{
	MemoryContext caller = CurrentMemoryContext;
	Jsonb	   *volatile result = NULL;

	*message = NULL;
	if (memchr(text, '\0', length) != NULL)
	{
		*message = "a NUL byte in it";
		return NULL;
	}
	PG_TRY();
	{
		char	   *server = pg_any_to_server(text, length, PG_UTF8);

		if (server == text)
			server = pnstrdup(text, length);
		result = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(server)));
		pfree(server);
	}
	PG_CATCH();
	{
		ErrorData  *error;
		int			category;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		category = ERRCODE_TO_CATEGORY(error->sqlerrcode);
		if (category != ERRCODE_DATA_EXCEPTION && category != ERRCODE_PROGRAM_LIMIT_EXCEEDED)
			PG_RE_THROW();
		FlushErrorState();
		*message = error->detail == NULL ? error->message : psprintf("%s: %s", error->message, error->detail);
	}
	PG_END_TRY();
	return result;
}

void
node_push_key(JsonbParseState **state, const char *name, int length)
{
	JsonbValue	key;

	key.type = jbvString;
	key.val.string.val = (char *) name;
	key.val.string.len = length;
	pushJsonbValue(state, WJB_KEY, &key);
}

void
node_push_value(JsonbParseState **state, const char *name, JsonbValue *value)
{
	node_push_key(state, name, strlen(name));
	pushJsonbValue(state, WJB_VALUE, value);
}

/* Adds a value unless it is nothing. */
void
node_push_filled(JsonbParseState **state, const char *name, JsonbValue *value)
{
	if (value->type != jbvNull && (value->type != jbvString || value->val.string.len > 0))
		node_push_value(state, name, value);
}

void
node_push_number(JsonbParseState **state, const char *name, int64 number)
{
	JsonbValue	value;

	value.type = jbvNumeric;
	value.val.numeric = int64_to_numeric(number);
	node_push_value(state, name, &value);
}
