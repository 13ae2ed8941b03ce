/*
 * test_diff.c
 *	  The diff of product documents and the names of fields, on tables of documents and on random keys.  Prints TAP.
 *	  cc -Isrc test/unit/test_diff.c src/catalog/diff.c src/catalog/path.c -ljansson
 *
 * Expected output of a diff: the paths, in the kernel's order, each with = where old has a value there and + where it has none.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/diff.h"
#include "json_tree.h"

static int	tests;
static int	failures;

static void
check(bool good, const char *name, const char *got, const char *wanted)
{
	tests++;
	printf("%s %d - %s\n", good ? "ok" : "not ok", tests, name);
	if (!good)
	{
		failures++;
		printf("# got:    %s\n# wanted: %s\n", got, wanted);
	}
}

static void
note(void *context, const DiffPath *path, const DiffValue *old_value, const DiffValue *new_value)
{
	char	   *out = context;
	char		name[200];
	size_t		length = diff_path_format(path, name, sizeof(name));

	(void) new_value;
	snprintf(out + strlen(out), 1000 - strlen(out), "%s%.*s%s", out[0] == '\0' ? "" : " ", (int) length, name, old_value == NULL ? "+" : "=");
}

static void
test_diff(const char *name, const char *old_text, const char *new_text, const char *wanted)
{
	static const char *const results[] = {"", "no object at ", "bad name at "};
	json_t	   *old_json = json_loads(old_text, JSON_DECODE_ANY, NULL);
	json_t	   *new_json = json_loads(new_text, JSON_DECODE_ANY, NULL);
	DiffValue	old_tree = tree(old_json);
	DiffValue	new_tree = tree(new_json);
	DiffPath	wrong = {0};
	char		got[1000] = "";
	DiffResult	result = diff_documents(&old_tree, &new_tree, note, got, &wrong);

	if (result != DIFF_OK)
	{
		char		place[200];
		size_t		length = wrong.count == 0 ? 0 : diff_path_format(&wrong, place, sizeof(place));

		snprintf(got, sizeof(got), "%s%.*s", results[result], (int) length, place);
	}
	check(strcmp(got, wanted) == 0, name, got, wanted);
	free_tree(&old_tree);
	free_tree(&new_tree);
	json_decref(old_json);
	json_decref(new_json);
}

static const struct
{
	const char *name;
	const char *old_text;
	const char *new_text;
	const char *wanted;
}			cases[] = {
	{"what new does not mention", "{\"title\":\"a\",\"metafields\":{\"x\":\"1\"}}", "{}", ""},
	{"text to the byte", "{\"title\":\"a\"}", "{\"title\":\"a \"}", "title="},
	{"numbers by value", "{\"a\":\"#12.50\",\"b\":\"#0\",\"c\":\"#100\",\"d\":\"#0.5\"}", "{\"a\":\"#12.5\",\"b\":\"#-0.00\",\"c\":\"#100.0\",\"d\":\"#00.50\"}", ""},
	{"numbers that differ", "{\"a\":\"#100\",\"b\":\"#1\",\"c\":\"#1.05\"}", "{\"a\":\"#1\",\"b\":\"#-1\",\"c\":\"#1.5\"}", "a= b= c="},
	{"a number is no text", "{\"a\":\"#1\"}", "{\"a\":\"1\"}", "a="},
	{"null is nothing", "{\"a\":null,\"b\":\"x\"}", "{\"a\":null,\"b\":null,\"c\":null}", "b="},
	{"tags as a set", "{\"tags\":[\"a\",\"b\"]}", "{\"tags\":[\"b\",\"a\",\"b\"]}", ""},
	{"tags that differ", "{\"tags\":[\"a\",\"b\"]}", "{\"tags\":[\"b\",\"c\"]}", "tags="},
	{"an empty list is nothing", "{}", "{\"tags\":[],\"images\":[]}", ""},
	{"order of images", "{\"images\":[{\"src\":\"1\"},{\"src\":\"2\"}]}", "{\"images\":[{\"src\":\"2\"},{\"src\":\"1\"}]}", "images="},
	{"an alt that new does not mention", "{\"images\":[{\"src\":\"1\",\"alt\":\"x\"}]}", "{\"images\":[{\"src\":\"1\"}]}", ""},
	{"an alt that is new", "{\"images\":[{\"src\":\"1\"}]}", "{\"images\":[{\"src\":\"1\",\"alt\":\"x\"}]}", "images="},
	{"maps key by key", "{\"metafields\":{\"a.b\":\"1\",\"c\":\"2\"}}", "{\"metafields\":{\"a.b\":\"2\",\"d\":\"3\"},\"attributes\":{\"e\":\"4\"}}",
	"attributes.e+ metafields.d+ metafields.a.b="},
	{"variants by SKU", "{\"variants\":{\"A\":{\"price\":\"#1\"}}}", "{\"variants\":{\"A\":{\"price\":\"#2\",\"options\":{\"x\":\"y\"}},\"B\":{\"price\":\"#1\"}}}",
	"variants[A].price= variants[A].options.x+ variants[B]+"},
	{"a new variant is checked too", "{}", "{\"variants\":{\"B\":{\"options\":[]}}}", "no object at variants[B].options"},
	{"no document", "{}", "[]", "no object at "},
	{"variants that are none", "{}", "{\"variants\":[]}", "no object at variants"},
	{"a variant that is none", "{}", "{\"variants\":{\"A\":\"x\"}}", "no object at variants[A]"},
	{"an old map that is none", "{\"metafields\":\"x\"}", "{\"metafields\":{}}", "no object at metafields"},
	{"a name that would be a path", "{}", "{\"metafields.x\":\"1\"}", "bad name at metafields.x"},
	{"a variant's name that would be a path", "{\"variants\":{\"A\":{}}}", "{\"variants\":{\"A\":{\"a.b\":\"1\"}}}", "bad name at variants[A].a.b"},
};

/* Every key of bytes, whatever is in it, is written and read back. */
static void
test_random_paths(unsigned seed)
{
	static const char odd[] = "[]\"\\.a1* \n\t\x01\x1f\xc3\xa9u0";
	bool		good = true;
	char		text[400];
	char		scratch[400];

	srand(seed);
	for (int round = 0; round < 200000 && good; round++)
	{
		char		bytes[2][40];
		DiffPath	path = {0};
		DiffPath	back;
		size_t		length;
		int			shape = rand() % 5;

		for (int i = 0; i < 2; i++)
			for (int j = 0; j < 40; j++)
				bytes[i][j] = odd[rand() % (sizeof(odd) - 1)];
		path.keys[0] = (DiffText) {shape == 0 ? "metafields" : "variants", shape == 0 ? 10 : 8};
		path.keys[1] = (DiffText) {bytes[0], (size_t) (rand() % 40)};
		path.keys[2] = (DiffText) {shape == 3 ? "options" : "price", shape == 3 ? 7 : 5};
		path.keys[3] = (DiffText) {bytes[1], (size_t) (rand() % 40)};
		path.count = shape == 0 ? 2 : shape == 1 ? 2 : shape == 3 ? 4 : 3;
		length = diff_path_format(&path, text, sizeof(text));
		good = length <= sizeof(text) && diff_path_parse(text, length, &back, scratch) && back.count == path.count;
		for (int i = 0; i < path.count && good; i++)
			good = diff_key_compare(path.keys[i], back.keys[i]) == 0;
	}
	check(good, "random keys come back", text, "the same keys");
}

/* Whatever is read is written as it was: a path has one name.  And no text makes the reader leave it. */
static void
test_random_texts(unsigned seed)
{
	static const char *const pieces[] = {"variants", "[", "]", "\"", "\\", "u00", "1f", "n", ".", "options", "metafields", "price", "x", "\n", ""};
	bool		good = true;
	char		again[400];
	char	   *text = NULL;
	int			read = 0;

	srand(seed);
	for (int round = 0; round < 300000 && good; round++)
	{
		char		joined[200] = "";
		char	   *scratch;
		DiffPath	path;
		size_t		length;

		for (int i = rand() % 9; i >= 0; i--)
			strcat(joined, rand() % 4 == 0 && i > 5 ? "variants[" : pieces[rand() % 15]);
		length = strlen(joined);
		free(text);
		text = malloc(length + 1);	/* just as long, so that the sanitizer sees a step beyond */
		memcpy(text, joined, length);
		scratch = malloc(length + 1);
		if (diff_path_parse(text, length, &path, scratch))
		{
			read++;
			good = diff_path_format(&path, again, sizeof(again)) == length && memcmp(again, text, length) == 0;
		}
		free(scratch);
	}
	check(good && read > 1000, "what is read has one name", text, again);
	free(text);
}

int
main(void)
{
	DiffPath	path = {1, {{"title", 5}}};
	char		small[3];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		test_diff(cases[i].name, cases[i].old_text, cases[i].new_text, cases[i].wanted);
	check(diff_path_format(&path, small, 3) == 5 && memcmp(small, "tit", 3) == 0, "a name that is too long for its room is cut", "", "");
	test_random_paths(1);
	test_random_texts(2);
	printf("1..%d\n", tests);
	return failures > 0;
}
