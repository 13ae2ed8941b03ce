/*
 * test_merge.c
 *	  The merge of a product's two sides, and when two values are the same, on tables.  Prints TAP.
 *	  cc -Isrc test/unit/test_merge.c src/catalog/{merge,equal,html,diff,path}.c -ljansson
 *
 * Expected output of a merge: path=status, in the kernel's order.  Numbers are strings that start with #.
 */
#include <stdio.h>

#include "catalog/html.h"
#include "catalog/merge.h"
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

/* Whether two values of a field are the same: a table of fields, values and answers. */
static const struct
{
	const char *field;
	const char *a;
	const char *b;
	bool		same;
}			values[] = {
	{"price", "\"#1.50\"", "\"#1.5\"", true},
	{"price", "\"#1.50\"", "\"1.5\"", true},
	{"price", "\"#1.00005\"", "\"#1.0001\"", true},
	{"price", "\"#1.00004\"", "\"#1\"", true},
	{"price", "\"#0.99995\"", "\"#1\"", true},
	{"price", "\"#99.99995\"", "\"#100\"", true},
	{"price", "\"#1.0001\"", "\"#1\"", false},
	{"price", "\"#0\"", "null", false},
	{"price", "\"#0\"", "\"#-0.00001\"", true},
	{"price", "\"#1\"", "\"#-1\"", false},
	{"price", "\"#10\"", "\"#1\"", false},
	{"price", "\"#123456789012345678901234567890123456789012345678901234567890123456789.1\"", "\"#1\"", false},
	{"price", "\"#123456789012345678901234567890123456789012345678901234567890123456789.10\"",
	"\"#123456789012345678901234567890123456789012345678901234567890123456789.1\"", true},
	{"price", "\"free\"", "\"#0\"", false},
	{"price", "{}", "null", true},
	{"variants[A].compare_at_price", "\"#5.00\"", "\"#5\"", true},
	{"variants[\"A]\"].cost", "\"#5.00\"", "\"#5\"", true},
	{"weight", "\"#680.388555\"", "\"#680.39\"", true},
	{"weight", "\"#680.38\"", "\"#680.39\"", false},
	{"weight", "\"#0\"", "null", true},
	{"weight", "\"#0.004\"", "null", true},
	{"weight", "\"#0.01\"", "null", false},
	{"title", "\" A b \"", "\"A b\"", true},
	{"title", "\"A  b\"", "\"A b\"", false},
	{"title", "\"  \"", "null", true},
	{"handle", "\"a \"", "\"a\"", false},
	{"handle", "\"\"", "null", true},
	{"tags", "[\"b\", \"A\"]", "[\"a\", \"B\", \"b\"]", true},
	{"tags", "[\"a\"]", "[\"a\", \"b\"]", false},
	{"tags", "[\"a \"]", "[\"a\"]", true},
	{"tags", "[]", "null", true},
	{"status", "\"active\"", "\"UNLISTED\"", true},
	{"status", "\"active\"", "\"DRAFT\"", false},
	{"images", "[{\"src\": \"https://x/a.jpg?v=1\"}]", "[{\"src\": \"https://x/a.jpg?v=2\", \"alt\": \"\"}]", true},
	{"images", "[{\"src\": \"https://x/a.jpg\"}]", "[{\"src\": \"https://x/a.jpg\", \"alt\": \"x\"}]", false},
	{"images", "[{\"src\": \"a\"}, {\"src\": \"b\"}]", "[{\"src\": \"b\"}, {\"src\": \"a\"}]", false},
	{"images", "[\"a\"]", "[{\"src\": \"a\"}]", false},
	{"metafields.custom.x", "\"#12\"", "\"12\"", true},
	{"metafields.custom.x", "\"12.0\"", "\"12\"", false},
	{"metafields.custom.x", "true", "\"true\"", true},
	{"metafields.custom.x", "{\"a\": \"#1.0\", \"b\": [true]}", "{\"b\": [true], \"a\": \"#1\"}", true},
	{"metafields.custom.x", "{\"a\": \"#1\"}", "{\"a\": \"#2\"}", false},
	{"metafields.custom.x", "\" a\"", "\"a\"", false},
	{"options.Color", "\"Red \"", "\"Red\"", true},
	{"variants[A].options.Color", "\"Red\"", "\"red\"", false},
	{"variants[A].stock[5]", "\"#5\"", "\"#5.00\"", true},
	{"variants[A].stock[5]", "\"#5\"", "\"#6\"", false},
	{"variants[A]", "{\"price\": \"#1.0\", \"sku\": \"A\"}", "{\"price\": \"#1\", \"mpn\": \"x\"}", true},
	{"variants[A]", "{\"price\": \"#1\"}", "{\"price\": \"#2\"}", false},
	{"variants[A]", "{}", "null", true},
	{"", "\"x\"", "\"x\"", true},
};

/* Whether two descriptions say the same. */
static const struct
{
	const char *a;
	const char *b;
	bool		same;
}			texts[] = {
	{"<P CLASS=a>x</P>", "<p class=\"a\">x</p>", true},
	{"<p class='a'>x</p>", "<p class=\"a\" >x</p >", true},
	{"x<br/>y", "x<br>y", true},
	{"x<br />y", "x<BR>y", true},
	{"<img src=a.jpg />", "<img src=\"a.jpg\">", true},
	{"<input disabled>", "<input disabled=\"\">", true},
	{"AT&T &amp; caf\xc3\xa9", "AT&amp;T &#38; caf&eacute;", true},
	{"&#xE9;&#233;", "\xc3\xa9\xc3\xa9", true},
	{"&lt;b&gt;", "<b>", false},
	{"&lt;b&gt;", "&#60;b>", true},
	{"a < b", "a &lt; b", true},
	{"<a title=\"&quot;\">", "<a title='\"'>", true},
	{"<a title=\"b>\">", "<a title=\"b\">", false},
	{"a\n  b", "a b", true},
	{"ab", "a b", false},
	{"<p> a </p>\n<p>b</p>\n", "<p>a</p><p>b</p>", true},
	{"<b>a</b> <i>b</i>", "<b>a</b><i>b</i>", false},
	{"<b>a</b>\n<i>b</i>", "<b>a</b> <i>b</i>", true},
	{"<pre>a  b</pre>", "<pre>a b</pre>", false},
	{"<pre>a\r\nb</pre> c  d", "<pre>a\nb</pre> c d", true},
	{"<ul>\n\t<li>a</li>\n</ul>", "<ul><li>a</li></ul>", true},
	{"a&nbsp;b", "a\xc2\xa0" "b", true},
	{"a&nbsp;b", "a b", false},
	{"<script>a  b</script>", "<script>a b</script>", false},
	{"<script>x < y</script>z", "<script>x < y</script>z ", true},
	{"<style>a&amp;b</style>", "<style>a&b</style>", false},
	{"<!-- a -->b", "<!-- a -->b", true},
	{"<!-- a -->b", "<!-- c -->b", false},
	{"<p>a", "<p>a</p>", false},
	{"<p class=\"a", "<p class=\"a", true},
	{"&#0;&#xD800;&#9999999;", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", true},
	{"&unknown;&", "&amp;unknown;&amp;", true},
	{" \n", "", true},
	{"<", "&lt;", true},
	{"<a href=x/y>", "<a href=\"x/y\">", true},
};

/* Documents: base, base_local, local, shop, and what comes of them.  NULL: no base. */
static const struct
{
	const char *name;
	const char *base;
	const char *base_local;
	const char *local;
	const char *shop;
	const char *wanted;
}			merges[] = {
	{"agreed", "{\"title\":\"a\"}", "{}", "{\"title\":\"a\",\"mpn\":\"x\"}", "{\"title\":\"a\",\"other\":\"y\"}", ""},
	{"only the shop", "{\"title\":\"a\"}", "{}", "{\"title\":\"a\"}", "{\"title\":\"b\"}", "title=shop"},
	{"only we", "{\"title\":\"a\"}", "{}", "{\"title\":\"b\"}", "{\"title\":\"a\"}", "title=local"},
	{"both", "{\"title\":\"a\"}", "{}", "{\"title\":\"b\"}", "{\"title\":\"c\"}", "title=both"},
	{"both to the same", "{\"title\":\"a\"}", "{}", "{\"title\":\"b\"}", "{\"title\":\"b \"}", "title=converged"},
	{"cleared in the shop", "{\"vendor\":\"a\"}", "{}", "{\"vendor\":\"a\"}", "{\"vendor\":\"\"}", "vendor=shop"},
	{"cleared by both", "{\"vendor\":\"a\"}", "{}", "{\"vendor\":null}", "{}", "vendor=converged"},
	{"an agreement on other texts", "{\"images\":[{\"src\":\"cdn\"}]}", "{\"images\":[{\"src\":\"ours\"}]}", "{\"images\":[{\"src\":\"ours\"}]}",
	"{\"images\":[{\"src\":\"cdn\"}]}", ""},
	{"an agreement on other texts, ours moved on", "{\"images\":[{\"src\":\"cdn\"}]}", "{\"images\":[{\"src\":\"ours\"}]}",
	"{\"images\":[{\"src\":\"new\"}]}", "{\"images\":[{\"src\":\"cdn\"}]}", "images=local"},
	{"an agreement on other texts, we took theirs", "{\"title\":\"x\"}", "{\"title\":\"y\"}", "{\"title\":\"x\"}", "{\"title\":\"x\"}", "title=converged"},
	{"never agreed", NULL, NULL, "{\"title\":\"a\",\"type\":\"t\",\"vendor\":\"v\"}", "{\"title\":\"a\",\"type\":\"u\",\"tags\":[\"x\"]}",
	"tags=both type=both title=converged vendor=both"},
	{"never agreed on nothing", NULL, NULL, "{\"title\":\"\"}", "{\"tags\":[]}", ""},
	{"maps", "{\"metafields\":{\"a.b\":\"1\",\"a.c\":\"1\"}}", "{}", "{\"metafields\":{\"a.b\":\"2\",\"a.c\":\"1\",\"a.d\":\"1\"}}",
	"{\"metafields\":{\"a.b\":\"1\",\"a.e\":\"1\"},\"attributes\":{\"seo_title\":\"t\",\"etc\":\"x\"}}",
	"attributes.seo_title=shop metafields.a.b=local metafields.a.c=shop metafields.a.d=local metafields.a.e=shop"},
	{"fields of a variant", "{\"variants\":{\"A\":{\"price\":\"#1\",\"options\":{\"Size\":\"S\"}}}}", "{}",
	"{\"variants\":{\"A\":{\"price\":\"#1.0\",\"mpn\":\"x\",\"options\":{\"Size\":\"M\"}}}}",
	"{\"variants\":{\"A\":{\"price\":\"#2\",\"sku\":\"A\",\"options\":{\"Size\":\"S\"}}}}", "variants[A].price=shop variants[A].options.Size=local"},
	{"new in the shop", "{\"variants\":{}}", "{}", "{\"variants\":{}}", "{\"variants\":{\"A\":{\"price\":\"#1\"}}}", "variants[A]=shop"},
	{"new here", "{}", "{}", "{\"variants\":{\"A\":{}}}", "{}", "variants[A]=local"},
	{"new on both sides", "{}", "{}", "{\"variants\":{\"A\":{\"price\":\"#1\",\"cost\":\"#1\"}}}", "{\"variants\":{\"A\":{\"price\":\"#1\",\"cost\":\"#2\"}}}",
	"variants[A].cost=both variants[A].price=converged"},
	{"gone from the shop", "{\"variants\":{\"A\":{\"price\":\"#1\"}}}", "{}", "{\"variants\":{\"A\":{\"price\":\"#1.00\"}}}", "{\"variants\":{}}",
	"variants[A]=shop"},
	{"gone from the shop, ours changed", "{\"variants\":{\"A\":{\"price\":\"#1\"}}}", "{}", "{\"variants\":{\"A\":{\"price\":\"#2\"}}}", "{\"variants\":{}}",
	"variants[A]=both"},
	{"gone from the shop, ours agreed as another text", "{\"variants\":{\"A\":{\"price\":\"#1\"}}}", "{\"variants\":{\"A\":{\"price\":\"#2\"}}}",
	"{\"variants\":{\"A\":{\"price\":\"#2\"}}}", "{\"variants\":{}}", "variants[A]=shop"},
	{"gone here", "{\"variants\":{\"A\":{\"price\":\"#1\"}}}", "{}", "{\"variants\":{}}", "{\"variants\":{\"A\":{\"price\":\"#1\"}}}", "variants[A]=local"},
	{"gone here, the shop's changed", "{\"variants\":{\"A\":{\"price\":\"#1\"}}}", "{}", "{}", "{\"variants\":{\"A\":{\"price\":\"#2\"}}}", "variants[A]=both"},
	{"gone from both", "{\"variants\":{\"A\":{\"price\":\"#1\"}}}", "{}", "{}", "{}", "variants[A]=converged"},
	{"another currency", "{\"variants\":{\"A\":{\"price\":\"#1\",\"currency\":\"CAD\"}}}", "{}",
	"{\"variants\":{\"A\":{\"price\":\"#1\",\"currency\":\"USD\"}}}", "{\"variants\":{\"A\":{\"price\":\"#1\",\"currency\":\"CAD\"}}}",
	"variants[A].currency=local"},
	{"another currency without a price", "{\"variants\":{\"A\":{}}}", "{}", "{\"variants\":{\"A\":{\"currency\":\"USD\"}}}",
	"{\"variants\":{\"A\":{\"price\":\"#1\",\"currency\":\"CAD\"}}}", "variants[A].price=shop"},
	{"no document", NULL, NULL, "{}", "[]", "no object at "},
	{"variants that are none", "{}", "{}", "{}", "{\"variants\":[]}", "no object at variants"},
	{"a variant that is none", "{\"variants\":{\"A\":\"x\"}}", "{}", "{}", "{}", "no object at variants[A]"},
	{"options that are none", "{}", "{}", "{\"variants\":{\"A\":{}}}", "{\"variants\":{\"A\":{\"options\":\"x\"}}}", "no object at variants[A].options"},
	{"metafields that are none", "{}", "{}", "{}", "{\"metafields\":\"x\"}", "no object at metafields"},
};

static void
note(void *context, const DiffPath *path, const MergeSides *sides, MergeStatus status)
{
	char	   *out = context;
	char		name[200];
	size_t		length = diff_path_format(path, name, sizeof(name));

	(void) sides;
	snprintf(out + strlen(out), 1000 - strlen(out), "%s%.*s=%s", out[0] == '\0' ? "" : " ", (int) length, name, merge_status_name(status));
}

/* Lays out a document; NULL stays NULL. */
static const DiffValue *
lay_out(const char *text, DiffValue *value, json_t **json)
{
	*json = text == NULL ? NULL : json_loads(text, JSON_DECODE_ANY, NULL);
	memset(value, 0, sizeof(*value));
	if (text == NULL)
		return NULL;
	*value = tree(*json);
	return value;
}

static void
test_merge(const char *name, const char *const given[4], const char *wanted)
{
	DiffValue	trees[4];
	json_t	   *jsons[4];
	const DiffValue *sides[4];
	MergeSides	documents;
	DiffPath	wrong = {0};
	char		got[1000] = "";
	DiffResult	result;

	for (int i = 0; i < 4; i++)
		sides[i] = lay_out(given[i], &trees[i], &jsons[i]);
	documents = (MergeSides) {sides[0], sides[1], sides[2], sides[3]};
	result = merge_documents(&documents, note, got, &wrong);
	if (result != DIFF_OK)
	{
		char		place[200];
		size_t		length = wrong.count == 0 ? 0 : diff_path_format(&wrong, place, sizeof(place));

		snprintf(got, sizeof(got), "no object at %.*s", (int) length, place);
	}
	check(strcmp(got, wanted) == 0, name, got, wanted);
	for (int i = 0; i < 4; i++)
	{
		free_tree(&trees[i]);
		json_decref(jsons[i]);
	}
}

static void
test_value(const char *field, const char *a_text, const char *b_text, bool same)
{
	DiffValue	a;
	DiffValue	b;
	json_t	   *a_json;
	json_t	   *b_json;
	char		name[400];
	char		scratch[100];
	MergeKind	kind = merge_kind_of_path(field, strlen(field), scratch);
	const DiffValue *a_value = lay_out(a_text, &a, &a_json);
	const DiffValue *b_value = lay_out(b_text, &b, &b_json);

	snprintf(name, sizeof(name), "%s: %s %s %s", field, a_text, same ? "is" : "is not", b_text);
	for (char *c = name; *c != '\0'; c++)
		if (*c == '#')
			*c = ' ';			/* means something in TAP */
	check(merge_equal(kind, a_value, b_value) == same && merge_equal(kind, b_value, a_value) == same && merge_equal(kind, a_value, a_value),
		  name, same ? "not the same" : "the same", same ? "the same" : "not the same");
	free_tree(&a);
	free_tree(&b);
	json_decref(a_json);
	json_decref(b_json);
}

/* Many small pieces in any order: the reader ends, stays within the text, and says the same of it twice. */
static void
test_random_html(unsigned seed)
{
	static const char *const pieces[] = {"<", ">", "/", "p", "pre", "</pre>", "<!--", "-->", "&", "amp;", "#x41;", " ", "\n", "\"", "'", "=", "a",
	"<script>", "</script", "<br/>", "\r\n", "&#", "\xc3\xa9", "<!x", "?"};
	bool		good = true;

	srand(seed);
	for (int round = 0; round < 100000 && good; round++)
	{
		char		joined[200] = "";
		char	   *text;
		HtmlReader	reader;
		size_t		length;
		size_t		codes = 0;

		for (int i = rand() % 15; i > 0; i--)
			strcat(joined, pieces[rand() % (int) (sizeof(pieces) / sizeof(pieces[0]))]);
		length = strlen(joined);
		text = malloc(length + 1);	/* just as long, so that the sanitizer sees a step beyond */
		memcpy(text, joined, length);
		html_open(&reader, text, length);
		while (html_next(&reader) != HTML_END && codes++ < 1000);
		good = codes < 1000 && html_equal(text, length, joined, length);
		free(text);
	}
	check(good, "random HTML is read to its end", "not so", "so");
}

/* A hostile text takes time in proportion to its length. */
static void
test_long_html(void)
{
	static const char *const units[] = {"<", "<!--", "&", "&#", "<a ", "<script", "<pre>", "</", " ", "<a b=", "\"'"};
	size_t		size = 4 << 20;
	char	   *text = malloc(size);
	char	   *other = malloc(size);

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
	{
		size_t		unit = strlen(units[i]);

		for (size_t at = 0; at < size; at++)
			text[at] = units[i][at % unit];
		memcpy(other, text, size);
		other[size - 1] = '~';
		(void) html_equal(text, size, other, size);
	}
	check(true, "long hostile HTML comes to an end", "", "");
	free(text);
	free(other);
}

int
main(void)
{
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		test_value(values[i].field, values[i].a, values[i].b, values[i].same);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		json_t	   *a = json_string(texts[i].a);
		json_t	   *b = json_string(texts[i].b);
		bool		same = html_equal(texts[i].a, strlen(texts[i].a), texts[i].b, strlen(texts[i].b));
		char		name[40];

		snprintf(name, sizeof(name), "description %zu", i + 1);
		check(same == texts[i].same && a != NULL && b != NULL, name, texts[i].a, texts[i].b);
		json_decref(a);
		json_decref(b);
	}
	for (size_t i = 0; i < sizeof(merges) / sizeof(merges[0]); i++)
		test_merge(merges[i].name, (const char *const[]) {merges[i].base, merges[i].base_local, merges[i].local, merges[i].shop}, merges[i].wanted);
	test_random_html(3);
	test_long_html();
	printf("1..%d\n", tests);
	return failures > 0;
}
