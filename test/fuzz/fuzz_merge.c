/*
 * fuzz_merge.c
 *	  Fuzzes the merge.  The input is cut at NUL bytes: first what to do, then values or documents in JSON, or two descriptions.
 *	  Equality must be an equivalence, and what is the same on all sides must give no rows.
 *	  clang -g -O1 -fsanitize=fuzzer,address,undefined -Isrc -Itest/unit test/fuzz/fuzz_merge.c src/catalog/{merge,equal,html,diff,path}.c -ljansson
 */
#include <stdint.h>
#include <stdio.h>

#include "catalog/html.h"
#include "catalog/merge.h"
#include "json_tree.h"

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PARTS	5

#define must(good) must_at(good, #good, __LINE__)

static void
must_at(bool good, const char *what, int line)
{
	if (good)
		return;
	fprintf(stderr, "line %d: not so: %s\n", line, what);
	abort();
}

static bool
equal(DiffText a, DiffText b)
{
	return html_equal(a.data, a.length, b.data, b.length);
}

static void
fuzz_html(const DiffText *parts)
{
	HtmlReader	reader;
	size_t		codes = 0;

	html_open(&reader, parts[1].data, parts[1].length);
	while (html_next(&reader) != HTML_END)
		codes++;
	must(codes <= 4 * parts[1].length);
	must(equal(parts[1], parts[1]));
	must(equal(parts[1], parts[2]) == equal(parts[2], parts[1]));
	if (equal(parts[1], parts[2]) && equal(parts[2], parts[3]))
		must(equal(parts[1], parts[3]));
}

/* A field's name, and three values of it. */
static void
fuzz_values(const DiffText *parts, const DiffValue *values)
{
	static const char *const fields[] = {"price", "weight", "title", "handle", "tags", "status", "images", "metafields.x", "description",
	"variants[A]", "variants[A].stock[1]"};
	char		scratch[100];

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
	{
		MergeKind	kind = merge_kind_of_path(fields[i], strlen(fields[i]), scratch);
		bool		same = merge_equal(kind, &values[0], &values[1]);

		must(merge_equal(kind, &values[0], &values[0]));
		must(merge_equal(kind, &values[1], &values[0]) == same);
		if (same && merge_equal(kind, &values[1], &values[2]))
			must(merge_equal(kind, &values[0], &values[2]) || kind == MERGE_JSON || kind == MERGE_NUMBER || kind == MERGE_VARIANT);
	}
	if (parts[0].length < sizeof(scratch))
		(void) merge_equal(merge_kind_of_path(parts[0].data, parts[0].length, scratch), &values[0], &values[1]);
}

static void
count(void *context, const DiffPath *path, const MergeSides *sides, MergeStatus status)
{
	char		name[20];

	must(status <= MERGE_DRIFT && sides->base_local == NULL);
	(void) diff_path_format(path, name, sizeof(name));
	++*(int *) context;
}

static void
fuzz_documents(const DiffValue *values)
{
	MergeSides	documents = {&values[0], &values[1], &values[2], &values[3]};
	MergeSides	agreed = {&values[0], NULL, &values[0], &values[0]};
	DiffPath	wrong;
	int			rows = 0;

	(void) merge_documents(&documents, count, &rows, &wrong);
	documents.base = NULL;
	(void) merge_documents(&documents, count, &rows, &wrong);
	rows = 0;
	(void) merge_documents(&agreed, count, &rows, &wrong);
	must(rows == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	DiffText	parts[PARTS] = {0};
	DiffValue	values[PARTS - 1];
	json_t	   *jsons[PARTS - 1];
	const char *at = (const char *) data;
	const char *end = at + size;

	for (int i = 0; i < PARTS; i++)
	{
		const char *cut = at == end ? NULL : memchr(at, '\0', (size_t) (end - at));

		parts[i] = (DiffText) {at, (size_t) ((cut == NULL ? end : cut) - at)};
		at = cut == NULL ? end : cut + 1;
	}
	fuzz_html(parts);
	memset(values, 0, sizeof(values));
	for (int i = 0; i < PARTS - 1; i++)
	{
		jsons[i] = json_loadb(parts[i + 1].data, parts[i + 1].length, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, NULL);
		if (jsons[i] != NULL && !json_is_real(jsons[i]) && size < 10000)
			values[i] = tree(jsons[i]);
	}
	fuzz_values(parts, values);
	fuzz_documents(values);
	for (int i = 0; i < PARTS - 1; i++)
	{
		free_tree(&values[i]);
		json_decref(jsons[i]);
	}
	return 0;
}
