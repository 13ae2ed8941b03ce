/*
 * description.c
 *	  How much text there is in a description, and what is wrong with its HTML.
 *
 * What browsers make up for without harm (an open <li>, a < that begins no tag) is sound.  What would swallow the rest of a page (a tag
 * without end, an open <table>, a script) is not.
 */
#include "conflict/description.h"

#include "catalog/html.h"

static const char *const void_names[] = {
	"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr", NULL
};
static const char *const optional_names[] = {
	"body", "colgroup", "dd", "dt", "head", "html", "li", "option", "p", "tbody", "td", "tfoot", "th", "thead", "tr", NULL
};

static bool
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char) (c + 32) : c;
}

static bool
name_among(DiffText name, const char *const *list)
{
	for (; *list != NULL; list++)
	{
		size_t		i = 0;

		while (i < name.length && (*list)[i] != '\0' && lower(name.data[i]) == (*list)[i])
			i++;
		if (i == name.length && (*list)[i] == '\0')
			return true;
	}
	return false;
}

/* The name of the tag that begins at text, behind its "<" or "</"; empty where no tag does. */
static DiffText
tag_name(const char *text, const char *end)
{
	DiffText	name = {text, 0};

	if (text < end && is_letter(*text))
		while (text < end && !is_space(*text) && *text != '>' && *text != '/' && *text != '<')
			name.length++, text++;
	return name;
}

/* Where a comment or declaration that begins at text with "<!" or "<?" ends; NULL where it does not. */
static const char *
skip_comment(const char *text, const char *end)
{
	bool		comment = end - text >= 4 && memcmp(text, "<!--", 4) == 0;

	for (text += comment ? 4 : 2; text < end; text++)
		if (*text == '>' && (!comment || (text[-1] == '-' && text[-2] == '-')))
			return text + 1;
	return NULL;
}

/* How many characters of text a reader sees; runs of white space count as one, spaces that hold a line together do not count. */
size_t
description_length(DiffText html)
{
	HtmlReader	reader;
	bool		text = true;
	size_t		length = 0;
	int			before = 0;
	int			code;

	html_open(&reader, html.data, html.length);
	while ((code = html_next(&reader)) != HTML_END)
	{
		if (code == HTML_OPEN || code == HTML_CLOSE || code == HTML_COMMENT)
			text = false;
		else if (code == HTML_TAG_END)
			text = true;
		else if (text && code < 256)
		{
			/* In UTF-8 a no-break space is C2 A0. */
			if (before == 0xc2 && code == 0xa0)
				length--;
			else if ((code & 0xc0) != 0x80)
				length++;
		}
		before = text ? code : 0;
	}
	return length;
}

/*
 * Where the tag ends whose name ends at text, behind its >; NULL where it does not.  *empty: it ends with a slash that is not of a value
 * without quotes, as in <a href=/pens/>.
 */
static const char *
tag_end(const char *text, const char *end, bool *empty)
{
	char		quote = 0;
	bool		equals = false; /* a value comes next */
	bool		bare = false;	/* within a value without quotes */

	for (; text < end; text++)
	{
		if (quote != 0)
		{
			if (*text == quote)
				quote = 0;
		}
		else if (*text == '>')
		{
			*empty = text[-1] == '/' && !bare;
			return text + 1;
		}
		else if (*text == '<')
			return NULL;
		else if (is_space(*text))
			bare = false;
		else if (equals)
		{
			equals = false;
			bare = *text != '"' && *text != '\'';
			quote = bare ? 0 : *text;
		}
		else if (!bare)
			equals = *text == '=';
	}
	return NULL;
}

static bool
same_name(DiffText a, DiffText b)
{
	if (a.length != b.length)
		return false;
	for (size_t i = 0; i < a.length; i++)
		if (lower(a.data[i]) != lower(b.data[i]))
			return false;
	return true;
}

/* What is wrong with a description, in words; NULL where it is sound.  What browsers make up for (an open <li>) is sound. */
const char *
description_fault(DiffText html)
{
	static const char *const scripts[] = {"script", NULL};
	DiffText	open[DESCRIPTION_DEPTH];
	int			depth = 0;
	const char *end = html.data + html.length;

	for (const char *at = html.data; at < end;)
	{
		bool		closing = end - at >= 2 && at[1] == '/';
		bool		empty = false;
		DiffText	name;

		if (*at != '<' || end - at < 2)
		{
			if ((unsigned char) *at < 0x20 && !is_space(*at))
				return "it has a control character";
			at++;
			continue;
		}
		if (at[1] == '!' || at[1] == '?')
		{
			at = skip_comment(at, end);
			if (at == NULL)
				return "a comment in it has no end";
			continue;
		}
		name = tag_name(at + (closing ? 2 : 1), end);
		if (name.length == 0)
		{
			at++;
			continue;
		}
		at = tag_end(name.data + name.length, end, &empty);
		if (at == NULL)
			return "a tag in it has no end";
		if (name_among(name, scripts))
			return "it has a script";
		if (name_among(name, void_names) || (empty && !closing))
			continue;
		if (!closing)
		{
			if (depth == DESCRIPTION_DEPTH)
				return "its tags are nested too deep";
			open[depth++] = name;
			continue;
		}
		while (depth > 0 && !same_name(open[depth - 1], name) && name_among(open[depth - 1], optional_names))
			depth--;
		if (depth == 0 || !same_name(open[depth - 1], name))
			return "it closes an element that is not open";
		depth--;
	}
	while (depth > 0)
		if (!name_among(open[--depth], optional_names))
			return "an element in it is never closed";
	return NULL;
}
