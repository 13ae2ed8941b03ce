/*
 * compat.h
 *	  Every difference between the PostgreSQL versions that product_sync is built for (15 to 18).
 */
#ifndef PRODUCT_SYNC_COMPAT_H
#define PRODUCT_SYNC_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif
#include "catalog/pg_database.h"
#include "storage/latch.h"
#include "utils/acl.h"

/* 16: the macros of variable-length values have a header of their own. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 18: a function that does not return says so in front. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn _Noreturn
#endif

/* 17: a wait event set belongs to a resource owner instead of a memory context. */
#if PG_VERSION_NUM >= 170000
#define ps_create_wait_event_set(n) CreateWaitEventSet(NULL, (n))
#else
#define ps_create_wait_event_set(n) CreateWaitEventSet(TopMemoryContext, (n))
#endif

/* 16: which indexes are meant is one more argument. */
#if PG_VERSION_NUM >= 160000
#define ps_insert_index_tuples(result, slot, estate) ExecInsertIndexTuples((result), (slot), (estate), false, false, NULL, NIL, false)
#else
#define ps_insert_index_tuples(result, slot, estate) ExecInsertIndexTuples((result), (slot), (estate), false, false, NULL, NIL)
#endif

/* 16: one function for the ownership of all kinds of objects. */
#if PG_VERSION_NUM >= 160000
#define ps_owns_database(database) object_ownercheck(DatabaseRelationId, (database), GetUserId())
#else
#define ps_owns_database(database) pg_database_ownercheck((database), GetUserId())
#endif

/* 16: relfilenodes are called relfilelocators, and so are the subtransactions in which they changed. */
#if PG_VERSION_NUM >= 160000
#define ps_storage_tablespace(relation) ((relation)->rd_locator.spcOid)
#define ps_storage_number(relation) ((relation)->rd_locator.relNumber)
#define ps_storage_is_new(relation) ((relation)->rd_createSubid != InvalidSubTransactionId || \
									 (relation)->rd_newRelfilelocatorSubid != InvalidSubTransactionId || \
									 (relation)->rd_firstRelfilelocatorSubid != InvalidSubTransactionId)
#else
#define ps_storage_tablespace(relation) ((relation)->rd_node.spcNode)
#define ps_storage_number(relation) ((relation)->rd_node.relNode)
#define ps_storage_is_new(relation) ((relation)->rd_createSubid != InvalidSubTransactionId || \
									 (relation)->rd_newRelfilenodeSubid != InvalidSubTransactionId || \
									 (relation)->rd_firstRelfilenodeSubid != InvalidSubTransactionId)
#endif

#endif
