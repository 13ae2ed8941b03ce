/*
 * test_decide.c
 *	  The kernels of the conflict decision tree: decimal numbers, moments, patterns of rules, descriptions, and the tree's boundaries
 *	  against a formula worked out another way.  Prints TAP.  The cases that people decide by are in test/decisions.tsv.
 */
#include <stdio.h>
#include <stdlib.h>

#include "conflict/decide.h"
#include "conflict/description.h"
#include "conflict/moment.h"

static int	tests;
static int	failures;

static void
check(bool good, const char *name)
{
	tests++;
	failures += !good;
	printf("%s %d - %s\n", good ? "ok" : "not ok", tests, name);
}

static DiffText
text_of(const char *text)
{
	return (DiffText) {text, strlen(text)};
}

/* decimal ---------------------------------------------------------------------------------------------------------------------- */

static const struct
{
	const char *text;
	const char *wanted;			/* NULL: refused */
}			numbers[] = {
	{"0", "0"}, {"-0", "0"}, {"1", "1"}, {"-1.50", "-1.5"}, {"007", "7"}, {"100", "100"}, {"0.000000001", "0.000000001"},
	{"1.0000000000000000000000", "1"}, {"999999999999999.999999999", "999999999999999.999999999"},
	{"0000000000000000000000001", "1"}, {"1000000000000000", NULL}, {"0.0000000001", NULL}, {"", NULL}, {"-", NULL}, {".5", NULL},
	{"5.", NULL}, {"1e5", NULL}, {"1.2.3", NULL}, {" 1", NULL}, {"1 ", NULL}, {"+1", NULL}, {"NaN", NULL}, {"0x1", NULL}, {"1,5", NULL}
};

static void
test_decimal(void)
{
	static const struct
	{
		const char *number;
		int			digits;
		const char *wanted;
	}			rounded[] = {
		{"1.005", 2, "1.01"}, {"1.00499", 2, "1"}, {"-1.005", 2, "-1.01"}, {"0.5", 0, "1"}, {"-0.5", 0, "-1"}, {"0.49", 0, "0"},
		{"1.2345", 9, "1.2345"}
	};
	char		text[DECIMAL_TEXT];
	Decimal		value;
	bool		good = true;

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
	{
		bool		read = decimal_parse(numbers[i].text, strlen(numbers[i].text), &value);
		bool		right = read == (numbers[i].wanted != NULL) && (!read || strcmp(decimal_format(value, text), numbers[i].wanted) == 0);

		if (!right)
			printf("# \"%s\" is read as %s\n", numbers[i].text, read ? text : "nothing");
		good &= right;
	}
	check(good, "numbers are read and written exactly, or refused");
	good = true;
	for (size_t i = 0; i < sizeof(rounded) / sizeof(rounded[0]); i++)
	{
		good &= decimal_parse(rounded[i].number, strlen(rounded[i].number), &value);
		good &= strcmp(decimal_format(decimal_round(value, rounded[i].digits), text), rounded[i].wanted) == 0;
	}
	check(good, "halves are rounded away from zero");
	check(decimal_floor(DECIMAL(25) / 10) == DECIMAL(2) && decimal_floor(-DECIMAL(5) / 10) == DECIMAL(-1) &&
		  decimal_floor(DECIMAL(3)) == DECIMAL(3),
		  "pieces are rounded down, below 0 too");
	check(strcmp(decimal_format(DECIMAL(1000000000000000) * 1000000000, text), "...") != 0 && strlen(text) < DECIMAL_TEXT &&
		  strlen(decimal_format((Decimal) 1 << 126, text)) < DECIMAL_TEXT &&
		  strlen(decimal_format(-((Decimal) 1 << 126), text)) < DECIMAL_TEXT,
		  "no number is written beyond its room");
}

/* moments ---------------------------------------------------------------------------------------------------------------------- */

static void
test_moments(void)
{
	static const struct
	{
		const char *text;
		int64_t		wanted;		/* seconds; -1: refused */
	}			moments[] = {
		{"1970-01-01T00:00:00Z", 0}, {"2026-11-24T15:00:00Z", 1795532400}, {"2026-11-24 15:00:00+00", 1795532400},
		{"2026-11-24T16:00:00+01:00", 1795532400}, {"2026-11-24T09:30:00-0530", 1795532400}, {"2026-11-24T15:00", 1795532400},
		{"2024-02-29T00:00:00Z", 1709164800}, {"2000-03-01T00:00:00Z", 951868800}, {"2026-02-29T00:00:00Z", -1},
		{"2026-13-01T00:00:00Z", -1},
		{"2026-11-24", -1}, {"2026-11-24T25:00:00Z", -1}, {"2026-11-24T15:00:00Zx", -1}, {"2026-11-24T15:00:00.Z", -1}, {"now", -1},
		{"", -1},
		{"2026-11-24T15:00:00+1", -1}, {"0000-01-01T00:00:00Z", -1}
	};
	int64_t		at;
	int64_t		later;
	bool		good = true;

	for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++)
	{
		bool		read = moment_parse(moments[i].text, strlen(moments[i].text), &at);
		bool		right = read == (moments[i].wanted >= 0) && (!read || at == moments[i].wanted * 1000000);

		if (!right)
			printf("# \"%s\" is read as %lld\n", moments[i].text, read ? (long long) at : -1);
		good &= right;
	}
	check(good, "moments are read whatever the time zone, or refused");
	check(moment_parse("2026-11-24T15:00:00.1234567Z", 28, &later) && later == INT64_C(1795532400123456), "to the microsecond");
}

/* descriptions ----------------------------------------------------------------------------------------------------------------- */

static void
test_descriptions(void)
{
	static const struct
	{
		const char *html;
		bool		sound;
		size_t		length;
	}			cases[] = {
		{"", true, 0}, {"plain", true, 5}, {"<p>a  b</p>", true, 3}, {"<p>&nbsp;</p>", true, 0}, {"<p>\xc3\xa9&eacute;</p>", true, 2},
		{"<ul><li>a<li>b</ul>", true, 2}, {"<img src=\"a>b\">x", true, 1}, {"1 < 2", true, 5}, {"a<br/>b", true, 2}, {"<P>a</p>", true, 1},
		{"<table><tr><td>a<td>b</table>", true, 2}, {"<!-- <b> -->a", true, 1}, {"<p>a<p>b", true, 2}, {"<span/>a", true, 1},
		{"<b>a", false, 1}, {"a</b>", false, 1}, {"<b><i>a</b></i>", false, 1}, {"<a href=\"x", false, 0}, {"a<!-- b", false, 1},
		{"<script>1</script>", false, 1}, {"a\x01", false, 2}, {"<b", false, 0}
	};
	char		deep[4 * (DESCRIPTION_DEPTH + 2) + 1] = "";
	bool		good = true;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		const char *fault = description_fault(text_of(cases[i].html));
		size_t		length = description_length(text_of(cases[i].html));

		if ((fault == NULL) != cases[i].sound || length != cases[i].length)
		{
			printf("# %s: %s, %zu characters\n", cases[i].html, fault == NULL ? "sound" : fault, length);
			good = false;
		}
	}
	check(good, "what a description is worth");
	for (int i = 0; i <= DESCRIPTION_DEPTH; i++)
		strcat(deep, "<b>");
	check(description_fault(text_of(deep)) != NULL, "nested too deep");
}

/* rules ------------------------------------------------------------------------------------------------------------------------ */

static void
test_rules(void)
{
	static const struct
	{
		const char *field;
		const char *path;
		bool		matches;
	}			cases[] = {
		{"title", "title", true}, {"title", "titles", false}, {"title", "metafields.title", false}, {"*", "anything", true},
		{"*", "product", true},
		{"metafields.*", "metafields.custom.x", true}, {"metafields.*", "metafields", false}, {"*.x", "metafields.custom.x", true},
		{"m*s.*.x", "metafields.custom.x", true}, {"m*s.*.y", "metafields.custom.x", false}, {"price", "variants[A].price", true},
		{"price", "variants[A].compare_at_price", true}, {"compare_at_price", "variants[A].price", false},
		{"barcode", "variants[\"a]\\\"b\"].barcode", true},
		{"variants[A].barcode", "variants[B].barcode", false}, {"variants[*].barcode", "variants[B].barcode", true},
		{"options.*", "variants[A].options.Color", true},
		{"inventory", "variants[A].stock[1]", true}, {"stock[1]", "variants[A].stock[1]", true}, {"stock[*]", "variants[A].stock[2]", true},
		{"other", "title", false}, {"other", "other", true}, {"a**b", "axxb", true}, {"a*", "a", true}, {"", "title", false},
		{"variant", "variants[A]", true}
	};
	static const char *const order[] = {"variants[A].barcode", "barcode", "variants[A].b*", "variants[*", "*"};
	DecideRule	rule = {0};
	int			before = INT32_MAX;
	bool		good = true;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		rule.field = text_of(cases[i].field);
		if ((decide_rule_matches(&rule, text_of(cases[i].path), &decide_no_facts, false) > 0) != cases[i].matches)
		{
			printf("# %s and %s\n", cases[i].field, cases[i].path);
			good = false;
		}
	}
	check(good, "which fields a rule speaks of");
	good = true;
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
	{
		int			exact;

		rule.field = text_of(order[i]);
		exact = decide_rule_matches(&rule, text_of("variants[A].barcode"), &decide_no_facts, false);
		good &= exact > 0 && exact < before;
		before = exact;
	}
	check(good, "the more exactly a rule names a field, the more it counts");
	check(decide_short_name(text_of("variants[")).length == 0 && decide_short_name(text_of("variants[\"")).length == 0 &&
		  decide_short_name(text_of("variants[\"\\")).length == 0 && decide_short_name(text_of("variants[A")).length == 0,
		  "paths that end too soon");
}

/* the tree --------------------------------------------------------------------------------------------------------------------- */

static DecideResult
decide_numbers(const char *field, const char *local, const char *shopify)
{
	DecideCase	c = {
		.path = text_of(field),.kind = MERGE_NUMBER,.facts = &decide_no_facts,
		.local = {.type = DIFF_NUMBER,.text = text_of(local)},.shopify = {.type = DIFF_NUMBER,.text = text_of(shopify)}
	};
	DecideResult result;

	decide_tree(&c, &result);
	return result;
}

/* Prices in cents against the formula in whole numbers of 64 bits, both ways round. */
static void
test_boundaries(void)
{
	bool		good = true;

	for (long a = 1; a <= 3000 && good; a++)
	{
		/* The five prices around 5 % above a. */
		for (long b = a + a / 20 - 2; b <= a + a / 20 + 2; b++)
		{
			char		left[32];
			char		right[32];
			DecideOutcome wanted = a == b ? EQUAL : labs(b - a) * 100 < 5 * (a < b ? a : b) ? USE_SHOPIFY : MANUAL;

			if (b < 1)
				continue;
			snprintf(left, sizeof(left), "%ld.%02ld", a / 100, a % 100);
			snprintf(right, sizeof(right), "%ld.%02ld", b / 100, b % 100);
			if (decide_numbers("price", left, right).outcome != wanted || decide_numbers("price", right, left).outcome != wanted)
			{
				printf("# %s and %s\n", left, right);
				good = false;
			}
		}
	}
	check(good, "5 % to the cent, whichever side is higher");
	good = true;
	for (long l = 0; l <= 30; l++)
	{
		for (long s = 0; s <= 30; s++)
		{
			char		left[32];
			char		right[32];
			DecideResult result;
			DecideOutcome wanted = l == s ? EQUAL : s == 0 ? USE_LOCAL : labs(l - s) < 10 ? USE_LOWER : MANUAL;

			snprintf(left, sizeof(left), "%ld", l);
			snprintf(right, sizeof(right), "%ld", s);
			result = decide_numbers("inventory", left, right);
			good &= result.outcome == wanted;
			good &= wanted != USE_LOWER || result.number == DECIMAL(l < s ? l : s);
		}
	}
	check(good, "10 pieces, and 0 on either side");
	check(decide_numbers("price", "999999999999999.999999999", "1").outcome == MANUAL &&
		  decide_numbers("price", "999999999999999.99", "999999999999999.98").outcome == USE_SHOPIFY, "the largest prices do not overflow");
}

int
main(void)
{
	test_decimal();
	test_moments();
	test_descriptions();
	test_rules();
	test_boundaries();
	printf("1..%d\n", tests);
	return failures > 0;
}
