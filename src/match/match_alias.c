/*
 * match_alias.c
 *	  The brands' aliases, from sync.brand_alias.
 *
 * An index holds the aliases that it was built with, so that searches use the same.  The table is read here and not by a query, since
 * sync_match() acts by the rights of a caller who need not have any on it; the aliases are no secret, and a shared index must not depend on
 * who built it.
 */
#include "match/match_pg.h"

#include "access/relation.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(product_sync_brand_alias_shipped);

/* sync.brand_alias_shipped() */
Datum
product_sync_brand_alias_shipped(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int			i;

	InitMaterializedSRF(fcinfo, 0);
	for (i = 0; i < brand_n_shipped; i++)
	{
		Datum		values[2] = {CStringGetTextDatum(brand_shipped[i].alias), CStringGetTextDatum(brand_shipped[i].brand)};
		bool		nulls[2] = {false, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* sync.brand_alias where it is the table that sync_install() makes, else NULL. */
static Relation
open_table(void)
{
	Oid			schema = get_namespace_oid("sync", true);
	Oid			table = OidIsValid(schema) ? get_relname_relid("brand_alias", schema) : InvalidOid;
	Relation	relation = OidIsValid(table) ? try_relation_open(table, AccessShareLock) : NULL;
	TupleDesc	desc;

	if (relation == NULL)
		return NULL;
	desc = RelationGetDescr(relation);
	if (relation->rd_rel->relkind == RELKIND_RELATION && desc->natts >= 2 &&
		TupleDescAttr(desc, 0)->atttypid == TEXTOID && strcmp(NameStr(TupleDescAttr(desc, 0)->attname), "alias") == 0 &&
		TupleDescAttr(desc, 1)->atttypid == TEXTOID && strcmp(NameStr(TupleDescAttr(desc, 1)->attname), "brand") == 0)
		return relation;
	relation_close(relation, AccessShareLock);
	return NULL;
}

/* Adds the pair of a row, if it is one.  Returns the number of pairs that there are then. */
static int
add_row(BrandPair *pairs, int n, TupleTableSlot *slot)
{
	bool		nulls[2];
	text	   *alias;
	text	   *brand;
	MatchText	names[2];
	Datum		values[2] = {slot_getattr(slot, 1, &nulls[0]), slot_getattr(slot, 2, &nulls[1])};

	if (nulls[0] || nulls[1])
		return n;
	if (n == BRAND_MAX_ALIASES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("sync.brand_alias has more than %d rows", BRAND_MAX_ALIASES),
				 errhint("Delete those that your suppliers do not use.")));
	alias = DatumGetTextPP(values[0]);
	brand = DatumGetTextPP(values[1]);
	names[0] = match_utf8((MatchText) {VARDATA_ANY(alias), VARSIZE_ANY_EXHDR(alias)});
	names[1] = match_utf8((MatchText) {VARDATA_ANY(brand), VARSIZE_ANY_EXHDR(brand)});
	if (brand_pair(&pairs[n], names[0].data, names[0].length, names[1].data, names[1].length))
		n++;
	return n;
}

/* Loads the owner's aliases, unless it has them: those of the table as the statement sees it, or those that are shipped. */
void
match_load_aliases(MatchOwner *owner)
{
	MemoryContext context;
	MemoryContext old;
	Relation	relation;
	bool		ok;

	if (owner->aliases.slots != NULL)
		return;
	context = AllocSetContextCreate(CurrentMemoryContext, "brand aliases", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	relation = open_table();
	if (relation != NULL)
	{
		BrandPair  *pairs = palloc(BRAND_MAX_ALIASES * sizeof(BrandPair));
		TupleTableSlot *slot = table_slot_create(relation, NULL);
		TableScanDesc scan = table_beginscan(relation, GetActiveSnapshot(), 0, NULL);
		int			n = 0;

		while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
			n = add_row(pairs, n, slot);
		table_endscan(scan);
		ExecDropSingleTupleTableSlot(slot);
		relation_close(relation, AccessShareLock);
		ok = brand_aliases_build(&owner->aliases, pairs, (size_t) n);
	}
	else
		ok = brand_aliases_build_shipped(&owner->aliases);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	if (!ok)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory while matching products")));
}
