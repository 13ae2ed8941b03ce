/*
 * html.c
 *	  Descriptions: their canonical form, the length of their text, and what is wrong with them.  See html.h.
 *
 * The canonical form is read byte by byte from two cursors at once and never written down.  Tags stand in it between TAG_OPEN and
 * TAG_CLOSE, so that no text can look like one: other control characters are left out of texts.
 */
#include "conflict/html.h"

#define TAG_OPEN	1
#define TAG_CLOSE	2

typedef enum HtmlMode
{
	IN_TEXT, IN_NAME, BETWEEN_ATTRIBUTES, IN_ATTRIBUTE, IN_VALUE
} HtmlMode;

typedef struct HtmlCursor
{
	const char *at;
	const char *end;
	HtmlMode	mode;
	char		quote;			/* around the value, or 0 */
	bool		space;			/* white space was read and not given yet */
	bool		edge;			/* at the start, or beside a tag around which white space means nothing */
	unsigned char queue[8];
	int			queued;
	int			taken;
} HtmlCursor;

/* Elements that stand on lines of their own. */
static const char *const block_names[] = {
	"address", "article", "blockquote", "body", "br", "dd", "div", "dl", "dt", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6",
	"head", "header", "hr", "html", "li", "main", "meta", "nav", "ol", "p", "pre", "section", "table", "tbody", "td", "tfoot", "th", "thead",
	"title", "tr", "ul", NULL
};
static const char *const void_names[] = {
	"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr", NULL
};
static const char *const optional_names[] = {
	"body", "colgroup", "dd", "dt", "head", "html", "li", "option", "p", "tbody", "td", "tfoot", "th", "thead", "tr", NULL
};

static const struct
{
	const char *name;
	unsigned	code;
}			entities[] = {
	{"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}, {"nbsp", 0xa0}, {"copy", 0xa9}, {"reg", 0xae}, {"deg", 0xb0},
	{"plusmn", 0xb1}, {"sup2", 0xb2}, {"sup3", 0xb3}, {"micro", 0xb5}, {"frac14", 0xbc}, {"frac12", 0xbd}, {"frac34", 0xbe},
	{"times", 0xd7}, {"eacute", 0xe9}, {"ndash", 0x2013}, {"mdash", 0x2014}, {"lsquo", 0x2018}, {"rsquo", 0x2019}, {"ldquo", 0x201c},
	{"rdquo", 0x201d}, {"bull", 0x2022}, {"hellip", 0x2026}, {"prime", 0x2032}, {"Prime", 0x2033}, {"euro", 0x20ac}, {"trade", 0x2122},
	{"le", 0x2264}, {"ge", 0x2265}
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

/* Where a comment or declaration that begins at text with "<!" or "<?" ends; end where it does not. */
static const char *
skip_comment(const char *text, const char *end)
{
	bool		comment = end - text >= 4 && memcmp(text, "<!--", 4) == 0;

	for (text += comment ? 4 : 2; text < end; text++)
		if (*text == '>' && (!comment || (text[-1] == '-' && text[-2] == '-')))
			return text + 1;
	return end;
}

static void
give(HtmlCursor *cursor, unsigned char byte)
{
	cursor->queue[cursor->queued++] = byte;
}

/* Gives a character as UTF-8. */
static void
give_character(HtmlCursor *cursor, unsigned code)
{
	if (code < 0x80)
		give(cursor, (unsigned char) code);
	else if (code < 0x800)
	{
		give(cursor, (unsigned char) (0xc0 | code >> 6));
		give(cursor, (unsigned char) (0x80 | (code & 63)));
	}
	else
	{
		if (code < 0x10000)
			give(cursor, (unsigned char) (0xe0 | code >> 12));
		else
		{
			give(cursor, (unsigned char) (0xf0 | code >> 18));
			give(cursor, (unsigned char) (0x80 | (code >> 12 & 63)));
		}
		give(cursor, (unsigned char) (0x80 | (code >> 6 & 63)));
		give(cursor, (unsigned char) (0x80 | (code & 63)));
	}
}

/* The character of the entity at text, which begins with &, and *length of it; 0 where it is none. */
static unsigned
entity(const char *text, const char *end, size_t *length)
{
	const char *close = memchr(text, ';', (size_t) (end - text > 12 ? 12 : end - text));
	size_t		size = close == NULL ? 0 : (size_t) (close - text) - 1;
	unsigned	code = 0;

	if (size == 0)
		return 0;
	*length = size + 2;
	if (text[1] == '#')
	{
		bool		hex = size > 1 && lower(text[2]) == 'x';

		for (const char *at = text + (hex ? 3 : 2); at < close; at++)
		{
			char		c = lower(*at);
			int			digit = c >= '0' && c <= '9' ? c - '0' : hex && c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;

			if (digit < 0 || code > 0x10ffff)
				return 0;
			code = code * (hex ? 16 : 10) + (unsigned) digit;
		}
		return code <= 0x10ffff ? code : 0;
	}
	for (size_t i = 0; i < sizeof(entities) / sizeof(entities[0]); i++)
		if (strlen(entities[i].name) == size && memcmp(entities[i].name, text + 1, size) == 0)
			return entities[i].code;
	return 0;
}

/* Reads one character, decoding an entity.  A no-break space counts as white space. */
static unsigned
read_character(HtmlCursor *cursor)
{
	size_t		length;
	unsigned	code;

	if (*cursor->at == '&' && (code = entity(cursor->at, cursor->end, &length)) != 0)
	{
		cursor->at += length;
		return code == 0xa0 ? ' ' : code;
	}
	if (cursor->end - cursor->at >= 2 && memcmp(cursor->at, "\xc2\xa0", 2) == 0)
	{
		cursor->at += 2;
		return ' ';
	}
	return (unsigned char) *cursor->at++;
}

/* A byte of what read_character() took as it stands, or a decoded character. */
static void
give_read(HtmlCursor *cursor, const char *before, unsigned code)
{
	if (cursor->at - before == 1)
		give(cursor, (unsigned char) code);
	else
		give_character(cursor, code);
}

static void
give_space(HtmlCursor *cursor)
{
	if (cursor->space && !cursor->edge)
		give(cursor, ' ');
	cursor->space = false;
	cursor->edge = false;
}

static void
read_text(HtmlCursor *cursor)
{
	const char *before = cursor->at;
	unsigned	code;

	if (*before == '<' && cursor->end - before >= 2)
	{
		bool		closing = before[1] == '/';
		DiffText	name = tag_name(before + (closing ? 2 : 1), cursor->end);

		if (before[1] == '!' || before[1] == '?')
		{
			cursor->at = skip_comment(before, cursor->end);
			return;
		}
		if (name.length > 0)
		{
			bool		block = name_among(name, block_names);

			if (block)
				cursor->space = false;
			give_space(cursor);
			cursor->edge = block;
			give(cursor, TAG_OPEN);
			if (closing)
				give(cursor, '/');
			cursor->at = name.data;
			cursor->mode = IN_NAME;
			return;
		}
	}
	code = read_character(cursor);
	if (code < 0x80 && is_space((char) code))
		cursor->space = true;
	else if (code >= 0x20)
	{
		give_space(cursor);
		give_read(cursor, before, code);
	}
}

/* Reads on within a tag. */
static void
read_tag(HtmlCursor *cursor)
{
	char		c = *cursor->at;

	if (cursor->mode == IN_VALUE)
	{
		const char *before = cursor->at;

		if (cursor->quote != 0 ? c == cursor->quote : is_space(c) || c == '>')
		{
			cursor->at += cursor->quote != 0;
			cursor->mode = BETWEEN_ATTRIBUTES;
			return;
		}
		give_read(cursor, before, read_character(cursor));
		return;
	}
	if (c == '>')
	{
		cursor->at++;
		cursor->mode = IN_TEXT;
		give(cursor, TAG_CLOSE);
		return;
	}
	if (is_space(c) || c == '/')
	{
		cursor->mode = BETWEEN_ATTRIBUTES;
		cursor->at++;
		return;
	}
	if (cursor->mode == BETWEEN_ATTRIBUTES && c != '=')
	{
		cursor->mode = IN_ATTRIBUTE;
		give(cursor, ' ');
	}
	cursor->at++;
	if (c != '=')
		give(cursor, (unsigned char) lower(c));
	else
	{
		while (cursor->at < cursor->end && is_space(*cursor->at))
			cursor->at++;
		cursor->quote = cursor->at < cursor->end && (*cursor->at == '"' || *cursor->at == '\'') ? *cursor->at++ : 0;
		cursor->mode = IN_VALUE;
		give(cursor, '=');
	}
}

/* The next byte of the canonical form, or -1 at its end. */
static int
next_byte(HtmlCursor *cursor)
{
	if (cursor->taken == cursor->queued)
	{
		cursor->taken = 0;
		cursor->queued = 0;
		while (cursor->queued == 0)
		{
			if (cursor->at >= cursor->end)
				return -1;
			if (cursor->mode == IN_TEXT)
				read_text(cursor);
			else
				read_tag(cursor);
		}
	}
	return cursor->queue[cursor->taken++];
}

static HtmlCursor
begin(DiffText html)
{
	HtmlCursor	cursor = {.at = html.data,.end = html.data + html.length,.edge = true};

	return cursor;
}

/* Whether two descriptions are the same but for how they are written. */
bool
html_same(DiffText a, DiffText b)
{
	HtmlCursor	left = begin(a);
	HtmlCursor	right = begin(b);
	int			byte;

	if (a.length == b.length && memcmp(a.data, b.data, a.length) == 0)
		return true;
	do
	{
		byte = next_byte(&left);
		if (byte != next_byte(&right))
			return false;
	} while (byte >= 0);
	return true;
}

/* How many characters of text a reader sees; runs of white space count as one. */
size_t
html_text_length(DiffText html)
{
	HtmlCursor	cursor = begin(html);
	bool		tag = false;
	size_t		length = 0;
	int			byte;

	while ((byte = next_byte(&cursor)) >= 0)
	{
		if (byte == TAG_OPEN)
			tag = true;
		else if (byte == TAG_CLOSE)
			tag = false;
		else if (!tag && (byte & 0xc0) != 0x80)
			length++;
	}
	return length;
}

/* Where the tag ends whose name ends at text, behind its >; NULL where it does not.  *empty: it ends with a slash. */
static const char *
tag_end(const char *text, const char *end, bool *empty)
{
	char		quote = 0;

	for (; text < end; text++)
	{
		if (quote != 0)
		{
			if (*text == quote)
				quote = 0;
		}
		else if (*text == '>')
		{
			*empty = text[-1] == '/';
			return text + 1;
		}
		else if ((*text == '"' || *text == '\'') && text[-1] == '=')
			quote = *text;
		else if (*text == '<')
			return NULL;
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
html_fault(DiffText html)
{
	static const char *const scripts[] = {"script", NULL};
	DiffText	open[HTML_DEPTH];
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
			if (depth == HTML_DEPTH)
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
