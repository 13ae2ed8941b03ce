/*
 * encoding.c
 *	  Character encodings of a feed; encoding.h says how one is chosen.
 */
#include "feed/encoding.h"

#include <stdint.h>
#include <string.h>

/* Windows-1252 from 0x80 to 0x9f; 0 is undefined.  From 0xa0 on it is Latin-1.  Source: WHATWG Encoding, less its C1 fallbacks. */
static const uint16_t windows1252[32] = {
	0x20ac, 0, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160, 0x2039, 0x0152, 0, 0x017d, 0,
	0, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0, 0x017e, 0x0178
};

/* Number of leading ASCII bytes, to a multiple of eight, or all. */
static size_t
ascii_prefix(const char *s, size_t len)
{
	size_t		i = 0;

	for (; i + 8 <= len; i += 8)
	{
		uint64_t	x;

		memcpy(&x, s + i, 8);
		if (x & UINT64_C(0x8080808080808080))
			return i;
	}
	while (i < len && (s[i] & 0x80) == 0)
		i++;
	return i;
}

bool
text_is_ascii(const char *s, size_t len)
{
	return ascii_prefix(s, len) == len;
}

/* Length of the UTF-8 sequence at s, 0 where it is not a valid one (RFC 3629: no overlong form, no surrogate, up to U+10FFFF). */
static size_t
utf8_sequence(const unsigned char *s, size_t len)
{
	unsigned char lo = 0x80;
	unsigned char hi = 0xbf;
	size_t		n;

	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (len < n)
		return 0;
	if (s[0] == 0xe0)
		lo = 0xa0;
	else if (s[0] == 0xed)
		hi = 0x9f;
	else if (s[0] == 0xf0)
		lo = 0x90;
	else if (s[0] == 0xf4)
		hi = 0x8f;
	if (s[1] < lo || s[1] > hi)
		return 0;
	for (size_t i = 2; i < n; i++)
	{
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	return n;
}

/* How many bytes from the start are valid UTF-8; len where all are. */
size_t
utf8_valid_prefix(const char *s, size_t len)
{
	size_t		i = 0;

	while (i < len)
	{
		size_t		n;

		if ((s[i] & 0x80) == 0)
		{
			n = ascii_prefix(s + i, len - i);
			i += n == 0 ? 1 : n;
			continue;
		}
		n = utf8_sequence((const unsigned char *) s + i, len - i);
		if (n == 0)
			return i;
		i += n;
	}
	return len;
}

/*
 * Whether bytes could be text in Windows-1252: none is undefined there, none is 0xfe or 0xff (rare letters, but common in damaged or
 * UTF-16 data), and none is 0xc2 or 0xc3, the first halves of accented letters in UTF-8 that are rare letters in Windows-1252.
 */
bool
windows1252_plausible(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) s[i];

		if (c < 0x80)
			continue;
		if ((c < 0xa0 && windows1252[c - 0x80] == 0) || c >= 0xfe || c == 0xc2 || c == 0xc3)
			return false;
	}
	return true;
}

/*
 * Turns Windows-1252 into UTF-8.  "out" has room for UTF8_PER_WINDOWS1252 * len bytes.  False at a byte that is undefined there, with
 * its offset in *bad.
 */
bool
windows1252_to_utf8(const char *s, size_t len, char *out, size_t *out_len, size_t *bad)
{
	char	   *o = out;

	for (size_t i = 0; i < len; i++)
	{
		unsigned	c = (unsigned char) s[i];

		if (c < 0x80)
		{
			*o++ = (char) c;
			continue;
		}
		if (c < 0xa0)
			c = windows1252[c - 0x80];
		if (c == 0)
		{
			*bad = i;
			return false;
		}
		if (c < 0x800)
			*o++ = (char) (0xc0 | (c >> 6));
		else
		{
			*o++ = (char) (0xe0 | (c >> 12));
			*o++ = (char) (0x80 | ((c >> 6) & 0x3f));
		}
		*o++ = (char) (0x80 | (c & 0x3f));
	}
	*out_len = (size_t) (o - out);
	return true;
}
