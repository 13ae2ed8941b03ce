/*
 * network.h
 *	  Requests as jsonb to transfers, and their results back: docs/architecture.md, "The engine's functions", has the keys.
 */
#ifndef PRODUCT_SYNC_NETWORK_H
#define PRODUCT_SYNC_NETWORK_H

#include "postgres.h"

#include "transfer/transfer.h"
#include "utils/jsonb.h"
#include "worker/token.h"

/*
 * Reads a request, resolves its secret and opens its spool file (out->file_fd, -1 where there is none: the caller's to close).  All is
 * palloc'd in the present context.  keep: which part of the answer is a secret; for token_keep().  Needs a transaction, for the secret.
 * Raises an error where the request is wrong.
 */
extern void network_request_fill(Jsonb *request, uint64 tag, TransferRequest *out, TokenKeep *keep);

/* Wipes the secret of a request, once the engine has its copy. */
extern void network_request_wipe(TransferRequest *request);

/* A result without its body, for sync.response_*(). */
extern Jsonb *network_result_to_jsonb(const TransferResult *result);

#endif
