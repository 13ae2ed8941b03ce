/*
 * path.c
 *	  The names of a document's fields: written from keys, and read back.  See diff.h for how they look.
 */
#include "diff.h"

/* Whether this can be the name of a field. */
bool
diff_is_name(DiffText text)
{
	if (text.length == 0 || text.length > DIFF_MAX_NAME || text.data[0] < 'a' || text.data[0] > 'z')
		return false;
	for (size_t i = 0; i < text.length; i++)
	{
		char		c = text.data[i];

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'))
			return false;
	}
	return true;
}

/* Where a text is being written: like snprintf, counts on when the space is used up. */
typedef struct Output
{
	char	   *out;
	size_t		size;
	size_t		length;
} Output;

static void
put(Output *output, char c)
{
	if (output->length < output->size)
		output->out[output->length] = c;
	output->length++;
}

static void
put_text(Output *output, DiffText text)
{
	for (size_t i = 0; i < text.length; i++)
		put(output, text.data[i]);
}

static bool
needs_quotes(DiffText sku)
{
	for (size_t i = 0; i < sku.length; i++)
	{
		char		c = sku.data[i];

		if (c == '"' || c == '\\' || c == '[' || c == ']' || (unsigned char) c < 0x20)
			return true;
	}
	return sku.length == 0;
}

/* Writes a JSON string with the escapes that PostgreSQL's escape_json() writes. */
static void
put_quoted(Output *output, DiffText text)
{
	static const char plain[] = "\b\f\n\r\t\"\\";
	static const char letter[] = "bfnrt\"\\";
	static const char hex[] = "0123456789abcdef";

	put(output, '"');
	for (size_t i = 0; i < text.length; i++)
	{
		char		c = text.data[i];
		const char *found = c == '\0' ? NULL : strchr(plain, c);

		if (found != NULL)
		{
			put(output, '\\');
			put(output, letter[found - plain]);
		}
		else if ((unsigned char) c < 0x20)
		{
			put_text(output, (DiffText) {"\\u00", 4});
			put(output, hex[c >> 4]);
			put(output, hex[c & 15]);
		}
		else
			put(output, c);
	}
	put(output, '"');
}

/* Writes a path's name, without a NUL; returns its whole length, of which at most size bytes are written. */
size_t
diff_path_format(const DiffPath *path, char *out, size_t size)
{
	Output		output = {out, size, 0};
	int			next = 1;

	put_text(&output, path->keys[0]);
	if (path->count > 1 && diff_text_is(path->keys[0], "variants"))
	{
		put(&output, '[');
		if (needs_quotes(path->keys[1]))
			put_quoted(&output, path->keys[1]);
		else
			put_text(&output, path->keys[1]);
		put(&output, ']');
		next = 2;
	}
	for (; next < path->count; next++)
	{
		put(&output, '.');
		put_text(&output, path->keys[next]);
	}
	return output.length;
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Reads the quoted SKU that starts at text[*at] into scratch.  False when it is not one that put_quoted() writes. */
static bool
parse_quoted(const char *text, size_t length, size_t *at, DiffText *sku, char *scratch)
{
	static const char plain[] = "\b\f\n\r\t\"\\";
	static const char letter[] = "bfnrt\"\\";
	size_t		i = *at + 1;
	size_t		n = 0;

	for (; i < length && text[i] != '"'; i++)
	{
		char		c = text[i];

		if ((unsigned char) c < 0x20)
			return false;
		if (c == '\\')
		{
			const char *found;

			if (++i >= length || text[i] == '\0')
				return false;
			found = strchr(letter, text[i]);
			if (found != NULL)
				c = plain[found - letter];
			else if (text[i] == 'u' && i + 4 < length && text[i + 1] == '0' && text[i + 2] == '0' &&
					 (text[i + 3] == '0' || text[i + 3] == '1') && hex_digit(text[i + 4]) >= 0)
			{
				c = (char) (hex_digit(text[i + 3]) * 16 + hex_digit(text[i + 4]));
				i += 4;
				if (c == '\0' || strchr(plain, c) != NULL)
					return false;
			}
			else
				return false;
		}
		scratch[n++] = c;
	}
	if (i >= length)
		return false;
	sku->data = scratch;
	sku->length = n;
	*at = i + 1;
	return needs_quotes(*sku);
}

/* Reads "variants[SKU]" up to its bracket; *at is then behind it. */
static bool
parse_sku(const char *text, size_t length, size_t *at, DiffText *sku, char *scratch)
{
	if (*at < length && text[*at] == '"')
	{
		if (!parse_quoted(text, length, at, sku, scratch))
			return false;
	}
	else
	{
		const char *close = memchr(text + *at, ']', length - *at);

		if (close == NULL)
			return false;
		sku->data = text + *at;
		sku->length = (size_t) (close - sku->data);
		*at += sku->length;
		if (needs_quotes(*sku))
			return false;
	}
	return *at < length && text[(*at)++] == ']';
}

/* Reads NAME, or NAME.KEY where NAME is a map, as the keys from path->count on. */
static bool
parse_field(const char *text, size_t length, bool variant, DiffPath *path)
{
	const char *dot = memchr(text, '.', length);
	DiffText	name = {text, dot == NULL ? length : (size_t) (dot - text)};
	bool		map = diff_text_is(name, "attributes") || diff_text_is(name, variant ? "options" : "metafields");

	if (!diff_is_name(name) || map != (dot != NULL) || (!variant && diff_text_is(name, "variants")))
		return false;
	path->keys[path->count++] = name;
	if (map)
	{
		path->keys[path->count].data = dot + 1;
		path->keys[path->count++].length = length - name.length - 1;
	}
	return true;
}

/*
 * Reads a path's name.  Its keys point into text, or for a quoted SKU into scratch, which must have room for length bytes.
 * False when the text is no name that diff_path_format() could have written.
 */
bool
diff_path_parse(const char *text, size_t length, DiffPath *path, char *scratch)
{
	static const char opening[] = "variants[";
	size_t		at = sizeof(opening) - 1;

	path->count = 0;
	if (length < at || memcmp(text, opening, at) != 0)
		return parse_field(text, length, false, path);
	path->keys[path->count++] = (DiffText) {"variants", 8};
	if (!parse_sku(text, length, &at, &path->keys[path->count++], scratch))
		return false;
	if (at == length)
		return true;
	return text[at] == '.' && parse_field(text + at + 1, length - at - 1, true, path);
}
