/*
 * secret.h
 *	  From the reference that a connection holds to the secret itself.
 */
#ifndef PRODUCT_SYNC_SECRET_H
#define PRODUCT_SYNC_SECRET_H

/* The secret, palloc'd: wipe it with explicit_bzero when it has been used.  Raises an error, which never holds the secret. */
extern char *secret_resolve(const char *reference);

/* The path of a file in product_sync.secret_directory, palloc'd.  Raises an error when the name is no plain file name. */
extern char *secret_path(const char *name);

#endif
