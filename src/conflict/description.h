/*
 * description.h
 *	  What a description is worth: how much text there is in its HTML, and whether it is sound.  Plain C.
 */
#ifndef CONFLICT_DESCRIPTION_H
#define CONFLICT_DESCRIPTION_H

#include "catalog/diff.h"

#define DESCRIPTION_DEPTH	64	/* deepest nesting of what is sound */

extern size_t description_length(DiffText html);
extern const char *description_fault(DiffText html);

#endif
