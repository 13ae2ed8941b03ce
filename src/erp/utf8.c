/*
 * utf8.c
 *	  Characters of UTF-8, and the mending of JSON whose bytes are not all valid.  See utf8.h.
 */
#include "erp/utf8.h"

#include <string.h>

/* Length of the valid UTF-8 character at p, 0 where there is none within len bytes (RFC 3629: no surrogates, no overlong forms). */
size_t
utf8_length(const unsigned char *p, size_t len)
{
	size_t		need;
	unsigned char low = 0x80;
	unsigned char high = 0xBF;

	if (len == 0)
		return 0;
	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xC2 || p[0] > 0xF4)
		return 0;
	need = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
	if (len < need)
		return 0;
	if (p[0] == 0xE0)
		low = 0xA0;
	else if (p[0] == 0xED)
		high = 0x9F;
	else if (p[0] == 0xF0)
		low = 0x90;
	else if (p[0] == 0xF4)
		high = 0x8F;
	if (p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < need; i++)
	{
		if ((p[i] & 0xC0) != 0x80)
			return 0;
	}
	return need;
}

/* Code unit of an escape "\uXXXX" at p, or -1 where there is none. */
static int
escaped_unit(const char *p, size_t len)
{
	int			unit = 0;

	if (len < 6 || p[0] != '\\' || p[1] != 'u')
		return -1;
	for (int i = 2; i < 6; i++)
	{
		char		c = p[i];

		if (c >= '0' && c <= '9')
			unit = unit * 16 + (c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			unit = unit * 16 + ((c | 0x20) - 'a' + 10);
		else
			return -1;
	}
	return unit;
}

/*
 * Replaces in place what is valid nowhere in JSON, keeping the length: bytes that are not UTF-8 by '?', control characters by a
 * space, halves of surrogate pairs by the escape of U+FFFD.
 */
void
utf8_repair_json(char *body, size_t len)
{
	size_t		i = 0;

	while (i < len)
	{
		unsigned char c = (unsigned char) body[i];

		if (c == '\\')
		{
			int			unit = escaped_unit(body + i, len - i);

			if (unit < 0xD800 || unit > 0xDFFF)
				i += unit < 0 ? 2 : 6;
			else
			{
				int			next = escaped_unit(body + i + 6, len - i - 6);

				if (unit < 0xDC00 && next >= 0xDC00 && next <= 0xDFFF)
					i += 12;
				else
				{
					memcpy(body + i, "\\ufffd", 6);
					i += 6;
				}
			}
		}
		else if (c < 0x20)
			body[i++] = ' ';
		else
		{
			size_t		n = utf8_length((unsigned char *) body + i, len - i);

			if (n == 0)
				body[i] = '?';
			i += n == 0 ? 1 : n;
		}
	}
}
