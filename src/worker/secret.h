/*
 * secret.h
 *	  From the reference that a connection holds to the secret itself.
 */
#ifndef PRODUCT_SYNC_SECRET_H
#define PRODUCT_SYNC_SECRET_H

#include "postgres.h"

/* The secret, palloc'd: wipe it with explicit_bzero when it has been used.  Raises an error, which never holds the secret. */
extern char *secret_resolve(const char *reference);

/*
 * The folder of this database's tokens, palloc'd; made, with mode 0700, where it is missing and "make" is set.  NULL where it is missing.
 * Raises an error where others could enter it.
 */
extern char *secret_token_folder(bool make);

/* Its name, in that memory; nothing is looked at, nothing raised but for want of memory. */
extern char *secret_token_path(MemoryContext context);

/* The path of a file in product_sync.secret_directory, palloc'd.  Raises an error when the name is no plain file name. */
extern char *secret_path(const char *name);

#endif
