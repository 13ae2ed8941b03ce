/*
 * calibrate.c
 *	  From log odds to confidence, for one supplier.
 *
 * Platt's method ("Probabilistic outputs for support vector machines", 1999) with a prior: slope and offset are those that make the reviews
 * most likely, held to the shipped curve by normal priors.  So no reviews leave the shipped curve, ten move it a little, and a hundred
 * settle it.  Newton's method finds the only maximum, since the logarithm of both parts is concave; a step that does not lead up is
 * halved until it does, since reviews that all lie far out make the curve flat there.
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

#define FARTHEST_REVIEW MOST_LOG_ODDS	/* beyond, a review tells no more: one that surprises must not turn the curve by itself */

#define ROUNDS 60
#define HALVINGS 30

typedef struct Reviews
{
	const float *log_odds;
	const bool *right;
	size_t		n;
} Reviews;

/* Where the fit stands: what it pays, and how that changes with slope and offset. */
typedef struct Fit
{
	double		slope;
	double		offset;
	double		loss;
	double		gradient[2];
	double		hessian[3];		/* slope twice, both, offset twice */
} Fit;

/* The confidence, above 0 and below 1. */
float
calibrate(const MatchCalibration *calibration, float log_odds)
{
	float		x = calibration->slope * log_odds + calibration->offset;

	/* What is no number is no match. */
	x = x > MOST_LOG_ODDS ? MOST_LOG_ODDS : x >= -MOST_LOG_ODDS ? x : -MOST_LOG_ODDS;
	return 1.0f / (1.0f + expf(-x));
}

/* A review's log odds, held to where they still tell something. */
static double
held(float log_odds)
{
	return (double) (log_odds > FARTHEST_REVIEW ? FARTHEST_REVIEW : log_odds < -FARTHEST_REVIEW ? -FARTHEST_REVIEW : log_odds);
}

/* Weighs the curve of fit->slope and fit->offset against the reviews and the prior. */
static void
weigh(Fit *fit, const Reviews *reviews)
{
	double		slope_weight = 1 / (SLOPE_DEVIATION * SLOPE_DEVIATION);
	double		offset_weight = 1 / (OFFSET_DEVIATION * OFFSET_DEVIATION);
	double		slope_off = fit->slope - 1;
	size_t		i;

	fit->loss = (slope_weight * slope_off * slope_off + offset_weight * fit->offset * fit->offset) / 2;
	fit->gradient[0] = slope_weight * slope_off;
	fit->gradient[1] = offset_weight * fit->offset;
	fit->hessian[0] = slope_weight;
	fit->hessian[1] = 0;
	fit->hessian[2] = offset_weight;
	for (i = 0; i < reviews->n; i++)
	{
		double		x;
		double		z;
		double		p;
		double		w;

		if (isnan(reviews->log_odds[i]))
			continue;
		x = held(reviews->log_odds[i]);
		z = fit->slope * x + fit->offset;
		p = 1 / (1 + exp(-z));
		w = p * (1 - p);
		/* log(1 + exp(-z)) where it was right, log(1 + exp(z)) where it was wrong, neither of which may overflow */
		fit->loss += (z > 0 ? log1p(exp(-z)) + z : log1p(exp(z))) - (reviews->right[i] ? z : 0);
		fit->gradient[0] += (p - reviews->right[i]) * x;
		fit->gradient[1] += p - reviews->right[i];
		fit->hessian[0] += w * x * x;
		fit->hessian[1] += w * x;
		fit->hessian[2] += w;
	}
}

/* Moves to a better curve; only the offset where the slope is fixed.  Returns false when there is none. */
static bool
improve(Fit *fit, const Reviews *reviews, bool fixed_slope)
{
	const double *g = fit->gradient;
	const double *h = fit->hessian;
	double		determinant = h[0] * h[2] - h[1] * h[1];
	double		step[2] = {0, g[1] / h[2]};
	double		scale = 1;
	int			i;

	if (!fixed_slope)
	{
		step[0] = (h[2] * g[0] - h[1] * g[1]) / determinant;
		step[1] = (h[0] * g[1] - h[1] * g[0]) / determinant;
	}
	if (fabs(step[0]) + fabs(step[1]) < 1e-9)
		return false;
	for (i = 0; i < HALVINGS; i++, scale /= 2)
	{
		Fit			next = {.slope = fit->slope - scale * step[0], .offset = fit->offset - scale * step[1]};

		weigh(&next, reviews);
		if (next.loss < fit->loss)
		{
			*fit = next;
			return true;
		}
	}
	return false;
}

/*
 * Fits a supplier's curve to n reviewed matches: their log odds, and whether they were right.  Without any it is the shipped curve.
 */
void
calibrate_fit(const float *log_odds, const bool *right, size_t n, MatchCalibration *calibration)
{
	Reviews		reviews = {log_odds, right, n};
	Fit			fit = {.slope = 1, .offset = 0};
	int			round;

	weigh(&fit, &reviews);
	for (round = 0; round < ROUNDS && improve(&fit, &reviews, false); round++)
		;
	if (fit.slope < MIN_SLOPE)
	{
		/* The best of the curves that are allowed lies at the bound. */
		fit.slope = MIN_SLOPE;
		weigh(&fit, &reviews);
		for (round = 0; round < ROUNDS && improve(&fit, &reviews, true); round++)
			;
	}
	calibration->slope = (float) fit.slope;
	calibration->offset = (float) fit.offset;
}

/* Probability of i successes or fewer (down), or of i or more, in n tries.  The terms must fall in that direction. */
static double
binomial_tail(unsigned i, unsigned n, double p, bool down)
{
	double		term = exp(lgamma(n + 1.0) - lgamma(i + 1.0) - lgamma(n - i + 1.0) + i * log(p) + (n - i) * log1p(-p));
	double		sum = 0;

	while (term > sum * 1e-17)
	{
		sum += term;
		if (i == (down ? 0 : n))
			break;
		term *= down ? i / (n - i + 1.0) * (1 - p) / p : (n - i) / (i + 1.0) * p / (1 - p);
		i += down ? -1u : 1u;
	}
	return sum;
}

/* Probability of at most k successes in n tries, each with probability p, where k < n and 0 < p < 1. */
static double
binomial_at_most(unsigned k, unsigned n, double p)
{
	return k <= n * p ? binomial_tail(k, n, p, true) : 1 - binomial_tail(k + 1, n, p, false);
}

/* The p at which at most k of n has this probability: it falls as p grows. */
static double
binomial_solve(unsigned k, unsigned n, double probability)
{
	double		low = 0;
	double		high = 1;
	int			i;

	for (i = 0; i < 60; i++)
	{
		double		p = (low + high) / 2;

		if (binomial_at_most(k, n, p) > probability)
			low = p;
		else
			high = p;
	}
	return (low + high) / 2;
}

/*
 * Between which bounds a share lies, 95 % sure, of which k in n tries were seen (Clopper and Pearson, 1934: exact, hence wide for few).
 */
void
share_bounds(unsigned k, unsigned n, double *lowest, double *highest)
{
	*lowest = k == 0 ? 0 : binomial_solve(k - 1, n, 0.975);
	*highest = k == n ? 1 : binomial_solve(k, n, 0.025);
}
