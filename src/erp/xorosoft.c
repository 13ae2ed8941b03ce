/*
 * xorosoft.c
 *	  Reader for the answers of Xorosoft, the ERP.  See xorosoft.h.
 *
 * An answer is parsed into jansson's tree, classified, and then read row by row along a shape: a table that says for each column
 * under which keys the ERP gives it and what kind of value it is.  Values are copied into the row's own fixed buffer, so reading
 * rows allocates nothing but the small tree of DETAILS, freed at once.
 *
 * Everything is taken as it comes: a number where a string is expected and the reverse, "" for null, rows that are no objects.  An
 * answer that jansson refuses for bad bytes (UTF-8, control characters, halves of surrogate pairs) is repaired and read again,
 * because one broken title should not hide the other 99 items of a page.
 */
#include "erp/xorosoft.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "erp/utf8.h"

/* Numbers beyond this are not prices or quantities. */
#define NUMBER_LIMIT 1e15

const XorosoftShape xorosoft_item_shape = {
	"item", 15,
	{
		{XOROSOFT_CODE, 64, false, {"Id", "ItemId"}},
		{XOROSOFT_CODE, 200, true, {"ItemNumber"}},
		{XOROSOFT_CODE, 200, false, {"BasePartNumber"}},
		{XOROSOFT_TEXT, 1000, false, {"Title", "ItemDescription", "Description"}},
		{XOROSOFT_CODE, 64, false, {"ItemUpc"}},
		{XOROSOFT_CODE, 64, false, {"ItemBarcode"}},
		{XOROSOFT_CODE, 64, false, {"ItemGtin"}},
		{XOROSOFT_TEXT, 200, false, {"BrandName", "Manufacturer"}},
		{XOROSOFT_CODE, 200, false, {"VendorPartNumber"}},
		{XOROSOFT_BOOLEAN, 1, false, {"ActiveFlag"}},
		{XOROSOFT_BOOLEAN, 1, false, {"IsSellableFlag"}},
		{XOROSOFT_NUMBER, 48, false, {"StandardUnitPrice"}},
		{XOROSOFT_NUMBER, 48, false, {"StandardUnitCost"}},
		{XOROSOFT_TIME, 32, false, {"ModifyDttm", "CreateDttm"}},
		{XOROSOFT_DETAILS, 8192, false,
		{"ReOrderPointQty", "ItemTypeName", "OldItemNumber", "AlternativeItemNumber1", "AlternativeItemNumber2",
		"AlternativeItemNumber3"}}
	}
};

const XorosoftShape xorosoft_stock_shape = {
	"stock", 6,
	{
		{XOROSOFT_CODE, 200, true, {"ItemNumber"}},
		{XOROSOFT_CODE, 200, true, {"StoreName", "StoreId"}},
		{XOROSOFT_NUMBER, 48, true, {"OnHandQty"}},
		{XOROSOFT_NUMBER, 48, false, {"AvailableQty"}},
		{XOROSOFT_NUMBER, 48, false, {"AllocatedQty"}},
		{XOROSOFT_NUMBER, 48, false, {"QtyOnPO"}}
	}
};

/* The word for a status that SQL sees. */
const char *
xorosoft_status_name(XorosoftStatus status)
{
	switch (status)
	{
		case XOROSOFT_OK:
			return "ok";
		case XOROSOFT_REFUSED:
			return "refused";
		case XOROSOFT_SERVER_ERROR:
			return "server_error";
		case XOROSOFT_NOT_ENVELOPE:
			return "not_envelope";
		case XOROSOFT_NOT_JSON:
			return "not_json";
		case XOROSOFT_NO_MEMORY:
			break;
	}
	return "no_memory";
}

/*
 * Parses a body, repairing it where that helps.  NULL with a message in page where it is no JSON; page->status is then
 * XOROSOFT_NO_MEMORY or XOROSOFT_NOT_JSON.
 */
static json_t *
parse_body(const char *body, size_t len, XorosoftPage *page)
{
	json_error_t error;
	json_t	   *root;
	char	   *copy;

	page->status = XOROSOFT_NOT_JSON;
	root = json_loadb(body, len, JSON_ALLOW_NUL, &error);
	/* An integer beyond 64 bits is a number like any other, only not a precise one. */
	if (root == NULL && json_error_code(&error) == json_error_numeric_overflow)
		root = json_loadb(body, len, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
	if (root != NULL)
		return root;

	if (json_error_code(&error) == json_error_invalid_utf8 || json_error_code(&error) == json_error_invalid_syntax)
	{
		copy = malloc(len);
		if (copy == NULL)
		{
			page->status = XOROSOFT_NO_MEMORY;
			return NULL;
		}
		memcpy(copy, body, len);
		utf8_repair_json(copy, len);
		root = json_loadb(copy, len, JSON_ALLOW_NUL, NULL);
		free(copy);
		if (root != NULL)
		{
			page->repaired = true;
			return root;
		}
	}
	if (json_error_code(&error) == json_error_out_of_memory)
		page->status = XOROSOFT_NO_MEMORY;
	snprintf(page->message, sizeof(page->message), "invalid JSON at line %d, column %d: %s",
			 error.line, error.column, error.text);
	return NULL;
}

/* Copies printable text into a small buffer, cut at the end of a character; anything else becomes a space. */
static void
copy_message(char *to, size_t size, const char *from, size_t len)
{
	size_t		used = 0;
	size_t		i = 0;

	while (i < len)
	{
		size_t		n = utf8_length((const unsigned char *) from + i, len - i);

		if (n == 0)
			n = 1;
		if (used + n >= size)
			break;
		if (n == 1 && ((unsigned char) from[i] < 0x20 || (unsigned char) from[i] >= 0x7F))
			to[used++] = ' ';
		else
		{
			memcpy(to + used, from + i, n);
			used += n;
		}
		i += n;
	}
	to[used] = '\0';
}

/* A whole number from 0 to 10,000,000 as an integer or in a string; -1 otherwise. */
static int
page_number(const json_t *value)
{
	double		number = -1;

	if (json_is_number(value))
		number = json_number_value(value);
	else if (json_is_string(value) && json_string_length(value) > 0 && json_string_length(value) < 9 &&
			 strspn(json_string_value(value), "0123456789") == json_string_length(value))
		number = atoi(json_string_value(value));
	if (!(number >= 0 && number <= 10000000) || number != floor(number))
		return -1;
	return (int) number;
}

/* What the ERP means by a flag: 1, 0, or -1 where it says nothing that can be understood. */
static int
flag_value(const json_t *value)
{
	static const char *const yes[] = {"true", "t", "yes", "y", "1"};
	static const char *const no[] = {"false", "f", "no", "n", "0"};

	if (json_is_boolean(value))
		return json_is_true(value);
	if (json_is_number(value))
		return json_number_value(value) == 1 ? 1 : json_number_value(value) == 0 ? 0 : -1;
	if (json_is_string(value))
	{
		for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		{
			if (strcasecmp(json_string_value(value), yes[i]) == 0)
				return 1;
			if (strcasecmp(json_string_value(value), no[i]) == 0)
				return 0;
		}
	}
	return -1;
}

/* Takes Message, or a text in place of it, into the page. */
static void
take_message(XorosoftPage *page, const json_t *message)
{
	if (json_is_string(message))
		copy_message(page->message, sizeof(page->message), json_string_value(message), json_string_length(message));
}

/* Tells what kind of answer a JSON document is, and finds its rows. */
static void
classify(XorosoftPage *page)
{
	json_t	   *result = json_object_get(page->root, "Result");
	json_t	   *data = json_object_get(page->root, "Data");
	json_t	   *message = json_object_get(page->root, "Message");

	if (!json_is_object(page->root))
	{
		page->status = XOROSOFT_NOT_ENVELOPE;
		snprintf(page->message, sizeof(page->message), "the answer is no JSON object");
		return;
	}
	take_message(page, message);
	if (result == NULL && data == NULL)
	{
		page->status = json_is_string(message) ? XOROSOFT_SERVER_ERROR : XOROSOFT_NOT_ENVELOPE;
		if (page->status == XOROSOFT_NOT_ENVELOPE)
			snprintf(page->message, sizeof(page->message), "the answer has neither Result nor Data");
		return;
	}
	page->status = result != NULL && !json_is_null(result) && flag_value(result) != 1 ? XOROSOFT_REFUSED : XOROSOFT_OK;
	page->page = page_number(json_object_get(page->root, "Page"));
	page->total_pages = page_number(json_object_get(page->root, "TotalPages"));
	if (json_is_array(data))
		page->rows = (long) json_array_size(data);
	else if (json_is_object(data))
		page->rows = json_object_size(data) == 0 ? 0 : 1;
	else if (data != NULL && !json_is_null(data) && page->status == XOROSOFT_OK)
	{
		page->status = XOROSOFT_NOT_ENVELOPE;
		snprintf(page->message, sizeof(page->message), "Data is neither a list nor an object");
	}
	page->data = data;
}

/* Reads an answer.  Never fails otherwise than through page->status; always to be freed. */
void
xorosoft_page_read(const char *body, size_t len, XorosoftPage *page)
{
	memset(page, 0, sizeof(*page));
	page->page = page->total_pages = -1;
	page->rows = -1;
	if (len >= 3 && memcmp(body, "\xEF\xBB\xBF", 3) == 0)
	{
		body += 3;
		len -= 3;
	}
	if (len == 0)
	{
		page->status = XOROSOFT_NOT_JSON;
		snprintf(page->message, sizeof(page->message), "the answer is empty");
		return;
	}
	page->root = parse_body(body, len, page);
	if (page->root != NULL)
		classify(page);
}

/* Gives back what a page holds; may be called twice. */
void
xorosoft_page_free(XorosoftPage *page)
{
	json_decref(page->root);
	page->root = page->data = NULL;
}

/*
 * Copies text without outer spaces, without NUL, control characters as spaces, at most cap bytes and whole characters.  Returns its
 * place in the row, NULL where nothing is left, and says whether it had to be cut.
 */
static const char *
keep_text(XorosoftRow *row, const char *text, size_t len, size_t cap, bool *cut)
{
	char	   *out = row->buffer + row->used;
	size_t		used = 0;

	*cut = false;
	while (len > 0 && (unsigned char) text[len - 1] <= ' ')
		len--;
	while (len > 0 && (unsigned char) text[0] <= ' ')
	{
		text++;
		len--;
	}
	for (size_t i = 0; i < len;)
	{
		size_t		n = utf8_length((const unsigned char *) text + i, len - i);

		if (n == 0)				/* cannot be: jansson gives valid UTF-8 */
			n = 1;
		if (used + n > cap || row->used + used + n >= sizeof(row->buffer))
		{
			*cut = true;
			break;
		}
		if (n > 1 || text[i] != '\0')
		{
			memcpy(out + used, text + i, n);
			if (n == 1 && ((unsigned char) out[used] < 0x20 || out[used] == 0x7F))
				out[used] = ' ';
			used += n;
		}
		i += n;
	}
	while (used > 0 && out[used - 1] == ' ')
		used--;
	if (used == 0)
		return NULL;
	out[used] = '\0';
	row->used += used + 1;
	return out;
}

/* Writes a number as SQL reads it; false where it is none, or beyond all reason. */
static bool
format_number(const json_t *value, char *out, size_t size)
{
	const char *text;
	size_t		len;
	size_t		digits;
	size_t		i = 0;

	if (json_is_integer(value) && fabs((double) json_integer_value(value)) < NUMBER_LIMIT)
		return snprintf(out, size, "%lld", (long long) json_integer_value(value)) > 0;
	if (json_is_real(value) && fabs(json_real_value(value)) < NUMBER_LIMIT)
		return snprintf(out, size, "%.15g", json_real_value(value)) > 0;
	if (!json_is_string(value))
		return false;

	/* [-+]digits[.digits] between spaces: a string with anything else in it may mean anything. */
	text = json_string_value(value);
	len = json_string_length(value);
	while (len > 0 && text[len - 1] == ' ')
		len--;
	while (len > 0 && *text == ' ')
		text++, len--;
	if (len > 0 && (text[0] == '-' || text[0] == '+'))
		i++;
	digits = strspn(text + i, "0123456789");
	if (digits == 0 || digits > 15)
		return false;
	i += digits;
	if (i < len && text[i] == '.')
		i += 1 + strspn(text + i + 1, "0123456789");
	if (i != len || len >= size)
		return false;
	memcpy(out, text, len);
	out[len] = '\0';
	return true;
}

/* Whether a date is in the calendar. */
static bool
date_is_valid(int year, int month, int day)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool		leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return month >= 1 && month <= 12 && day >= 1 && day <= days[month - 1] + (month == 2 && leap);
}

/*
 * Writes a time as SQL reads it.  Takes "MM/DD/YYYY[ hh:mm[:ss][ AM]]" and ISO 8601 without zone, or with a Z.  False for anything
 * else and for the ERP's sentinel of "never", 01/01/0001.
 */
static bool
format_time(const json_t *value, char *out, size_t size)
{
	const char *text = json_string_value(value);
	int			year, month, day;
	int			hour = 0, minute = 0, second = 0;
	int			n = 0, m = 0;
	char		half[3] = "";

	if (text == NULL || json_string_length(value) > 40 || strlen(text) != json_string_length(value))
		return false;
	while (*text == ' ')
		text++;
	if (sscanf(text, "%2d/%2d/%4d%n", &month, &day, &year, &n) != 3 &&
		sscanf(text, "%4d-%2d-%2d%n", &year, &month, &day, &n) != 3)
		return false;
	text += n;
	if (*text == 'T' || *text == ' ')
	{
		text++;
		if (sscanf(text, "%2d:%2d%n", &hour, &minute, &n) != 2)
			return false;
		text += n;
		if (sscanf(text, ":%2d%n", &second, &m) == 1)
			text += m;
		if (*text == '.')
			text += 1 + strspn(text + 1, "0123456789");
		while (*text == ' ')
			text++;
		if (strncasecmp(text, "am", 2) == 0 || strncasecmp(text, "pm", 2) == 0)
		{
			memcpy(half, text, 2);
			text += 2;
		}
		else if (*text == 'Z')
			text++;
	}
	if (*text != '\0' || year <= 1900 || !date_is_valid(year, month, day))
		return false;
	if (half[0] != '\0')
	{
		if (hour < 1 || hour > 12)
			return false;
		hour = hour % 12 + ((half[0] | 0x20) == 'p' ? 12 : 0);
	}
	if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59)
		return false;
	return snprintf(out, size, "%04d-%02d-%02d %02d:%02d:%02d+00", year, month, day, hour, minute, second) > 0;
}

/* Keeps one value of kind CODE or TEXT; NULL where there is none, or where a code is too long to be kept whole. */
static const char *
keep_string(XorosoftRow *row, const XorosoftColumn *column, const json_t *value, bool *too_long)
{
	char		number[48];
	size_t		before = row->used;
	const char *text;
	bool		cut = false;

	if (json_is_string(value))
		text = keep_text(row, json_string_value(value), json_string_length(value), column->cap, &cut);
	else if (format_number(value, number, sizeof(number)))
		text = keep_text(row, number, strlen(number), column->cap, &cut);
	else
		return NULL;
	if (cut && column->kind == XOROSOFT_CODE)
	{
		row->used = before;
		*too_long = true;
		return NULL;
	}
	return text;
}

/* Gathers a column's keys into one JSON object, kept in the row; NULL where there is no room. */
static const char *
keep_details(XorosoftRow *row, const XorosoftColumn *column, const json_t *object)
{
	static const XorosoftColumn part = {XOROSOFT_CODE, 200, false, {NULL}};
	size_t		before = row->used;
	json_t	   *details = json_loadb("{}", 2, 0, NULL);	/* not json_object(): PostgreSQL has a function of that name */
	size_t		size;
	bool		too_long = false;

	for (int k = 0; details != NULL && k < XOROSOFT_MAX_KEYS && column->keys[k] != NULL; k++)
	{
		json_t	   *value = json_object_get(object, column->keys[k]);
		const char *text;

		if (json_is_number(value) && fabs(json_number_value(value)) < NUMBER_LIMIT)
			json_object_set(details, column->keys[k], value);
		else if ((text = keep_string(row, &part, value, &too_long)) != NULL)
			json_object_set_new(details, column->keys[k], json_string(text));
	}
	row->used = before;			/* the parts were only passing through */
	if (details == NULL)
		return NULL;
	size = json_dumpb(details, row->buffer + before, sizeof(row->buffer) - before - 1,
					  JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(15));
	json_decref(details);
	if (size == 0 || size > column->cap || size > sizeof(row->buffer) - before - 1)
		return NULL;
	row->buffer[before + size] = '\0';
	row->used += size + 1;
	return row->buffer + before;
}

/* Reads one column of a row: the first of its keys that has a value of its kind. */
static const char *
read_column(XorosoftRow *row, const XorosoftColumn *column, const json_t *object, bool *too_long)
{
	char		text[48];
	bool		cut;

	if (column->kind == XOROSOFT_DETAILS)
		return keep_details(row, column, object);
	for (int k = 0; k < XOROSOFT_MAX_KEYS && column->keys[k] != NULL; k++)
	{
		const json_t *value = json_object_get(object, column->keys[k]);
		const char *kept = NULL;

		switch (column->kind)
		{
			case XOROSOFT_CODE:
			case XOROSOFT_TEXT:
				kept = keep_string(row, column, value, too_long);
				break;
			case XOROSOFT_BOOLEAN:
				if (flag_value(value) >= 0)
					kept = flag_value(value) ? "t" : "f";
				break;
			case XOROSOFT_NUMBER:
				if (format_number(value, text, sizeof(text)))
					kept = keep_text(row, text, strlen(text), column->cap, &cut);
				break;
			case XOROSOFT_TIME:
				if (format_time(value, text, sizeof(text)))
					kept = keep_text(row, text, strlen(text), column->cap, &cut);
				break;
			case XOROSOFT_DETAILS:
				break;
		}
		if (kept != NULL)
			return kept;
	}
	return NULL;
}

/* Reads row index (from 0) of a page.  False when it cannot be used; row->error says why. */
bool
xorosoft_row_read(const XorosoftPage *page, const XorosoftShape *shape, long index, XorosoftRow *row)
{
	const json_t *object = json_is_array(page->data) ? json_array_get(page->data, (size_t) index) : page->data;

	memset(row->value, 0, sizeof(row->value));
	row->error[0] = '\0';
	row->used = 0;
	if (!json_is_object(object))
	{
		snprintf(row->error, sizeof(row->error), "the %s is no JSON object", shape->name);
		return false;
	}
	for (int c = 0; c < shape->ncolumns; c++)
	{
		const XorosoftColumn *column = &shape->columns[c];
		bool		too_long = false;

		row->value[c] = read_column(row, column, object, &too_long);
		if (row->value[c] == NULL && column->required && row->error[0] == '\0')
		{
			if (too_long)
				snprintf(row->error, sizeof(row->error), "%s is longer than %zu bytes", column->keys[0], column->cap);
			else
				snprintf(row->error, sizeof(row->error), "%s is missing or has no usable value", column->keys[0]);
		}
	}
	return row->error[0] == '\0';
}
