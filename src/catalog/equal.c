/*
 * equal.c
 *	  Whether the catalogue's value of a field and a shop's are the same.  See merge.h for what counts.
 *
 * Shops give back other texts than they were sent: tags sorted, HTML written anew, images under addresses with a version, numbers with
 * other zeros.  These comparisons are equivalences, so that what was merged stays merged; only a metafield's number is the same as several
 * texts that differ.
 */
#include "catalog/merge.h"

#include <stdint.h>

#include "catalog/html.h"

#define MONEY_DIGITS	4
#define WEIGHT_DIGITS	2
#define LONGEST_ROUNDED	60		/* digits; longer numbers are compared as they are */
#define LONGEST_NUMBER	100		/* of a text that may be one */

static bool
text_equal(DiffText a, DiffText b)
{
	return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

static DiffText
trimmed(DiffText text)
{
	while (text.length > 0 && (unsigned char) text.data[0] <= ' ')
	{
		text.data++;
		text.length--;
	}
	while (text.length > 0 && (unsigned char) text.data[text.length - 1] <= ' ')
		text.length--;
	return text;
}

/* Whether a text is [-]digits[.digits], as a number is laid out. */
static bool
is_number(DiffText text)
{
	size_t		i = text.length > 0 && text.data[0] == '-';
	size_t		digits = 0;
	bool		point = false;

	if (text.length > LONGEST_NUMBER)
		return false;
	for (; i < text.length; i++)
	{
		if (text.data[i] >= '0' && text.data[i] <= '9')
			digits++;
		else if (text.data[i] == '.' && !point && digits > 0 && i + 1 < text.length)
			point = true;
		else
			return false;
	}
	return digits > 0;
}

/* The number that a value is, or that its text is; false where it is none. */
static bool
as_number(const DiffValue *value, DiffValue *number)
{
	*number = *value;
	number->type = DIFF_NUMBER;
	if (value->type == DIFF_NUMBER)
		return true;
	if (value->type != DIFF_STRING)
		return false;
	number->text = trimmed(value->text);
	return is_number(number->text);
}

/*
 * Writes a number's digits with so many behind the point, rounded half away from zero, without leading zeros.  Returns how many, 0 for
 * zero, or -1 for a number that is too long.
 */
static int
round_digits(DiffText number, int places, char *out, bool *negative)
{
	size_t		i = number.length > 0 && number.data[0] == '-';
	int			n = 0;
	int			behind = -1;	/* digits behind the point, -1: not there yet */
	bool		up = false;

	*negative = i > 0;
	while (i < number.length && number.data[i] == '0')
		i++;
	out[n++] = '0';				/* room for a carry */
	for (; i < number.length && behind < places; i++)
	{
		if (number.data[i] == '.')
			behind = 0;
		else if (n > LONGEST_ROUNDED)
			return -1;
		else
		{
			out[n++] = number.data[i];
			if (behind >= 0)
				behind++;
		}
	}
	if (behind == places && i < number.length)
		up = number.data[i] >= '5' && number.data[i] <= '9';
	for (behind = behind < 0 ? 0 : behind; behind < places; behind++)
		out[n++] = '0';
	for (int j = n - 1; up; j--)
	{
		up = out[j] == '9';
		out[j] = up ? '0' : (char) (out[j] + 1);
	}
	for (i = 0; i < (size_t) n && out[i] == '0';)
		i++;
	memmove(out, out + i, (size_t) n - i);
	return n - (int) i;
}

static bool
rounded_equal(const DiffValue *a, const DiffValue *b, int places)
{
	char		a_digits[LONGEST_ROUNDED + 10];
	char		b_digits[LONGEST_ROUNDED + 10];
	bool		a_negative;
	bool		b_negative;
	DiffValue	a_number;
	DiffValue	b_number;
	int			a_count;
	int			b_count;

	if (!as_number(a, &a_number) || !as_number(b, &b_number))
		return diff_equal(a, b);
	a_count = round_digits(a_number.text, places, a_digits, &a_negative);
	b_count = round_digits(b_number.text, places, b_digits, &b_negative);
	if (a_count < 0 || b_count < 0)
		return a_count < 0 && b_count < 0 && diff_equal(&a_number, &b_number);
	return a_count == b_count && (a_count == 0 || (a_negative == b_negative && memcmp(a_digits, b_digits, (size_t) a_count) == 0));
}

/* Whether a weight is 0, which is what a shop has where none was given. */
static bool
is_zero(const DiffValue *value)
{
	char		digits[LONGEST_ROUNDED + 10];
	bool		negative;
	DiffValue	number;

	return as_number(value, &number) && round_digits(number.text, WEIGHT_DIGITS, digits, &negative) == 0;
}

static bool
is_nothing(MergeKind kind, const DiffValue *value)
{
	HtmlReader	reader;

	if (value == NULL || value->type == DIFF_NULL)
		return true;
	if (value->type == DIFF_ARRAY || value->type == DIFF_OBJECT)
		return value->count == 0;
	if (kind == MERGE_WEIGHT && is_zero(value))
		return true;
	if (value->type != DIFF_STRING)
		return false;
	if (kind == MERGE_HTML)
	{
		html_open(&reader, value->text.data, value->text.length);
		return html_next(&reader) == HTML_END;
	}
	return (kind == MERGE_EXACT || kind == MERGE_JSON ? value->text : trimmed(value->text)).length == 0;
}

static unsigned char
lower(char c)
{
	return (unsigned char) (c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

/* Whether two texts are the same but for the case of ASCII letters. */
static bool
same_letters(DiffText a, DiffText b)
{
	if (a.length != b.length)
		return false;
	for (size_t i = 0; i < a.length; i++)
		if (lower(a.data[i]) != lower(b.data[i]))
			return false;
	return true;
}

/* FNV-1a of a tag's letters, small ones. */
static uint64_t
tag_hash(DiffText tag)
{
	uint64_t	hash = UINT64_C(14695981039346656037);

	for (size_t i = 0; i < tag.length; i++)
		hash = (hash ^ lower(tag.data[i])) * UINT64_C(1099511628211);
	return hash;
}

static bool
tags_within(const DiffValue *a, const DiffValue *b)
{
	uint64_t	hashes[DIFF_MAX_TAGS];

	for (size_t i = 0; i < b->count; i++)
		hashes[i] = tag_hash(trimmed(b->items[i].text));
	for (size_t i = 0; i < a->count; i++)
	{
		DiffText	tag = trimmed(a->items[i].text);
		uint64_t	hash = tag_hash(tag);
		bool		found = tag.length == 0;

		for (size_t j = 0; j < b->count && !found; j++)
			found = hashes[j] == hash && same_letters(tag, trimmed(b->items[j].text));
		if (!found)
			return false;
	}
	return true;
}

static bool
are_tags(const DiffValue *value)
{
	if (value->type != DIFF_ARRAY || value->count > DIFF_MAX_TAGS)
		return false;
	for (size_t i = 0; i < value->count; i++)
		if (value->items[i].type != DIFF_STRING)
			return false;
	return true;
}

static bool
tags_equal(const DiffValue *a, const DiffValue *b)
{
	if (!are_tags(a) || !are_tags(b))
		return diff_equal(a, b);
	return tags_within(a, b) && tags_within(b, a);
}

/* An image's address without its query, or its alt; empty where it has none. */
static DiffText
image_text(const DiffValue *image, const char *name)
{
	DiffText	key = {name, strlen(name)};
	const DiffValue *value = diff_member(image, key);
	DiffText	text = {"", 0};

	if (value != NULL && value->type == DIFF_STRING)
		text = trimmed(value->text);
	if (name[0] == 's' && text.length > 0)
	{
		const char *query = memchr(text.data, '?', text.length);

		if (query != NULL)
			text.length = (size_t) (query - text.data);
	}
	return text;
}

static bool
images_equal(const DiffValue *a, const DiffValue *b)
{
	if (a->type != DIFF_ARRAY || b->type != DIFF_ARRAY)
		return diff_equal(a, b);
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
	{
		if (a->items[i].type != DIFF_OBJECT || b->items[i].type != DIFF_OBJECT)
		{
			if (!diff_equal(&a->items[i], &b->items[i]))
				return false;
		}
		else if (!text_equal(image_text(&a->items[i], "src"), image_text(&b->items[i], "src")) ||
				 !text_equal(image_text(&a->items[i], "alt"), image_text(&b->items[i], "alt")))
			return false;
	}
	return true;
}

/* A status in one form: archived, draft, active. */
static DiffText
status_word(DiffText text)
{
	static const DiffText active = {"active", 6};
	static const DiffText unlisted = {"unlisted", 8};

	text = trimmed(text);
	return same_letters(text, unlisted) ? active : text;
}

/* A metafield: a number or truth value may be given as text. */
static bool
json_equal(const DiffValue *a, const DiffValue *b)
{
	DiffValue	a_number;
	DiffValue	b_number;

	if ((a->type == DIFF_NUMBER) != (b->type == DIFF_NUMBER))
		return as_number(a, &a_number) && as_number(b, &b_number) && diff_equal(&a_number, &b_number);
	if (a->type == DIFF_BOOLEAN && b->type == DIFF_STRING)
		return diff_text_is(b->text, a->boolean ? "true" : "false");
	if (b->type == DIFF_BOOLEAN && a->type == DIFF_STRING)
		return json_equal(b, a);
	return diff_equal(a, b);
}

/* Whether two values of a field of this kind are the same; NULL is no value. */
bool
merge_equal(MergeKind kind, const DiffValue *a, const DiffValue *b)
{
	bool		texts;

	if (is_nothing(kind, a) || is_nothing(kind, b))
		return is_nothing(kind, a) && is_nothing(kind, b);
	texts = a->type == DIFF_STRING && b->type == DIFF_STRING;
	switch (kind)
	{
		case MERGE_TEXT:
			return texts ? text_equal(trimmed(a->text), trimmed(b->text)) : diff_equal(a, b);
		case MERGE_HTML:
			return texts ? html_equal(a->text.data, a->text.length, b->text.data, b->text.length) : diff_equal(a, b);
		case MERGE_STATUS:
			return texts ? same_letters(status_word(a->text), status_word(b->text)) : diff_equal(a, b);
		case MERGE_TAGS:
			return tags_equal(a, b);
		case MERGE_IMAGES:
			return images_equal(a, b);
		case MERGE_JSON:
		case MERGE_NUMBER:
			return json_equal(a, b);
		case MERGE_MONEY:
			return rounded_equal(a, b, MONEY_DIGITS);
		case MERGE_WEIGHT:
			return rounded_equal(a, b, WEIGHT_DIGITS);
		case MERGE_VARIANT:
			return merge_variants_equal(a, b);
		case MERGE_EXACT:
			break;
	}
	return diff_equal(a, b);
}
