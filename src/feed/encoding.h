/*
 * encoding.h
 *	  Character encodings of a feed: strict UTF-8 and Windows-1252.  Plain C.
 *
 * The rule for a file whose encoding is not given ("auto"):
 *	 - a UTF-8 byte order mark decides for UTF-8;
 *	 - otherwise the records vote.  A record that has characters beyond ASCII and is valid UTF-8 votes for UTF-8: other encodings hit
 *	   valid sequences by accident only.  A record that is not valid UTF-8 votes for Windows-1252 if it could be text in it
 *	   (windows1252_plausible), else it is damaged UTF-8 and votes for UTF-8.  Windows-1252 needs more than half of the votes.
 * So a UTF-8 file with some damaged records stays UTF-8, and those records are rejected one by one; a file with a few umlauts and
 * trademark signs in Windows-1252 among thousands of ASCII records is read as that.
 */
#ifndef FEED_ENCODING_H
#define FEED_ENCODING_H

#include <stdbool.h>
#include <stddef.h>

#define UTF8_PER_WINDOWS1252	3	/* most bytes that one character becomes */

extern bool text_is_ascii(const char *s, size_t len);
extern size_t utf8_valid_prefix(const char *s, size_t len);
extern bool windows1252_plausible(const char *s, size_t len);
extern bool windows1252_to_utf8(const char *s, size_t len, char *out, size_t *out_len, size_t *bad);

#endif
