/*
 * gtin.h
 *	  Trade item numbers: one form for UPC-A, UPC-E, EAN-8, EAN-13 and GTIN-14.
 *
 * Plain C.  A GTIN is held as the integer that its fourteen digits spell; 0 stands for none, as no valid GTIN is 0.
 */
#ifndef MATCH_GTIN_H
#define MATCH_GTIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GTIN_DIGITS 14

/* The numbers that a damaged code may have been: all from low to high. */
typedef struct GtinGuess
{
	uint64_t	low;
	uint64_t	high;
} GtinGuess;

extern bool gtin_parse(const char *text, size_t length, uint64_t *gtin);
extern bool gtin_guess(const char *text, size_t length, GtinGuess *guess);
extern void gtin_format(uint64_t gtin, char digits[GTIN_DIGITS + 1]);

#endif
