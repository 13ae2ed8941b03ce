/*
 * calibrate.h
 *	  How sure a supplier's matches are, from their log odds and from what people said of earlier ones.
 */
#ifndef MATCH_CALIBRATE_H
#define MATCH_CALIBRATE_H

#include <stdbool.h>
#include <stddef.h>

/* log odds for this supplier = slope × log odds + offset; {1, 0} is the shipped curve */
typedef struct MatchCalibration
{
	float		slope;
	float		offset;
} MatchCalibration;

extern const MatchCalibration calibration_shipped;
extern float calibrate(const MatchCalibration *calibration, float log_odds);
extern void calibrate_fit(const float *log_odds, const bool *right, size_t n, MatchCalibration *calibration);
extern void share_bounds(unsigned k, unsigned n, double *lowest, double *highest);

#endif
