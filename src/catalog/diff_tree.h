/*
 * diff_tree.h
 *	  From jsonb to the trees that the kernels of documents read, and back.
 */
#ifndef CATALOG_DIFF_TREE_H
#define CATALOG_DIFF_TREE_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "catalog/diff.h"

extern DiffValue *diff_tree(Jsonb *document);
extern DiffValue *diff_value_tree(Jsonb *value);
extern Datum diff_value_datum(const DiffValue *value, bool *isnull);
extern text *diff_path_text(const DiffPath *path);
extern void diff_check(DiffResult result, const DiffPath *wrong);

#endif
