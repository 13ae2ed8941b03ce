/*
 * fold.c
 *	  Case, accents and look-alike punctuation of UTF-8 text, folded so that equal words have equal bytes.
 *
 * Latin letters lose case and accents, Greek and Cyrillic their case; other scripts stay as they are.  Ideographs, which are not spaced,
 * become words of one character.  Bytes that are not UTF-8 act as spaces.
 */
#include "match/normalise.h"

#include <string.h>

typedef struct FoldRange
{
	uint32_t	first;
	uint32_t	last;
	const char *text;
} FoldRange;

/* In order of code points; both cases of a letter fold to the same ASCII text. */
static const FoldRange fold_ranges[] = {
	{0x00A0, 0x00A0, " "}, {0x00A9, 0x00A9, ""}, {0x00AD, 0x00AE, ""}, {0x00B2, 0x00B2, "2"}, {0x00B3, 0x00B3, "3"},
	{0x00B5, 0x00B5, "u"}, {0x00B9, 0x00B9, "1"},
	{0x00C0, 0x00C5, "a"}, {0x00C6, 0x00C6, "ae"}, {0x00C7, 0x00C7, "c"}, {0x00C8, 0x00CB, "e"}, {0x00CC, 0x00CF, "i"},
	{0x00D0, 0x00D0, "d"}, {0x00D1, 0x00D1, "n"}, {0x00D2, 0x00D6, "o"}, {0x00D7, 0x00D7, "x"}, {0x00D8, 0x00D8, "o"},
	{0x00D9, 0x00DC, "u"}, {0x00DD, 0x00DD, "y"}, {0x00DE, 0x00DE, "th"}, {0x00DF, 0x00DF, "ss"}, {0x00E0, 0x00E5, "a"},
	{0x00E6, 0x00E6, "ae"}, {0x00E7, 0x00E7, "c"}, {0x00E8, 0x00EB, "e"}, {0x00EC, 0x00EF, "i"}, {0x00F0, 0x00F0, "d"},
	{0x00F1, 0x00F1, "n"}, {0x00F2, 0x00F6, "o"}, {0x00F7, 0x00F7, "/"}, {0x00F8, 0x00F8, "o"}, {0x00F9, 0x00FC, "u"},
	{0x00FD, 0x00FD, "y"}, {0x00FE, 0x00FE, "th"}, {0x00FF, 0x00FF, "y"},
	{0x0100, 0x0105, "a"}, {0x0106, 0x010D, "c"}, {0x010E, 0x0111, "d"}, {0x0112, 0x011B, "e"}, {0x011C, 0x0123, "g"},
	{0x0124, 0x0127, "h"}, {0x0128, 0x0131, "i"}, {0x0132, 0x0133, "ij"}, {0x0134, 0x0135, "j"}, {0x0136, 0x0138, "k"},
	{0x0139, 0x0142, "l"}, {0x0143, 0x014B, "n"}, {0x014C, 0x0151, "o"}, {0x0152, 0x0153, "oe"}, {0x0154, 0x0159, "r"},
	{0x015A, 0x0161, "s"}, {0x0162, 0x0167, "t"}, {0x0168, 0x0173, "u"}, {0x0174, 0x0175, "w"}, {0x0176, 0x0178, "y"},
	{0x0179, 0x017E, "z"}, {0x017F, 0x017F, "s"}, {0x0218, 0x0219, "s"}, {0x021A, 0x021B, "t"}, {0x0300, 0x036F, ""},
	{0x1E00, 0x1E01, "a"}, {0x1E02, 0x1E07, "b"}, {0x1E08, 0x1E09, "c"}, {0x1E0A, 0x1E13, "d"}, {0x1E14, 0x1E1D, "e"},
	{0x1E1E, 0x1E1F, "f"}, {0x1E20, 0x1E21, "g"}, {0x1E22, 0x1E2B, "h"}, {0x1E2C, 0x1E2F, "i"}, {0x1E30, 0x1E35, "k"},
	{0x1E36, 0x1E3D, "l"}, {0x1E3E, 0x1E43, "m"}, {0x1E44, 0x1E4B, "n"}, {0x1E4C, 0x1E53, "o"}, {0x1E54, 0x1E57, "p"},
	{0x1E58, 0x1E5F, "r"}, {0x1E60, 0x1E69, "s"}, {0x1E6A, 0x1E71, "t"}, {0x1E72, 0x1E7B, "u"}, {0x1E7C, 0x1E7F, "v"},
	{0x1E80, 0x1E89, "w"}, {0x1E8A, 0x1E8D, "x"}, {0x1E8E, 0x1E8F, "y"}, {0x1E90, 0x1E95, "z"}, {0x1EA0, 0x1EB7, "a"},
	{0x1EB8, 0x1EC7, "e"}, {0x1EC8, 0x1ECB, "i"}, {0x1ECC, 0x1EE3, "o"}, {0x1EE4, 0x1EF1, "u"}, {0x1EF2, 0x1EF9, "y"},
	{0x2000, 0x200A, " "}, {0x200B, 0x200F, ""}, {0x2010, 0x2015, "-"}, {0x2018, 0x201B, "'"}, {0x201C, 0x201F, "\""},
	{0x2020, 0x2029, " "}, {0x202A, 0x202E, ""}, {0x202F, 0x202F, " "}, {0x2032, 0x2032, "'"}, {0x2033, 0x2033, "\""},
	{0x2034, 0x205F, " "}, {0x2060, 0x206F, ""}, {0x2070, 0x20FF, " "}, {0x2120, 0x2120, ""}, {0x2122, 0x2122, ""},
	{0x2190, 0x2BFF, " "}, {0x3000, 0x303F, " "}, {0xE000, 0xF8FF, " "}, {0xFE00, 0xFE0F, ""}, {0xFEFF, 0xFEFF, ""},
};

/*
 * Reads one code point.  Returns the bytes taken, at least 1; *code is UINT32_MAX where they are not UTF-8 (overlong forms and
 * surrogates included).
 */
static size_t
read_code_point(const unsigned char *s, size_t length, uint32_t *code)
{
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t		n = s[0] < 0x80 ? 1 : s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
	uint32_t	c = s[0];
	size_t		i;

	*code = UINT32_MAX;
	if (n == 1)
	{
		*code = c;
		return 1;
	}
	if (s[0] < 0xC2 || s[0] > 0xF4 || length < n)
		return 1;
	c &= 0xFFu >> (n + 1);
	for (i = 1; i < n; i++)
	{
		if ((s[i] & 0xC0) != 0x80)
			return 1;
		c = c << 6 | (s[i] & 0x3F);
	}
	if (c < smallest[n] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
		return 1;
	*code = c;
	return n;
}

/* The folded text of a Latin letter or a sign, or NULL where the table does not have it. */
static const char *
find_fold(uint32_t c)
{
	int			low = 0;
	int			high = (int) (sizeof(fold_ranges) / sizeof(fold_ranges[0])) - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;

		if (c > fold_ranges[middle].last)
			low = middle + 1;
		else if (c < fold_ranges[middle].first)
			high = middle - 1;
		else
			return fold_ranges[middle].text;
	}
	return NULL;
}

static bool
is_ideograph(uint32_t c)
{
	return (c >= 0x2E80 && c <= 0x2FFF) || (c >= 0x3040 && c <= 0xA4CF) || (c >= 0xAC00 && c <= 0xD7AF) ||
		(c >= 0xF900 && c <= 0xFAFF) || (c >= 0x20000 && c <= 0x3FFFF);
}

/* Lower case of Greek and Cyrillic letters. */
static uint32_t
lower_case(uint32_t c)
{
	if ((c >= 0x0391 && c <= 0x03A9 && c != 0x03A2) || (c >= 0x0410 && c <= 0x042F))
		return c + 32;
	if (c >= 0x0400 && c <= 0x040F)
		return c + 80;
	return c;
}

static size_t
write_code_point(uint32_t c, char *out)
{
	if (c < 0x800)
	{
		out[0] = (char) (0xC0 | c >> 6);
		out[1] = (char) (0x80 | (c & 0x3F));
		return 2;
	}
	if (c < 0x10000)
	{
		out[0] = (char) (0xE0 | c >> 12);
		out[1] = (char) (0x80 | (c >> 6 & 0x3F));
		out[2] = (char) (0x80 | (c & 0x3F));
		return 3;
	}
	out[0] = (char) (0xF0 | c >> 18);
	out[1] = (char) (0x80 | (c >> 12 & 0x3F));
	out[2] = (char) (0x80 | (c >> 6 & 0x3F));
	out[3] = (char) (0x80 | (c & 0x3F));
	return 4;
}

/*
 * Folds a code point that is not ASCII into out, which has room for six bytes, and returns how many were written.
 */
static size_t
fold_code_point(uint32_t c, char *out)
{
	const char *text;
	size_t		n;

	if (c == UINT32_MAX || (c >= 0x80 && c < 0xA0) || (c >= 0x1F000 && c < 0x20000))
	{
		out[0] = ' ';
		return 1;
	}
	if (c >= 0xFF01 && c <= 0xFF5E)
	{
		c -= 0xFEE0;
		out[0] = (char) (c >= 'A' && c <= 'Z' ? c + 32 : c);
		return 1;
	}
	text = find_fold(c);
	if (text != NULL)
	{
		n = strlen(text);
		memcpy(out, text, n);
		return n;
	}
	if (is_ideograph(c))
	{
		out[0] = ' ';
		n = 1 + write_code_point(c, out + 1);
		out[n] = ' ';
		return n + 1;
	}
	if (c < 0xC0)
	{
		out[0] = ' ';
		return 1;
	}
	return write_code_point(lower_case(c), out);
}

/* Folds at most NORM_INPUT_BYTES of text into folded, as far as there is room.  Returns the bytes written; no NUL is added. */
size_t
text_fold(const char *text, size_t length, char *folded, size_t room)
{
	const unsigned char *s = (const unsigned char *) text;
	size_t		used = 0;
	size_t		i = 0;

	if (length > NORM_INPUT_BYTES)
		length = NORM_INPUT_BYTES;
	while (i < length && used + 6 <= room)
	{
		uint32_t	c;

		if (s[i] < 0x80)
		{
			c = s[i++];
			if (c >= 'A' && c <= 'Z')
				c += 32;
			else if (c < ' ')
				c = ' ';
			folded[used++] = (char) c;
			continue;
		}
		i += read_code_point(s + i, length - i, &c);
		used += fold_code_point(c, folded + used);
	}
	return used;
}

/* Folds a code and keeps its letters and digits only: DSC-W150/B becomes dscw150b.  Returns the bytes written, no NUL. */
size_t
text_squeeze(const char *text, size_t length, char *squeezed, size_t room)
{
	char		folded[NORM_INPUT_BYTES + 8];
	size_t		n = text_fold(text, length, folded, sizeof(folded));
	size_t		used = 0;
	size_t		i;

	for (i = 0; i < n && used < room; i++)
	{
		unsigned char c = (unsigned char) folded[i];

		if (c >= 0x80 || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
			squeezed[used++] = (char) c;
	}
	return used;
}

/* 64-bit FNV-1a, started from the seed, with a finaliser that spreads it over all bits. */
uint64_t
text_hash(uint64_t seed, const char *text, size_t length)
{
	uint64_t	h = seed ^ UINT64_C(0xcbf29ce484222325);
	size_t		i;

	for (i = 0; i < length; i++)
		h = (h ^ (unsigned char) text[i]) * UINT64_C(0x100000001b3);
	h = (h ^ (h >> 33)) * UINT64_C(0xff51afd7ed558ccd);
	h = (h ^ (h >> 33)) * UINT64_C(0xc4ceb9fe1a85ec53);
	h ^= h >> 33;
	return h == 0 ? 1 : h;
}
