/*
 * utf8.h
 *	  Characters of UTF-8, and the mending of JSON whose bytes are not all valid.
 *
 * Plain C, no PostgreSQL header, no memory of its own.
 */
#ifndef PRODUCT_SYNC_UTF8_H
#define PRODUCT_SYNC_UTF8_H

#include <stddef.h>

/* Length of the valid character at p, 0 where there is none within len bytes. */
extern size_t utf8_length(const unsigned char *p, size_t len);

/* Replaces in place what is valid nowhere in JSON; the length stays. */
extern void utf8_repair_json(char *body, size_t len);

#endif
