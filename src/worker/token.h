/*
 * token.h
 *	  Tokens that a server gives in its answer: out of the answer and into a file, before SQL sees it.  Plain C.
 */
#ifndef PRODUCT_SYNC_TOKEN_H
#define PRODUCT_SYNC_TOKEN_H

#include "transfer/transfer.h"

#define TOKEN_MAX_ANSWER	(64 * 1024)	/* of an answer that holds a token */
#define TOKEN_MAX_NAME		63

/* What a request wants kept: field of the JSON answer, under which name. */
typedef struct TokenKeep
{
	char		name[TOKEN_MAX_NAME + 1];	/* empty: nothing is to be kept */
	char		field[TOKEN_MAX_NAME + 1];
} TokenKeep;

/* Whether a token may have this name: letters, digits, "_", "-" and ".", not first. */
extern bool token_name_good(const char *name);

/*
 * Takes the field out of a successful answer and writes it to folder/name.  Sets result->kept, and where it is 0 result->message.  Without
 * such a field the answer stays as it is; one that is no JSON object, or was cut off, is dropped: the secret may be anywhere in it.
 */
extern void token_keep(TransferResult *result, const char *folder, const TokenKeep *keep);

/* Writes a token so that the file is whole or the one before, also after a crash.  False with a message in errbuf. */
extern bool token_write(const char *folder, const char *name, const char *token, char *errbuf, size_t errlen);

#endif
