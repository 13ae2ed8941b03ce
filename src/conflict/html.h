/*
 * html.h
 *	  Descriptions as shops keep them: whether two are the same but for how they are written, how much text there is, whether it is sound.
 *	  Plain C; nothing is allocated, and no time grows faster than the text.
 *
 * A shop writes HTML anew: other white space, quotes and entities, "<br />" for "<br>", upper case for lower.  Two texts are the same when
 * they are the same pieces: names of tags in lower case without their slash at the end, attributes in their order with their values,
 * words with white space between them, characters instead of the entities that stand for them.
 */
#ifndef CONFLICT_HTML_H
#define CONFLICT_HTML_H

#include <stdbool.h>

#include "catalog/diff.h"

#define HTML_DEPTH	64			/* deepest nesting of what is sound */

extern bool html_same(DiffText a, DiffText b);
extern size_t html_text_length(DiffText html);
extern const char *html_fault(DiffText html);

#endif
