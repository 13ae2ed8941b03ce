/*
 * match_learn.c
 *	  What the matcher learns of suppliers, for SQL: their curves from reviews, and the bounds of a share.
 */
#include "match/match_pg.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(product_sync_match_calibration_fit);
PG_FUNCTION_INFO_V1(product_sync_match_shipped_curve);
PG_FUNCTION_INFO_V1(product_sync_share_bounds);

/* The highest number of tries that share_bounds() is asked for: beyond, the bounds hardly differ from the share. */
#define MOST_TRIES 1000000

/* A row of the function's result type. */
static Datum
result_row(FunctionCallInfo fcinfo, Datum *values)
{
	TupleDesc	desc;
	bool		nulls[2] = {false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* sync.match_calibration_fit(log_odds, correct): slope and offset.  Reviews of which either is null are left out. */
Datum
product_sync_match_calibration_fit(PG_FUNCTION_ARGS)
{
	Datum	   *scores;
	Datum	   *verdicts;
	bool	   *no_score;
	bool	   *no_verdict;
	int			n_scores;
	int			n_verdicts;
	float	   *log_odds;
	bool	   *right;
	size_t		n = 0;
	MatchCalibration calibration;
	Datum		values[2];
	int			i;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), FLOAT4OID, sizeof(float4), true, TYPALIGN_INT, &scores, &no_score, &n_scores);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), BOOLOID, sizeof(bool), true, TYPALIGN_CHAR, &verdicts, &no_verdict, &n_verdicts);
	if (n_scores != n_verdicts)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("there are %d log odds and %d verdicts", n_scores, n_verdicts),
				 errhint("Give one verdict for each of the log odds.")));
	log_odds = palloc(sizeof(float) * (n_scores + 1));
	right = palloc(sizeof(bool) * (n_scores + 1));
	for (i = 0; i < n_scores; i++)
		if (!no_score[i] && !no_verdict[i])
		{
			log_odds[n] = DatumGetFloat4(scores[i]);
			right[n++] = DatumGetBool(verdicts[i]);
		}
	calibrate_fit(log_odds, right, n, &calibration);
	values[0] = Float4GetDatum(calibration.slope);
	values[1] = Float4GetDatum(calibration.offset);
	return result_row(fcinfo, values);
}

/* sync.match_shipped_curve(): what score_curve() does. */
Datum
product_sync_match_shipped_curve(PG_FUNCTION_ARGS)
{
	Datum		values[2] = {Float8GetDatum((double) score_curve_slope()), Float8GetDatum((double) score_curve_offset())};

	return result_row(fcinfo, values);
}

/* sync.share_bounds(seen, tries): between which bounds the share lies, 95 % sure. */
Datum
product_sync_share_bounds(PG_FUNCTION_ARGS)
{
	int64		seen = PG_GETARG_INT64(0);
	int64		tries = PG_GETARG_INT64(1);
	double		lowest;
	double		highest;
	Datum		values[2];

	if (seen < 0 || seen > tries || tries > MOST_TRIES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg(INT64_FORMAT " of " INT64_FORMAT " is no share", seen, tries),
				 errhint("Counts are from 0 to %d.", MOST_TRIES)));
	share_bounds((unsigned) seen, (unsigned) tries, &lowest, &highest);
	values[0] = Float8GetDatum(lowest);
	values[1] = Float8GetDatum(highest);
	return result_row(fcinfo, values);
}

/*
 * The curve of a supplier, or the shipped one where none is named.  SPI must be connected.  The labels are read by a function that may read
 * them on behalf of every sync_viewer, not by the caller's own rights.
 */
MatchCalibration
match_supplier_calibration(const char *supplier)
{
	MatchCalibration calibration = calibration_shipped;
	Oid			types[1] = {TEXTOID};
	Datum		args[1];
	bool		isnull[2];
	Datum		slope;
	Datum		offset;

	if (supplier == NULL)
		return calibration;
	args[0] = CStringGetTextDatum(supplier);
	if (SPI_execute_with_args("SELECT c.slope, c.\"offset\" FROM sync.match_curve($1) c", 1, types, args, NULL, true, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "no curve for supplier \"%s\"", supplier);
	slope = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull[0]);
	offset = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull[1]);
	if (!isnull[0] && !isnull[1])
	{
		calibration.slope = DatumGetFloat4(slope);
		calibration.offset = DatumGetFloat4(offset);
	}
	SPI_freetuptable(SPI_tuptable);
	return calibration;
}
