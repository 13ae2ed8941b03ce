/*
 * html.h
 *	  HTML read as a stream of codes that is the same for texts that say the same.  Plain C: no PostgreSQL.
 *
 * Shops write HTML anew: entities become characters and the other way round, attributes are quoted, tags become lower case, empty
 * elements lose their slash, lines are broken elsewhere.  Two texts that differ in nothing else give the same stream.
 */
#ifndef CATALOG_HTML_H
#define CATALOG_HTML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTML_MAX_PENDING	8	/* codes that wait to be given, longest UTF-8 character and a space */

/* Codes that are no byte of text. */
#define HTML_END		(-1)
#define HTML_OPEN		256		/* a tag begins */
#define HTML_CLOSE		257		/* an end tag begins */
#define HTML_ATTRIBUTE	258		/* an attribute begins */
#define HTML_VALUE		259		/* its value begins */
#define HTML_TAG_END	260
#define HTML_COMMENT	261		/* a comment, doctype or processing instruction begins */

typedef enum HtmlState
{
	HTML_IN_TEXT, HTML_IN_NAME, HTML_IN_TAG, HTML_IN_ATTRIBUTE, HTML_IN_VALUE, HTML_IN_COMMENT, HTML_IN_RAW
} HtmlState;

typedef struct HtmlReader
{
	const char *at;
	const char *end;
	HtmlState	state;
	int			pending[HTML_MAX_PENDING];
	int			npending;
	int			next;			/* of pending */
	bool		space;			/* white space was seen, and is given when text follows on the line */
	bool		fresh;			/* nothing since the beginning of a block: white space means nothing here */
	bool		ended_block;	/* the tag at hand begins or ends a block */
	bool		bogus;			/* the comment at hand ends at the next > */
	int			preformatted;	/* depth of pre and textarea */
	char		quote;			/* around the value at hand, 0: none */
	const char *raw;			/* name of the element whose text is no HTML: script or style */
} HtmlReader;

extern void html_open(HtmlReader *reader, const char *text, size_t length);
extern int	html_next(HtmlReader *reader);
extern bool html_equal(const char *a, size_t a_length, const char *b, size_t b_length);

#endif
