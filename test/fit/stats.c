/*
 * stats.c
 *	  How far confidences can be believed.
 */
#include "fit.h"

#include <math.h>
#include <stdlib.h>

#define WIDTH_BINS 10
#define MASS_BINS 15

/* The logarithm of the probability of exactly k of n. */
static double
log_binomial(uint32_t k, uint32_t n, double p)
{
	return lgamma((double) n + 1) - lgamma((double) k + 1) - lgamma((double) (n - k) + 1) + k * log(p) + (n - k) * log1p(-p);
}

/* The probability of at least right of n. */
static double
upper_tail(uint32_t right, uint32_t n, double p)
{
	double		sum = 0;
	uint32_t	k;

	for (k = right; k <= n; k++)
		sum += exp(log_binomial(k, n, p));
	return sum;
}

/*
 * The share that, given right of n, is exceeded with a probability of 1 - error (Clopper and Pearson, one-sided): a lower share would show
 * as many right ones with a probability of less than error.
 */
double
clopper_pearson_lower(uint32_t right, uint32_t n, double error)
{
	double		low = 0;
	double		high = 1;
	int			round;

	if (right == 0)
		return 0;
	for (round = 0; round < 60; round++)
	{
		double		p = (low + high) / 2;

		if (upper_tail(right, n, p) < error)
			low = p;
		else
			high = p;
	}
	return low;
}

/* Expected calibration error over ten bands of equal width. */
double
calibration_error_width(const Judged *judged, uint32_t n)
{
	double		difference[WIDTH_BINS] = {0};
	double		sum = 0;
	uint32_t	i;

	for (i = 0; i < n; i++)
	{
		int			bin = (int) (judged[i].confidence * WIDTH_BINS);

		difference[bin >= WIDTH_BINS ? WIDTH_BINS - 1 : bin] += judged[i].confidence - judged[i].right;
	}
	for (i = 0; i < WIDTH_BINS; i++)
		sum += fabs(difference[i]);
	return n == 0 ? 0 : sum / n;
}

static int
compare_judged(const void *a, const void *b)
{
	const Judged *x = a;
	const Judged *y = b;

	if (x->confidence != y->confidence)
		return x->confidence < y->confidence ? -1 : 1;
	return (int) x->right - (int) y->right;
}

/* The same over fifteen bands of as many rows each.  Sorts them. */
double
calibration_error_mass(Judged *judged, uint32_t n)
{
	double		sum = 0;
	uint32_t	i = 0;
	uint32_t	bin;

	qsort(judged, n, sizeof(Judged), compare_judged);
	for (bin = 1; bin <= MASS_BINS; bin++)
	{
		double		difference = 0;

		for (; i < (uint32_t) ((uint64_t) n * bin / MASS_BINS); i++)
			difference += judged[i].confidence - judged[i].right;
		sum += fabs(difference);
	}
	return n == 0 ? 0 : sum / n;
}

double
brier_score(const Judged *judged, uint32_t n)
{
	double		sum = 0;
	uint32_t	i;

	for (i = 0; i < n; i++)
		sum += (judged[i].confidence - judged[i].right) * (judged[i].confidence - judged[i].right);
	return n == 0 ? 0 : sum / n;
}
