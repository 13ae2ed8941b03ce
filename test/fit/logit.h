/*
 * logit.h
 *	  Fits the matcher's weights to labelled rows.
 *
 * Plain C.
 */
#ifndef FIT_LOGIT_H
#define FIT_LOGIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOGIT_MOST_FEATURES 128

/* An incoming row: its candidates are pairs first to first + n - 1, of which none, one or several are right. */
typedef struct LogitRow
{
	uint32_t	first;
	uint16_t	n;
	uint16_t	group;
	float		weight;			/* 0 leaves the row out */
} LogitRow;

typedef struct LogitData
{
	int			n_features;
	int			n_groups;
	size_t		n_rows;
	const int  *signs;			/* of the features: 1 never below 0, -1 never above, 0 free, 2 fixed */
	const double *centres;		/* where the prior of each weight has its middle; the weight itself of those that are fixed */
	double		ridge;			/* strength of the prior of the weights: 1 / square of their standard deviation */
	const LogitRow *rows;
	const float *features;		/* n_features for each pair */
	const bool *right;			/* for each pair */
	const double *offsets;		/* for each group: log odds of the share of its rows that have a match */
	const double *missing;		/* for each group: share of the true pairs that its labels lack */
} LogitData;

typedef struct LogitModel
{
	double		weights[LOGIT_MOST_FEATURES];
	double		bias;
	double	   *deviations;		/* for each group, beside bias and offset; the caller's */
	double		objective;		/* what is made least: penalised negative log likelihood */
	int			rounds;
} LogitModel;

extern bool logit_fit(const LogitData *data, LogitModel *model);

#endif
