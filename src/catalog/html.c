/*
 * html.c
 *	  HTML read as a stream of codes that is the same for texts that say the same.  See html.h.
 *
 * A tolerant tokenizer after the HTML standard's, without a tree: it never fails, looks at most a tag's name ahead, keeps a fixed state,
 * and takes time in proportion to the text.  White space is collapsed outside of pre and textarea, and is nothing beside a tag that
 * begins or ends a block.  Script and style are taken as they are.  Attributes keep their order, comments count.
 */
#include "catalog/html.h"

#include <string.h>

#define LONGEST_NAME	10		/* of the elements and entities that are known here */

static const char *const block_names[] = {
	"address", "article", "aside", "blockquote", "body", "br", "center", "dd", "div", "dl", "dt", "fieldset", "figcaption", "figure",
	"footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header", "hr", "html", "li", "main", "nav", "ol", "p", "pre",
	"section", "style", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul"
};

static const struct
{
	const char *name;
	uint16_t	code;
}			entities[] = {
	{"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''}, {"nbsp", 0xA0}, {"iexcl", 0xA1}, {"cent", 0xA2},
	{"pound", 0xA3}, {"curren", 0xA4}, {"yen", 0xA5}, {"brvbar", 0xA6}, {"sect", 0xA7}, {"uml", 0xA8}, {"copy", 0xA9}, {"ordf", 0xAA},
	{"laquo", 0xAB}, {"not", 0xAC}, {"shy", 0xAD}, {"reg", 0xAE}, {"macr", 0xAF}, {"deg", 0xB0}, {"plusmn", 0xB1}, {"sup2", 0xB2},
	{"sup3", 0xB3}, {"acute", 0xB4}, {"micro", 0xB5}, {"para", 0xB6}, {"middot", 0xB7}, {"cedil", 0xB8}, {"sup1", 0xB9},
	{"ordm", 0xBA}, {"raquo", 0xBB}, {"frac14", 0xBC}, {"frac12", 0xBD}, {"frac34", 0xBE}, {"iquest", 0xBF}, {"Agrave", 0xC0},
	{"Aacute", 0xC1}, {"Acirc", 0xC2}, {"Atilde", 0xC3}, {"Auml", 0xC4}, {"Aring", 0xC5}, {"AElig", 0xC6}, {"Ccedil", 0xC7},
	{"Egrave", 0xC8}, {"Eacute", 0xC9}, {"Ecirc", 0xCA}, {"Euml", 0xCB}, {"Igrave", 0xCC}, {"Iacute", 0xCD}, {"Icirc", 0xCE},
	{"Iuml", 0xCF}, {"ETH", 0xD0}, {"Ntilde", 0xD1}, {"Ograve", 0xD2}, {"Oacute", 0xD3}, {"Ocirc", 0xD4}, {"Otilde", 0xD5},
	{"Ouml", 0xD6}, {"times", 0xD7}, {"Oslash", 0xD8}, {"Ugrave", 0xD9}, {"Uacute", 0xDA}, {"Ucirc", 0xDB}, {"Uuml", 0xDC},
	{"Yacute", 0xDD}, {"THORN", 0xDE}, {"szlig", 0xDF}, {"agrave", 0xE0}, {"aacute", 0xE1}, {"acirc", 0xE2}, {"atilde", 0xE3},
	{"auml", 0xE4}, {"aring", 0xE5}, {"aelig", 0xE6}, {"ccedil", 0xE7}, {"egrave", 0xE8}, {"eacute", 0xE9}, {"ecirc", 0xEA},
	{"euml", 0xEB}, {"igrave", 0xEC}, {"iacute", 0xED}, {"icirc", 0xEE}, {"iuml", 0xEF}, {"eth", 0xF0}, {"ntilde", 0xF1},
	{"ograve", 0xF2}, {"oacute", 0xF3}, {"ocirc", 0xF4}, {"otilde", 0xF5}, {"ouml", 0xF6}, {"divide", 0xF7}, {"oslash", 0xF8},
	{"ugrave", 0xF9}, {"uacute", 0xFA}, {"ucirc", 0xFB}, {"uuml", 0xFC}, {"yacute", 0xFD}, {"thorn", 0xFE}, {"yuml", 0xFF},
	{"OElig", 0x152}, {"oelig", 0x153}, {"Scaron", 0x160}, {"scaron", 0x161}, {"Omega", 0x3A9}, {"mu", 0x3BC}, {"ensp", 0x2002},
	{"emsp", 0x2003}, {"thinsp", 0x2009}, {"ndash", 0x2013}, {"mdash", 0x2014}, {"lsquo", 0x2018}, {"rsquo", 0x2019},
	{"sbquo", 0x201A}, {"ldquo", 0x201C}, {"rdquo", 0x201D}, {"bdquo", 0x201E}, {"dagger", 0x2020}, {"bull", 0x2022},
	{"hellip", 0x2026}, {"permil", 0x2030}, {"prime", 0x2032}, {"Prime", 0x2033}, {"euro", 0x20AC}, {"trade", 0x2122},
	{"larr", 0x2190}, {"rarr", 0x2192}, {"minus", 0x2212}, {"infin", 0x221E}, {"ne", 0x2260}, {"le", 0x2264}, {"ge", 0x2265}
};

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

static bool
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char) (c + ('a' - 'A')) : c;
}

/* Whether text begins with this word, which is of small letters; by ASCII alone, whatever the locale. */
static bool
begins_with(const char *text, const char *word, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (lower(text[i]) != word[i])
			return false;
	return true;
}

/* Bytes of a tag's name, which ends at white space, a slash or the tag's end. */
static size_t
name_length(const HtmlReader *reader)
{
	size_t		n = 0;

	while (n <= LONGEST_NAME && reader->at + n < reader->end && !is_space(reader->at[n]) && reader->at[n] != '/' && reader->at[n] != '>')
		n++;
	return n;
}

static bool
name_is(const HtmlReader *reader, size_t length, const char *name)
{
	return strlen(name) == length && begins_with(reader->at, name, length);
}

static void
give(HtmlReader *reader, int code)
{
	reader->pending[reader->npending++] = code;
}

static void
give_character(HtmlReader *reader, uint32_t code)
{
	if (code == 0 || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
		code = 0xFFFD;
	if (code < 0x80)
		give(reader, (int) code);
	else if (code < 0x800)
	{
		give(reader, (int) (0xC0 | code >> 6));
		give(reader, (int) (0x80 | (code & 0x3F)));
	}
	else
	{
		if (code < 0x10000)
			give(reader, (int) (0xE0 | code >> 12));
		else
		{
			give(reader, (int) (0xF0 | code >> 18));
			give(reader, (int) (0x80 | (code >> 12 & 0x3F)));
		}
		give(reader, (int) (0x80 | (code >> 6 & 0x3F)));
		give(reader, (int) (0x80 | (code & 0x3F)));
	}
}

/* Reads "#123;" or "#x1F;" behind an ampersand.  0 where there is none, else the bytes taken. */
static size_t
read_number(const char *text, size_t length, uint32_t *code)
{
	bool		hexadecimal = length > 1 && (text[1] == 'x' || text[1] == 'X');
	size_t		start = hexadecimal ? 2 : 1;
	size_t		i;

	*code = 0;
	for (i = start; i < length && i < start + 8; i++)
	{
		char		c = lower(text[i]);

		if (c >= '0' && c <= '9')
			*code = *code * (hexadecimal ? 16 : 10) + (uint32_t) (c - '0');
		else if (hexadecimal && c >= 'a' && c <= 'f')
			*code = *code * 16 + (uint32_t) (c - 'a' + 10);
		else
			break;
	}
	return i > start && i < length && text[i] == ';' ? i + 1 : 0;
}

/* Reads a character reference behind an ampersand.  0 where there is none: then the ampersand is one. */
static size_t
read_entity(const char *text, size_t length, uint32_t *code)
{
	size_t		n = 0;

	if (length > 0 && text[0] == '#')
		return read_number(text, length, code);
	while (n < length && n <= LONGEST_NAME && (is_letter(text[n]) || (text[n] >= '0' && text[n] <= '9')))
		n++;
	if (n == 0 || n == length || text[n] != ';')
		return 0;
	for (size_t i = 0; i < sizeof(entities) / sizeof(entities[0]); i++)
	{
		if (strlen(entities[i].name) == n && memcmp(entities[i].name, text, n) == 0)
		{
			*code = entities[i].code;
			return n + 1;
		}
	}
	return 0;
}

/* Gives the character at hand, which may be written as an entity. */
static void
give_text(HtmlReader *reader)
{
	uint32_t	code;
	size_t		taken = 0;

	if (*reader->at == '&')
		taken = read_entity(reader->at + 1, (size_t) (reader->end - reader->at - 1), &code);
	if (taken > 0)
		give_character(reader, code);
	else
		give(reader, (unsigned char) *reader->at);
	reader->at += 1 + taken;
}

/* White space that was seen before something of the same line. */
static void
give_space(HtmlReader *reader)
{
	if (reader->space && !reader->fresh)
		give(reader, ' ');
	reader->space = false;
}

/* Begins a comment, or what is taken for one: it reaches to --> or, where it is bogus, to the next >. */
static void
begin_comment(HtmlReader *reader, bool bogus)
{
	reader->bogus = bogus;
	reader->at += bogus ? 2 : 4;
	reader->state = HTML_IN_COMMENT;
	give_space(reader);
	reader->fresh = false;
	give(reader, HTML_COMMENT);
}

/* Begins the tag whose name is at hand. */
static void
begin_tag(HtmlReader *reader, bool closing)
{
	size_t		length = name_length(reader);
	bool		pre = name_is(reader, length, "pre") || name_is(reader, length, "textarea");

	reader->ended_block = false;
	for (size_t i = 0; i < sizeof(block_names) / sizeof(block_names[0]) && !reader->ended_block; i++)
		reader->ended_block = name_is(reader, length, block_names[i]);
	if (reader->ended_block)
		reader->space = false;
	give_space(reader);
	if (pre)
		reader->preformatted += closing ? (reader->preformatted > 0 ? -1 : 0) : 1;
	reader->raw = NULL;
	if (!closing && name_is(reader, length, "script"))
		reader->raw = "script";
	else if (!closing && name_is(reader, length, "style"))
		reader->raw = "style";
	give(reader, closing ? HTML_CLOSE : HTML_OPEN);
	reader->state = HTML_IN_NAME;
}

/* Looks at what a < begins.  False where it is but a character. */
static bool
begin_markup(HtmlReader *reader)
{
	size_t		left = (size_t) (reader->end - reader->at);

	if (left < 2)
		return false;
	if (is_letter(reader->at[1]))
	{
		reader->at++;
		begin_tag(reader, false);
	}
	else if (reader->at[1] == '/' && left > 2 && is_letter(reader->at[2]))
	{
		reader->at += 2;
		begin_tag(reader, true);
	}
	else if (left >= 4 && memcmp(reader->at, "<!--", 4) == 0)
		begin_comment(reader, false);
	else if (reader->at[1] == '!' || reader->at[1] == '?')
		begin_comment(reader, true);
	else
		return false;
	return true;
}

static void
step_text(HtmlReader *reader)
{
	char		c = *reader->at;

	if (is_space(c) && reader->preformatted == 0)
	{
		reader->space = true;
		reader->at++;
	}
	else if (c == '\r' && reader->end - reader->at > 1 && reader->at[1] == '\n')
		reader->at++;
	else if (c != '<' || !begin_markup(reader))
	{
		give_space(reader);
		reader->fresh = false;
		give_text(reader);
	}
}

static void
step_name(HtmlReader *reader)
{
	char		c = *reader->at;

	if (is_space(c) || c == '/' || c == '>')
		reader->state = HTML_IN_TAG;
	else
	{
		give(reader, (unsigned char) lower(c));
		reader->at++;
	}
}

static void
step_tag(HtmlReader *reader)
{
	char		c = *reader->at;

	if (c == '>')
	{
		reader->fresh = reader->ended_block;
		reader->state = reader->raw != NULL ? HTML_IN_RAW : HTML_IN_TEXT;
		give(reader, HTML_TAG_END);
	}
	else if (!is_space(c) && c != '/')
	{
		reader->state = HTML_IN_ATTRIBUTE;
		give(reader, HTML_ATTRIBUTE);
		give(reader, (unsigned char) lower(c));
	}
	reader->at++;
}

/* An attribute's name; behind it the value, which may be missing: then it is the empty one. */
static void
step_attribute(HtmlReader *reader)
{
	char		c = *reader->at;

	if (!is_space(c) && c != '/' && c != '>' && c != '=')
	{
		give(reader, (unsigned char) lower(c));
		reader->at++;
		return;
	}
	while (reader->at < reader->end && is_space(*reader->at))
		reader->at++;
	give(reader, HTML_VALUE);
	reader->state = HTML_IN_TAG;
	if (reader->at == reader->end || *reader->at != '=')
		return;
	reader->at++;
	while (reader->at < reader->end && is_space(*reader->at))
		reader->at++;
	reader->state = HTML_IN_VALUE;
	reader->quote = '\0';
	if (reader->at < reader->end && (*reader->at == '"' || *reader->at == '\''))
		reader->quote = *reader->at++;
}

static void
step_value(HtmlReader *reader)
{
	char		c = *reader->at;

	if (reader->quote != '\0' ? c != reader->quote : !is_space(c) && c != '>')
		give_text(reader);
	else
	{
		reader->state = HTML_IN_TAG;
		if (reader->quote != '\0')
			reader->at++;
	}
}

static void
step_comment(HtmlReader *reader)
{
	size_t		left = (size_t) (reader->end - reader->at);

	if (reader->bogus ? *reader->at != '>' : left < 3 || memcmp(reader->at, "-->", 3) != 0)
	{
		give(reader, (unsigned char) *reader->at);
		reader->at++;
		return;
	}
	reader->at += reader->bogus ? 1 : 3;
	reader->state = HTML_IN_TEXT;
	give(reader, HTML_TAG_END);
}

/* Text of a script or style sheet, up to its end tag. */
static void
step_raw(HtmlReader *reader)
{
	size_t		length = strlen(reader->raw);

	if ((size_t) (reader->end - reader->at) >= length + 2 && reader->at[0] == '<' && reader->at[1] == '/' &&
		begins_with(reader->at + 2, reader->raw, length))
	{
		reader->state = HTML_IN_TEXT;
		return;
	}
	give(reader, (unsigned char) *reader->at);
	reader->at++;
}

/* Begins to read a text. */
void
html_open(HtmlReader *reader, const char *text, size_t length)
{
	memset(reader, 0, sizeof(*reader));
	reader->at = text;
	reader->end = text + length;
	reader->fresh = true;
}

/* The next code, or HTML_END. */
int
html_next(HtmlReader *reader)
{
	static void (*const steps[]) (HtmlReader *) = {
		step_text, step_name, step_tag, step_attribute, step_value, step_comment, step_raw
	};

	while (reader->next == reader->npending)
	{
		reader->next = reader->npending = 0;
		if (reader->at >= reader->end)
			return HTML_END;
		steps[reader->state] (reader);
	}
	return reader->pending[reader->next++];
}

/* Whether two texts say the same. */
bool
html_equal(const char *a, size_t a_length, const char *b, size_t b_length)
{
	HtmlReader	a_reader;
	HtmlReader	b_reader;
	int			code;

	if (a_length == b_length && (a_length == 0 || memcmp(a, b, a_length) == 0))
		return true;
	html_open(&a_reader, a, a_length);
	html_open(&b_reader, b, b_length);
	do
	{
		code = html_next(&a_reader);
		if (code != html_next(&b_reader))
			return false;
	} while (code != HTML_END);
	return true;
}
