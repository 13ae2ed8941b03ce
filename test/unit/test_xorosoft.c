/*
 * test_xorosoft.c
 *	  The reader of Xorosoft's answers on a table of odd bodies.  Prints TAP.
 *	  cc -Isrc test/unit/test_xorosoft.c src/erp/xorosoft.c src/erp/utf8.c -ljansson
 *
 * Expected output: status, [page/total pages/rows] with - for missing, ~ where the body was repaired; then for each row its values
 * with | between, those that are missing left out as nothing, or ! and its error.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "erp/xorosoft.h"

typedef struct Case
{
	const char *name;
	const XorosoftShape *shape;
	const char *body;
	size_t		len;
	const char *output;
} Case;

#define ITEM(name, body, output) {name, &xorosoft_item_shape, body, sizeof(body) - 1, output}
#define STOCK(name, body, output) {name, &xorosoft_stock_shape, body, sizeof(body) - 1, output}
#define ONE(name, fields, output) ITEM(name, "{\"Result\":true,\"Data\":[{" fields "}]}", "ok [-/-/1]" output)

static const Case cases[] = {
	ITEM("a page of two", "{\"Result\":true,\"Message\":\"\",\"Data\":[{\"Id\":7,\"ItemNumber\":\"A-1\"},{\"Id\":\"8\",\"ItemNumber\":\"B\"}],"
		 "\"Page\":1,\"TotalPages\":84}", "ok [1/84/2] 7|A-1|||||||||||||{} 8|B|||||||||||||{}"),
	ITEM("page numbers in strings", "{\"Result\":\"true\",\"Data\":[],\"Page\":\"2\",\"TotalPages\":\"3\"}", "ok [2/3/0]"),
	ITEM("page numbers that are none", "{\"Result\":1,\"Data\":[],\"Page\":-1,\"TotalPages\":1e300}", "ok [-/-/0]"),
	ITEM("no page numbers, Data null", "{\"Result\":true,\"Data\":null}", "ok [-/-/-]"),
	ITEM("rows without Result", "{\"Data\":[{\"ItemNumber\":\"A\"}]}", "ok [-/-/1] |A|||||||||||||{}"),
	ITEM("one row that is no list", "{\"Result\":true,\"Data\":{\"ItemNumber\":\"A\"}}", "ok [-/-/1] |A|||||||||||||{}"),
	ITEM("byte order mark", "\xef\xbb\xbf{\"Result\":true,\"Data\":[]}", "ok [-/-/0]"),
	ITEM("refused", "{\"Result\":false,\"Message\":\"Slow down\",\"Data\":[]}", "refused (Slow down) [-/-/0]"),
	ITEM("refused without Data", "{\"Result\":false,\"Message\":null}", "refused [-/-/-]"),
	ITEM("Result that is no flag", "{\"Result\":\"perhaps\",\"Data\":[]}", "refused [-/-/0]"),
	ITEM("error without an envelope", "{\"Message\":\"An error has occurred.\"}", "server_error (An error has occurred.) [-/-/-]"),
	ITEM("message with line ends", "{\"Message\":\"a\\nb\\u0000c\"}", "server_error (a b c) [-/-/-]"),
	ITEM("nothing", "", "not_json (the answer is empty) [-/-/-]"),
	ITEM("nothing but a byte order mark", "\xef\xbb\xbf", "not_json (the answer is empty) [-/-/-]"),
	ITEM("a web page", "<html>Sign in</html>", "not_json (invalid JSON at line 1, column 1: '[' or '{' expected near '<') [-/-/-]"),
	ITEM("cut off", "{\"Result\":true,\"Data\":[{\"ItemN", "not_json (invalid JSON at line 1, column 30: premature end of input near '\"ItemN') [-/-/-]"),
	ITEM("a list", "[1,2]", "not_envelope (the answer is no JSON object) [-/-/-]"),
	ITEM("an object of another kind", "{\"data\":[]}", "not_envelope (the answer has neither Result nor Data) [-/-/-]"),
	ITEM("Data of another kind", "{\"Result\":true,\"Data\":\"none\"}", "not_envelope (Data is neither a list nor an object) [-/-/-]"),
	ITEM("rows of other kinds", "{\"Result\":true,\"Data\":[null,5,\"x\",[],{}]}", "ok [-/-/5] !the item is no JSON object !the item is no JSON object"
		 " !the item is no JSON object !the item is no JSON object !ItemNumber is missing or has no usable value"),
	ITEM("bytes that are no UTF-8", "{\"Result\":true,\"Data\":[{\"ItemNumber\":\"A\",\"Title\":\"5\xb0 \xc3\xa9\"}]}",
		 "ok~ [-/-/1] |A||5? \xc3\xa9|||||||||||{}"),
	ITEM("control characters", "{\"Result\":true,\"Data\":[{\"ItemNumber\":\"A\",\"Title\":\"a\tb\0c\"}]}", "ok~ [-/-/1] |A||a b c|||||||||||{}"),
	ITEM("half of a surrogate pair", "{\"Result\":true,\"Data\":[{\"ItemNumber\":\"A\",\"Title\":\"a\\ud83d\"},"
		 "{\"ItemNumber\":\"B\",\"Title\":\"\\\\ud83d \\ud83d\\ude00 \\udc00x\"}]}",
		 "ok~ [-/-/2] |A||a\xef\xbf\xbd|||||||||||{} |B||\\ud83d \xf0\x9f\x98\x80 \xef\xbf\xbdx|||||||||||{}"),
	ITEM("a number beyond 64 bits", "{\"Result\":true,\"Data\":[{\"ItemNumber\":\"A\",\"StandardUnitPrice\":99999999999999999999,\"Id\":3}]}",
		 "ok [-/-/1] 3|A|||||||||||||{}"),
	ITEM("a number beyond all numbers", "{\"Result\":true,\"Data\":[{\"StandardUnitPrice\":1e999}]}",
		 "not_json (invalid JSON at line 1, column 49: real number overflow near '1e999') [-/-/-]"),

	ONE("all of an item", "\"Id\":1,\"ItemNumber\":\" A-1 \",\"BasePartNumber\":\"A\",\"Title\":\"Pen\",\"ItemUpc\":\"036000291452\",\"ItemBarcode\":36000291452,"
		"\"ItemGtin\":\"00036000291452\",\"BrandName\":\"\",\"Manufacturer\":\"Acme\",\"VendorPartNumber\":\"V/1\",\"ActiveFlag\":true,"
		"\"IsSellableFlag\":\"N\",\"StandardUnitPrice\":12.34,\"StandardUnitCost\":\"1.10\",\"ModifyDttm\":\"04/23/2025 03:10:05 PM\","
		"\"ReOrderPointQty\":10.5,\"ItemTypeName\":\"Inventory\",\"OldItemNumber\":\"\",\"AlternativeItemNumber2\":\"alt\"",
		" 1|A-1|A|Pen|036000291452|36000291452|00036000291452|Acme|V/1|t|f|12.34|1.10|2025-04-23 15:10:05+00|"
		"{\"AlternativeItemNumber2\":\"alt\",\"ItemTypeName\":\"Inventory\",\"ReOrderPointQty\":10.5}"),
	ONE("a number for a name", "\"ItemNumber\":1042.0", " |1042|||||||||||||{}"),
	ONE("empties", "\"ItemNumber\":\"A\",\"Title\":\"  \",\"ItemUpc\":null,\"ActiveFlag\":\"\",\"StandardUnitPrice\":\"\",\"ModifyDttm\":\"\"", " |A|||||||||||||{}"),
	ONE("wrong types", "\"ItemNumber\":\"A\",\"Title\":{},\"ItemUpc\":[],\"ActiveFlag\":2,\"StandardUnitPrice\":true,\"StandardUnitCost\":\"12,50\","
		"\"ModifyDttm\":5,\"OldItemNumber\":{\"a\":1}", " |A|||||||||||||{}"),
	ONE("numbers in strings", "\"ItemNumber\":\"A\",\"StandardUnitPrice\":\" -12.50 \",\"StandardUnitCost\":\"1e400\"", " |A||||||||||-12.50|||{}"),
	ONE("NUL in strings", "\"ItemNumber\":\"A\\u0000B\",\"OldItemNumber\":\"x\\u0000\"", " |AB|||||||||||||{\"OldItemNumber\":\"x\"}"),
	ONE("an item number of nothing but NUL", "\"ItemNumber\":\"\\u0000\"", " !ItemNumber is missing or has no usable value"),
	ONE("the sentinel of never", "\"ItemNumber\":\"A\",\"ModifyDttm\":\"01/01/0001 12:00:00 AM\"", " |A|||||||||||||{}"),
	ONE("the sentinel, then a time", "\"ItemNumber\":\"A\",\"ModifyDttm\":\"01/01/0001\",\"CreateDttm\":\"12/31/2024 12:30:00 AM\"",
		" |A||||||||||||2024-12-31 00:30:00+00|{}"),
	ONE("noon", "\"ItemNumber\":\"A\",\"ModifyDttm\":\"2/29/2024 12:00 PM\"", " |A||||||||||||2024-02-29 12:00:00+00|{}"),
	ONE("a date alone", "\"ItemNumber\":\"A\",\"ModifyDttm\":\"02/03/2024\"", " |A||||||||||||2024-02-03 00:00:00+00|{}"),
	ONE("ISO 8601", "\"ItemNumber\":\"A\",\"ModifyDttm\":\"2024-02-03T23:59:58.123Z\"", " |A||||||||||||2024-02-03 23:59:58+00|{}"),
	ONE("no day", "\"ItemNumber\":\"A\",\"ModifyDttm\":\"02/30/2024 03:10:05 PM\"", " |A|||||||||||||{}"),
	ONE("no hour", "\"ItemNumber\":\"A\",\"ModifyDttm\":\"02/03/2024 13:10:05 PM\"", " |A|||||||||||||{}"),
	ONE("something behind a time", "\"ItemNumber\":\"A\",\"ModifyDttm\":\"02/03/2024 01:10:05 PM; DROP\"", " |A|||||||||||||{}"),
	ONE("NUL in a time", "\"ItemNumber\":\"A\",\"ModifyDttm\":\"02/03/2024\\u0000 01:10:05 PM\"", " |A|||||||||||||{}"),

	STOCK("stock", "{\"Result\":true,\"Data\":[{\"ItemNumber\":\"A\",\"StoreName\":\"Main\",\"OnHandQty\":0.0,\"AvailableQty\":-2,\"QtyOnPO\":\"5\"},"
		  "{\"ItemNumber\":\"A\",\"StoreId\":3,\"OnHandQty\":1.25},{\"ItemNumber\":\"A\",\"StoreName\":\"Main\",\"OnHandQty\":null},{\"ItemNumber\":\"A\",\"OnHandQty\":1}]}",
		  "ok [-/-/4] A|Main|0|-2||5 A|3|1.25||| !OnHandQty is missing or has no usable value !StoreName is missing or has no usable value"),
};

static int	tests;
static int	failures;

static void
report(const char *name, const char *got, const char *expected)
{
	int			ok = strcmp(got, expected) == 0;

	failures += !ok;
	printf("%sok %d - %s\n", ok ? "" : "not ", ++tests, name);
	if (!ok)
		printf("# got:      %s\n# expected: %s\n", got, expected);
}

/* What a body reads as, in the notation of the head of this file. */
static void
read_body(const char *body, size_t len, const XorosoftShape *shape, char *out, size_t size)
{
	static XorosoftRow row;
	XorosoftPage page;
	size_t		used;
	char	   *copy = malloc(len ? len : 1);	/* of just that length, so that reading past its end is seen */

	memcpy(copy, body, len);
	xorosoft_page_read(copy, len, &page);
	free(copy);
	used = snprintf(out, size, "%s%s", xorosoft_status_name(page.status), page.repaired ? "~" : "");
	if (page.message[0] != '\0')
		used += snprintf(out + used, size - used, " (%s)", page.message);
	used += snprintf(out + used, size - used, " [");
	used += page.page < 0 ? snprintf(out + used, size - used, "-/") : snprintf(out + used, size - used, "%d/", page.page);
	used += page.total_pages < 0 ? snprintf(out + used, size - used, "-/") : snprintf(out + used, size - used, "%d/", page.total_pages);
	used += page.rows < 0 ? snprintf(out + used, size - used, "-]") : snprintf(out + used, size - used, "%ld]", page.rows);
	for (long i = 0; i < page.rows && used < size; i++)
	{
		if (!xorosoft_row_read(&page, shape, i, &row))
		{
			used += snprintf(out + used, size - used, " !%s", row.error);
			continue;
		}
		for (int c = 0; c < shape->ncolumns && used < size; c++)
			used += snprintf(out + used, size - used, "%c%s", c == 0 ? ' ' : '|', row.value[c] ? row.value[c] : "");
	}
	xorosoft_page_free(&page);
	xorosoft_page_free(&page);
}

/* Values at their caps: codes are refused whole, texts are cut at the end of a character. */
static void
long_values(void)
{
	static char body[400000];
	static char got[40000];
	static char expected[40000];
	static XorosoftRow row;
	char		number[300];
	size_t		used;
	XorosoftPage page;

	memset(number, 'N', sizeof(number));
	snprintf(body, sizeof(body), "{\"Result\":true,\"Data\":[{\"ItemNumber\":\"%.201s\"},{\"ItemNumber\":\"%.200s\",\"ItemUpc\":\"%.65s\"}]}",
			 number, number, number);
	read_body(body, strlen(body), &xorosoft_item_shape, got, sizeof(got));
	snprintf(expected, sizeof(expected), "ok [-/-/2] !ItemNumber is longer than 200 bytes |%.200s|||||||||||||{}", number);
	report("codes are never cut", got, expected);

	used = snprintf(body, sizeof(body), "{\"Result\":true,\"Data\":[{\"ItemNumber\":\"A\",\"Title\":\"x");
	for (int i = 0; i < 100000; i++)
		used += snprintf(body + used, sizeof(body) - used, "\xc3\xa9");
	snprintf(body + used, sizeof(body) - used, "\"}]}");
	xorosoft_page_read(body, strlen(body), &page);
	xorosoft_row_read(&page, &xorosoft_item_shape, 0, &row);
	snprintf(got, sizeof(got), "%zu %02x", strlen(row.value[3]), (unsigned char) row.value[3][998]);
	report("a text is cut at the end of a character", got, "999 a9");
	xorosoft_page_free(&page);

	/* Every column as long as it may be, details with characters that grow six times when written: all of it fits the row. */
	used = snprintf(body, sizeof(body), "{\"Result\":true,\"Data\":[{");
	for (int c = 0; c < xorosoft_item_shape.ncolumns; c++)
	{
		const XorosoftColumn *column = &xorosoft_item_shape.columns[c];

		for (int k = 0; k < XOROSOFT_MAX_KEYS && column->keys[k] != NULL; k++)
		{
			used += snprintf(body + used, sizeof(body) - used, "%s\"%s\":\"", c + k > 0 ? "," : "", column->keys[k]);
			for (size_t i = 0; i < (column->kind == XOROSOFT_DETAILS ? 200 : column->cap); i++)
				used += snprintf(body + used, sizeof(body) - used, "%s", column->kind == XOROSOFT_DETAILS ? "\\\"" : "7");
			used += snprintf(body + used, sizeof(body) - used, "\"");
		}
	}
	snprintf(body + used, sizeof(body) - used, "}]}");
	xorosoft_page_read(body, strlen(body), &page);
	xorosoft_row_read(&page, &xorosoft_item_shape, 0, &row);
	snprintf(got, sizeof(got), "%s%zu", row.error, row.value[14] ? strlen(row.value[14]) : 0);
	report("the longest item fits", got, "2543");
	xorosoft_page_free(&page);
}

/* JSON nested deeper than the reader goes is refused, not followed until the stack ends. */
static void
deep_nesting(void)
{
	size_t		depth = 1000000;
	char	   *body = malloc(depth * 2 + 100);
	char		got[1000];
	size_t		used = sprintf(body, "{\"Result\":true,\"Data\":");

	memset(body + used, '[', depth);
	memset(body + used + depth, ']', depth);
	body[used + depth * 2] = '}';
	read_body(body, used + depth * 2 + 1, &xorosoft_item_shape, got, sizeof(got));
	report("a million lists in each other", got,
		   "not_json (invalid JSON at line 1, column 2070: maximum parsing depth reached near '[') [-/-/-]");
	free(body);
}

/* A good page cut at every length, and with every byte changed, is read or refused, never a crash. */
static void
broken_pages(void)
{
	static const char good[] = "{\"Result\":true,\"Message\":null,\"Data\":[{\"ItemNumber\":\"A-1\",\"Title\":\"caf\xc3\xa9 \\ud83d\\ude00\",\"Id\":17,"
		"\"StandardUnitPrice\":1.5e1,\"ModifyDttm\":\"04/23/2025 03:10:05 PM\",\"ActiveFlag\":true}],\"Page\":1,\"TotalPages\":2}";
	static char got[100000];
	char		changed[sizeof(good)];
	static const char bytes[] = {'\0', '\x1f', '"', '\\', '{', ']', '9', '\x80', '\xc3', '\xed', '\xff'};

	for (size_t len = 0; len < sizeof(good); len++)
		read_body(good, len, &xorosoft_item_shape, got, sizeof(got));
	for (size_t i = 0; i < sizeof(good) - 1; i++)
	{
		for (size_t b = 0; b < sizeof(bytes); b++)
		{
			memcpy(changed, good, sizeof(good));
			changed[i] = bytes[b];
			read_body(changed, sizeof(good) - 1, &xorosoft_item_shape, got, sizeof(got));
			read_body(changed, sizeof(good) - 1, &xorosoft_stock_shape, got, sizeof(got));
		}
	}
	read_body(good, sizeof(good) - 1, &xorosoft_item_shape, got, sizeof(got));
	report("a page cut at each length and changed at each byte", got,
		   "ok [1/2/1] 17|A-1||caf\xc3\xa9 \xf0\x9f\x98\x80||||||t||15||2025-04-23 15:10:05+00|{}");
}

int
main(void)
{
	static char got[100000];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		read_body(cases[i].body, cases[i].len, cases[i].shape, got, sizeof(got));
		report(cases[i].name, got, cases[i].output);
	}
	long_values();
	deep_nesting();
	broken_pages();
	printf("1..%d\n", tests);
	return failures > 0;
}
