/*
 * xorosoft.h
 *	  Reader for the answers of Xorosoft, the ERP.
 *
 * Plain C over jansson: no PostgreSQL header, no palloc, no ereport, so that it can be fuzzed and tested alone.  A page owns
 * malloc'ed memory until xorosoft_page_free(); a row owns none.
 *
 * What an answer looks like is known from public client code alone, there is no public description of the API: an envelope
 * {"Result": true, "Message": "", "Data": [...], "Page": 1, "TotalPages": 84, ...} whose Page and TotalPages some calls leave out,
 * with empties that are "" or null without a rule, and with times of the form "04/23/2025 03:10:05 PM" in no stated zone.
 */
#ifndef PRODUCT_SYNC_XOROSOFT_H
#define PRODUCT_SYNC_XOROSOFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What kind of answer it is; xorosoft_status_name() gives the word that SQL sees. */
typedef enum XorosoftStatus
{
	XOROSOFT_OK,				/* "ok": an envelope with Result true, or with rows and no Result */
	XOROSOFT_REFUSED,			/* "refused": an envelope with Result false */
	XOROSOFT_SERVER_ERROR,		/* "server_error": {"Message": ...} and no envelope around it */
	XOROSOFT_NOT_ENVELOPE,		/* "not_envelope": JSON of another kind */
	XOROSOFT_NOT_JSON,			/* "not_json": no JSON, or nothing at all */
	XOROSOFT_NO_MEMORY			/* the machine had no memory for it; the caller raises this */
} XorosoftStatus;

typedef struct XorosoftPage
{
	XorosoftStatus status;
	char		message[512];	/* what the ERP said, or what is wrong with the answer; "" where neither */
	int			page;			/* -1 where missing */
	int			total_pages;	/* -1 where missing */
	long		rows;			/* rows in Data; -1 where there is no Data */
	bool		repaired;		/* bytes that are not valid in JSON were replaced */
	struct json_t *root;		/* private */
	struct json_t *data;		/* private: borrowed from root */
} XorosoftPage;

/* The columns of a shape, in this order, are the columns of the SQL function. */
typedef enum XorosoftKind
{
	XOROSOFT_CODE,				/* identifies: null when longer than its cap */
	XOROSOFT_TEXT,				/* describes: cut at its cap */
	XOROSOFT_BOOLEAN,			/* "t" or "f" */
	XOROSOFT_NUMBER,
	XOROSOFT_TIME,				/* "YYYY-MM-DD HH:MM:SS+00": the ERP's wall clock, as if it were UTC */
	XOROSOFT_DETAILS			/* a JSON object of the keys that have a value */
} XorosoftKind;

#define XOROSOFT_MAX_KEYS 6

typedef struct XorosoftColumn
{
	XorosoftKind kind;
	size_t		cap;			/* longest value in bytes */
	bool		required;		/* a row without it is an error */
	const char *keys[XOROSOFT_MAX_KEYS];	/* where the value is looked for, first that has one; DETAILS takes all */
} XorosoftColumn;

#define XOROSOFT_MAX_COLUMNS 16
#define XOROSOFT_ROW_BYTES 16384

typedef struct XorosoftShape
{
	const char *name;			/* for messages: "item", "stock" */
	int			ncolumns;
	XorosoftColumn columns[XOROSOFT_MAX_COLUMNS];
} XorosoftShape;

extern const XorosoftShape xorosoft_item_shape;
extern const XorosoftShape xorosoft_stock_shape;

typedef struct XorosoftRow
{
	const char *value[XOROSOFT_MAX_COLUMNS];	/* UTF-8 without NUL, NULL where the ERP gave none */
	char		error[256];		/* why the row cannot be used; "" where it can */
	size_t		used;
	char		buffer[XOROSOFT_ROW_BYTES];
} XorosoftRow;

/* Reads an answer.  Never fails otherwise than through page->status; always to be freed. */
extern void xorosoft_page_read(const char *body, size_t len, XorosoftPage *page);
extern void xorosoft_page_free(XorosoftPage *page);
extern const char *xorosoft_status_name(XorosoftStatus status);

/* Reads row index (from 0) of a page.  False when it cannot be used; row->error says why. */
extern bool xorosoft_row_read(const XorosoftPage *page, const XorosoftShape *shape, long index, XorosoftRow *row);

#endif
