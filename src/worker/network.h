/*
 * network.h
 *	  Requests as jsonb to transfers, and their results back: docs/architecture.md, "The engine's functions", has the keys.
 */
#ifndef PRODUCT_SYNC_NETWORK_H
#define PRODUCT_SYNC_NETWORK_H

#include "postgres.h"

#include "transfer/transfer.h"
#include "utils/jsonb.h"

/*
 * Hands a request to the engine under this tag.  NULL when it was taken; otherwise the result, for sync.response_*(), that says why not.
 * Needs a transaction, for the secret.
 */
extern Jsonb *network_start(TransferEngine *engine, uint64 tag, Jsonb *request);

/* Converts a result and frees it; *body is NULL where there was none.  Both are palloc'd in the present context. */
extern Jsonb *network_finish(TransferResult *result, bytea **body);

/* Drops a transfer and lets go of its file.  False where there is none with that tag. */
extern bool network_cancel(TransferEngine *engine, uint64 tag);

/* Lets go of all files, when the engine has been freed. */
extern void network_forget_all(void);

#endif
