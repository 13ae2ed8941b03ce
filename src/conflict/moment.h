/*
 * moment.h
 *	  Moments as JSON has them: 2026-11-24T15:00:00.123456+00:00.  Plain C: the same everywhere, whatever the session's time zone.
 */
#ifndef CONFLICT_MOMENT_H
#define CONFLICT_MOMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern bool moment_parse(const char *text, size_t length, int64_t *microseconds);

#endif
