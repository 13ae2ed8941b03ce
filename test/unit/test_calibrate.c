/*
 * test_calibrate.c
 *	  A supplier's curve from reviews: none, few, many, one-sided and hostile ones; and the bounds of a share.  Prints TAP.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "match/calibrate.h"

#define MOST 5000

static int	tests;
static int	failures;
static float log_odds[MOST];
static bool right[MOST];

static void
check(bool good, const char *name)
{
	tests++;
	printf("%s %d - %s\n", good ? "ok" : "not ok", tests, name);
	if (!good)
		failures++;
}

/* From 0 to 1, the same in every run. */
static double
any(void)
{
	static uint64_t state = 42;

	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (double) (state >> 11) / (double) (UINT64_C(1) << 53);
}

static MatchCalibration
fit(size_t n)
{
	MatchCalibration calibration;

	calibrate_fit(log_odds, right, n, &calibration);
	return calibration;
}

/* n reviews with the same log odds. */
static MatchCalibration
fit_equal(size_t n, float x, bool verdict)
{
	size_t		i;

	for (i = 0; i < n; i++)
	{
		log_odds[i] = x;
		right[i] = verdict;
	}
	return fit(n);
}

/* n reviews from low to high, right as often as a curve says. */
static void
simulate(size_t n, float low, float high, MatchCalibration truth)
{
	size_t		i;

	for (i = 0; i < n; i++)
	{
		log_odds[i] = low + (high - low) * (float) any();
		right[i] = any() < calibrate(&truth, log_odds[i]);
	}
}

/* By how much confidence is off, at most, from low to high. */
static double
worst(MatchCalibration a, MatchCalibration b, float low, float high)
{
	double		most = 0;
	float		x;

	for (x = low; x <= high; x += 0.1f)
		most = fmax(most, fabs((double) calibrate(&a, x) - (double) calibrate(&b, x)));
	return most;
}

static bool
sound(MatchCalibration c)
{
	return isfinite(c.slope) && isfinite(c.offset) && c.slope >= 0.2f && c.slope < 5 && fabsf(c.offset) < 20;
}

static void
test_many(void)
{
	MatchCalibration truth = {0.6f, -0.8f};
	double		slope = 0;
	double		offset = 0;
	double		error = 0;
	double		before = 0;
	int			i;

	for (i = 0; i < 50; i++)
	{
		MatchCalibration c;

		simulate(100, -4, 8, truth);
		c = fit(100);
		slope += (double) c.slope / 50;
		offset += (double) c.offset / 50;
		error += worst(c, truth, -4, 8) / 50;
		before += worst(calibration_shipped, truth, -4, 8) / 50;
	}
	check(fabs(slope - 0.6) < 0.15 && fabs(offset + 0.8) < 0.25, "a hundred reviews find the supplier's curve");
	printf("# slope %.2f, offset %.2f, worst error of a confidence %.3f, shipped %.3f\n", slope, offset, error, before);
	check(error < 0.12 && error < before / 2, "and no confidence is far off any more");
	simulate(2000, -4, 8, truth);
	check(worst(fit(2000), truth, -4, 8) < 0.05, "two thousand settle it");
	simulate(100, -4, 8, calibration_shipped);
	check(worst(fit(100), calibration_shipped, -4, 8) < 0.12, "reviews that agree with the shipped curve leave it about where it is");
}

static void
test_few(void)
{
	MatchCalibration c = fit(0);
	MatchCalibration more;

	check(c.slope == 1 && c.offset == 0, "without reviews it is the shipped curve, exactly");
	c = fit_equal(1, 0, true);
	check(calibrate(&c, 3) > 0.95f && calibrate(&c, 3) < 0.98f, "one review moves it a little");
	c = fit_equal(10, 5, false);
	check(sound(c) && calibrate(&c, 5) < 0.5f, "ten that were sure and wrong pull it down at once");
	c = fit_equal(3, 4, false);
	check(sound(c) && calibrate(&c, 4) < 0.8f && calibrate(&c, 8) < 0.95f, "so do three, and nothing is approved by itself");
	c = fit_equal(20, 4, true);
	check(sound(c) && calibrate(&c, 4) >= 0.98f && calibrate(&c, -2) < 0.5f, "all right on one side does not make the other side sure");
	more = fit_equal(MOST, 4, true);
	check(sound(more) && worst(c, more, 4, 8) < 0.02, "the same one five thousand times hardly counts for more");
	c = fit_equal(50, -3, false);
	check(sound(c) && calibrate(&c, 4) > 0.9f, "all wrong at the low end leaves the high end");
	c = fit_equal(MOST, -8, true);
	check(sound(c) && calibrate(&c, -8) > 0.5f, "all right where it was thought impossible: the slope stays upright");
}

static void
test_hostile(void)
{
	MatchCalibration c;
	int			i;

	for (i = 0; i < 1000; i++)
	{
		log_odds[i] = i % 2 == 0 ? 8.0f : -8.0f;
		right[i] = i % 2 != 0;
	}
	c = fit(1000);
	check(sound(c) && fabsf(calibrate(&c, 0) - 0.5f) < 0.1f, "everything upside down ends at the least slope");
	check(calibrate(&c, 1) > calibrate(&c, 0), "a higher score is never less sure");
	simulate(100, -4, 8, calibration_shipped);
	c = fit(100);
	log_odds[100] = NAN;
	log_odds[101] = INFINITY;
	log_odds[102] = -INFINITY;
	right[100] = right[102] = false;
	right[101] = true;
	check(sound(fit(103)) && worst(c, fit(103), -4, 8) < 0.02, "numbers that are none do no harm");
	c = fit_equal(3, 1e30f, false);
	check(sound(c), "nor do enormous ones");
	for (i = 0; i < 200; i++)
	{
		int			n = 1 + (int) (any() * 40);
		int			j;

		for (j = 0; j < n; j++)
		{
			log_odds[j] = (float) (any() * any() * 60 - 20);
			right[j] = any() < 0.5;
		}
		if (!sound(fit((size_t) n)))
			break;
	}
	check(i == 200, "any few reviews give a curve");
	check(calibrate(&calibration_shipped, NAN) < 0.001f, "what is no number is no match");
	c.slope = 1;
	c.offset = 0;
	check(calibrate(&c, 1000) < 1 && calibrate(&c, -1000) > 0, "nothing is certain");
}

static bool
bounds(unsigned k, unsigned n, double lowest, double highest)
{
	double		low;
	double		high;

	share_bounds(k, n, &low, &high);
	return fabs(low - lowest) < 1e-5 && fabs(high - highest) < 1e-5;
}

static void
test_bounds(void)
{
	/* Those of a beta distribution's quantiles; 1 - 0.025^(1/n) and its like at the ends. */
	check(bounds(0, 10, 0, 0.30850) && bounds(10, 10, 0.69150, 1), "none and all of ten");
	check(bounds(5, 10, 0.18709, 0.81291), "five of ten");
	check(bounds(1, 1, 0.025, 1) && bounds(0, 1, 0, 0.975), "one");
	check(bounds(99, 100, 0.94554, 0.99975), "ninety-nine of a hundred");
	check(bounds(1990, 2000, 0.990823, 0.997600), "nearly all of two thousand");
	check(bounds(0, 0, 0, 1), "nothing is known of none");
}

int
main(void)
{
	test_many();
	test_few();
	test_hostile();
	test_bounds();
	printf("1..%d\n", tests);
	return failures != 0;
}
