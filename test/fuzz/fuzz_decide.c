/*
 * fuzz_decide.c
 *	  libFuzzer: whatever the values, rules and facts, the decision tree ends with an outcome that keeps its promises: a person is given no
 *	  value, nothing becomes negative or 0 by itself, both orders of two prices come to the same, texts are read within their bounds.
 *	  clang -g -O1 -fsanitize=fuzzer,address,undefined -Isrc test/fuzz/fuzz_decide.c src/conflict/{decimal,moment,description,decide,decide_price,decide_stock,decide_description,decide_rule}.c src/catalog/{diff,path,equal,merge,html}.c
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conflict/decide.h"
#include "conflict/description.h"
#include "conflict/moment.h"

#define MUST(condition) do { if (!(condition)) { fprintf(stderr, "line %d: %s\n", __LINE__, #condition); abort(); } } while (0)
#define RULES 8

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Input
{
	const char *at;
	size_t		left;
} Input;

static unsigned
take_byte(Input *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return (unsigned char) *in->at++;
}

/* The next piece, up to a byte of 0, in memory of just its size, so that a step beyond is seen.  Freed by the caller. */
static DiffText
take_text(Input *in)
{
	const char *zero = in->left == 0 ? NULL : memchr(in->at, 0, in->left);
	size_t		length = zero == NULL ? in->left : (size_t) (zero - in->at);
	char	   *copy = malloc(length + (length == 0));
	DiffText	text = {copy, length};

	memcpy(copy, in->at, length);
	in->at += length;
	in->left -= length;
	take_byte(in);
	return text;
}

/* Numbers as numeric_out writes them, short enough that many of them meet the boundaries. */
static DiffText
take_number(Input *in)
{
	char		digits[40];
	unsigned	shape = take_byte(in);

	if (shape % 8 == 0)
		return take_text(in);
	snprintf(digits, sizeof(digits), shape % 8 == 1 ? "-%u" : shape % 8 < 5 ? "%u" : "%u.%02u", take_byte(in) * 256 + take_byte(in),
			 take_byte(in) % 100);
	return (DiffText) {strdup(digits), strlen(digits)};
}

static DiffValue
take_value(Input *in, unsigned kind)
{
	DiffValue	value = {0};

	switch (kind % 4)
	{
		case 0:
			return value;
		case 1:
			value.type = DIFF_STRING;
			value.text = take_text(in);
			return value;
		default:
			value.type = DIFF_NUMBER;
			value.text = take_number(in);
			return value;
	}
}

static void
take_rules(Input *in, DecideRule *rules, int n)
{
	for (int i = 0; i < n; i++)
	{
		unsigned	bits = take_byte(in);

		rules[i] = (DecideRule) {.limits = decide_shipped};
		rules[i].action = (DecideAction) (bits % 6);
		rules[i].priority = (int) take_byte(in) - 128;
		rules[i].name = take_text(in);
		rules[i].field = take_text(in);
		rules[i].of_connection = bits & 64;
		rules[i].limits.percent = DECIMAL(take_byte(in));
		rules[i].limits.absolute = bits & 128 ? DECIMAL(take_byte(in)) : DECIDE_NONE;
		rules[i].limits.units = DECIMAL(take_byte(in));
		rules[i].limits.delta_merge = bits & 32;
	}
}

static void
keep_promises(const DecideCase *c, const DecideResult *result)
{
	DecideClass class = decide_class(c->path);
	Decimal		number = 1;
	const DiffValue *taken = result->take == TAKE_LOCAL ? &c->local : result->take == TAKE_SHOPIFY ? &c->shopify : NULL;

	MUST(result->outcome <= MANUAL && result->take <= TAKE_ARCHIVED);
	MUST(result->outcome != MANUAL || result->take == TAKE_NOTHING);
	MUST(memchr(result->reason, 0, sizeof(result->reason)) != NULL && result->reason[0] != '\0');
	MUST(result->rule.data != NULL);
	MUST(result->take != TAKE_NUMBER || (class == CLASS_INVENTORY && result->number >= 0 && result->number % DECIMAL_ONE == 0));
	if (class == CLASS_PRICE && result->outcome != EQUAL && taken != NULL && taken->type != DIFF_NULL)
	{
		MUST(decimal_parse(taken->text.data, taken->text.length, &number));
		MUST(number > 0);
	}
}

static void
fuzz_tree(Input *in)
{
	static const char *const paths[] = {
		"price", "variants[A].price", "compare_at_price", "inventory", "variants[A].stock[1]", "description", "title", "cost", "product",
		"variants[A]", "tags"
	};
	unsigned	bits = take_byte(in);
	unsigned	more = take_byte(in);
	unsigned	kinds = take_byte(in);
	unsigned	where = take_byte(in);
	DiffText	path = where % 12 == 11 ? take_text(in) : (DiffText) {strdup(paths[where % 12]), strlen(paths[where % 12])};
	char	   *scratch = malloc(path.length + 1);
	DecideRule	list[RULES];
	DecideRules rules = {(int) (take_byte(in) % (RULES + 1)), list};
	DecideFacts facts = decide_no_facts;
	DecideCase	c = {.path = path,.facts = &facts,.rules = bits & 1 ? &rules : NULL,.based = bits & 2};
	DecideResult result;
	DecideResult again;

	take_rules(in, list, rules.count);
	c.kind = merge_kind_of_path(path.data, path.length, scratch);
	c.base = take_value(in, kinds);
	c.local = take_value(in, kinds >> 2);
	c.shopify = take_value(in, kinds >> 4);
	facts.approved_price = take_value(in, kinds >> 6);
	facts.was_set = (DecideAnswer) ((bits >> 2) % 3);
	facts.etilize_updated = (DecideAnswer) ((bits >> 4) % 3);
	facts.manual_edit = (DecideAnswer) ((bits >> 6) % 3);
	facts.tracked = (DecideAnswer) (more % 3);
	facts.erp_seen_at = (DecideTime) {more & 4, (int64_t) take_byte(in) * 3600000000};
	facts.shopify_order_at = (DecideTime) {more & 8, (int64_t) take_byte(in) * 3600000000};
	facts.now = (DecideTime) {more & 16, more & 32 ? INT64_MAX : INT64_MIN};
	facts.override_delta_merge = more & 64 ? YES : NOT_KNOWN;

	decide_merge(&c, &result);
	keep_promises(&c, &result);
	decide_tree(&c, &again);
	keep_promises(&c, &again);
	decide_tree(&c, &result);
	MUST(memcmp(&result.outcome, &again.outcome, sizeof(result.outcome)) == 0 && strcmp(result.reason, again.reason) == 0);

	/* The price's formula knows no sides, without rules and what was approved. */
	if (decide_class(path) == CLASS_PRICE && c.rules == NULL && facts.approved_price.type == DIFF_NULL)
	{
		DiffValue	swap = c.local;

		c.local = c.shopify;
		c.shopify = swap;
		decide_tree(&c, &again);
		MUST((result.outcome == MANUAL) == (again.outcome == MANUAL));
	}
	free((char *) c.base.text.data);
	free((char *) c.local.text.data);
	free((char *) c.shopify.text.data);
	free((char *) facts.approved_price.text.data);
	for (int i = 0; i < rules.count; i++)
	{
		free((char *) list[i].name.data);
		free((char *) list[i].field.data);
	}
	free(scratch);
	free((char *) path.data);
}

static void
fuzz_texts(Input *in)
{
	DiffText	text = take_text(in);
	char		digits[DECIMAL_TEXT];
	Decimal		value;
	Decimal		again;
	int64_t		at;

	MUST(description_length(text) <= text.length);
	description_fault(text);
	moment_parse(text.data, text.length, &at);
	MUST(decide_short_name(text).length <= text.length);
	if (decimal_parse(text.data, text.length, &value))
	{
		decimal_format(value, digits);
		MUST(decimal_parse(digits, strlen(digits), &again) && again == value);
		MUST(decimal_floor(value) <= value && value - decimal_floor(value) < DECIMAL_ONE);
		for (int n = 0; n <= DECIMAL_SCALE; n++)
			MUST(decimal_abs(decimal_round(value, n) - value) * 2 <= DECIMAL_ONE);
	}
	free((char *) text.data);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Input		in = {(const char *) data, size};

	if (take_byte(&in) % 4 == 0)
		fuzz_texts(&in);
	else
		fuzz_tree(&in);
	return 0;
}
