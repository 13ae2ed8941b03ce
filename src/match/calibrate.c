/*
 * calibrate.c
 *	  From log odds to confidence, for one supplier.
 *
 * Platt's method ("Probabilistic outputs for support vector machines", 1999) with a prior: slope and offset are those that make the reviews
 * most likely, held to the shipped curve by normal priors.  So no reviews leave the shipped curve, ten move it a little, and a hundred
 * settle it.  Newton's method finds the only maximum, since the logarithm of both parts is concave.
 */
#include "match/calibrate.h"

#include <math.h>

const MatchCalibration calibration_shipped = {1, 0};

/* How far suppliers' curves lie from the shipped one: standard deviations of slope and offset. */
#define SLOPE_DEVIATION 0.35
#define OFFSET_DEVIATION 1.0

/* Of slope, so that a higher score is never a lower confidence. */
#define MIN_SLOPE 0.2

#define MOST_LOG_ODDS 9.0f		/* nothing is surer than this: 0.99988 */

/* The confidence, above 0 and below 1. */
float
calibrate(const MatchCalibration *calibration, float log_odds)
{
	float		x = calibration->slope * log_odds + calibration->offset;

	x = x > MOST_LOG_ODDS ? MOST_LOG_ODDS : x < -MOST_LOG_ODDS ? -MOST_LOG_ODDS : x;
	return 1.0f / (1.0f + expf(-x));
}

/* Fits a supplier's curve to n reviewed matches: their log odds, and whether they were right. */
void
calibrate_fit(const float *log_odds, const bool *right, size_t n, MatchCalibration *calibration)
{
	double		slope = 1;
	double		offset = 0;
	int			round;
	size_t		i;

	for (round = 0; round < 50; round++)
	{
		double		gradient[2] = {(slope - 1) / (SLOPE_DEVIATION * SLOPE_DEVIATION), offset / (OFFSET_DEVIATION * OFFSET_DEVIATION)};
		double		hessian[3] = {1 / (SLOPE_DEVIATION * SLOPE_DEVIATION), 0, 1 / (OFFSET_DEVIATION * OFFSET_DEVIATION)};
		double		determinant;
		double		step[2];
		double		size;

		for (i = 0; i < n; i++)
		{
			double		x = log_odds[i];
			double		p = 1 / (1 + exp(-(slope * x + offset)));
			double		w = p * (1 - p);

			gradient[0] += (p - right[i]) * x;
			gradient[1] += p - right[i];
			hessian[0] += w * x * x;
			hessian[1] += w * x;
			hessian[2] += w;
		}
		determinant = hessian[0] * hessian[2] - hessian[1] * hessian[1];
		step[0] = (hessian[2] * gradient[0] - hessian[1] * gradient[1]) / determinant;
		step[1] = (hessian[0] * gradient[1] - hessian[1] * gradient[0]) / determinant;
		size = fabs(step[0]) + fabs(step[1]);
		/* Far from the maximum a full step may overshoot. */
		if (size > 1)
		{
			step[0] /= size;
			step[1] /= size;
		}
		slope -= step[0];
		offset -= step[1];
		if (size < 1e-7)
			break;
	}
	calibration->slope = (float) (slope < MIN_SLOPE ? MIN_SLOPE : slope);
	calibration->offset = (float) offset;
}
