/*
 * test_fit.c
 *	  Fitting the matcher's weights, on rows made up here.  Prints TAP.
 */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../fit/fit.h"

#define ROWS 3000
#define PER_ROW 4
#define FEATURES 5
#define GROUPS 2

static int	tests;
static int	failures;

static void
ok(bool good, const char *name)
{
	tests++;
	failures += !good;
	printf("%sok %d - %s\n", good ? "" : "not ", tests, name);
}

/* Rows whose answers were drawn by these weights; the last feature is noise, and the one before must not have the sign that it has. */
static const double made_by[FEATURES] = {4, -3, 1.5, -2, 0};
static const double made_bias = -1;
static const int signs[FEATURES] = {1, -1, 0, 1, 1};
static const double offsets[GROUPS] = {1, -1};
static const double no_missing[GROUPS] = {0, 0};
static const double no_centres[FEATURES];

static LogitRow rows[ROWS];
static float features[ROWS * PER_ROW * FEATURES];
static bool right[ROWS * PER_ROW];
static double deviations[GROUPS];

static double
chance(void)
{
	static uint64_t state = 1;

	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (double) (state >> 11) * 0x1p-53;
}

/* Draws the answer of a row; of those with a match, a share misses its label. */
static void
make_row(int r, double missing)
{
	double		odds[PER_ROW];
	double		sum = 1;
	double		draw;
	int			k;
	int			i;

	rows[r] = (LogitRow) {(uint32_t) (r * PER_ROW), PER_ROW, (uint16_t) (r % GROUPS), 1};
	for (k = 0; k < PER_ROW; k++)
	{
		double		z = made_bias + offsets[r % GROUPS];

		for (i = 0; i < FEATURES; i++)
		{
			features[(r * PER_ROW + k) * FEATURES + i] = (float) chance();
			z += made_by[i] * features[(r * PER_ROW + k) * FEATURES + i];
		}
		odds[k] = exp(z);
		sum += odds[k];
		right[r * PER_ROW + k] = false;
	}
	draw = chance() * sum;
	for (k = 0; k < PER_ROW && draw >= odds[k]; k++)
		draw -= odds[k];
	if (k < PER_ROW && chance() >= missing)
		right[r * PER_ROW + k] = true;
}

static LogitData
make_data(double missing)
{
	int			r;

	for (r = 0; r < ROWS; r++)
		make_row(r, missing);
	return (LogitData) {FEATURES, GROUPS, ROWS, signs, no_centres, 0.15, rows, features, right, offsets, no_missing};
}

static bool
near(double a, double b, double distance)
{
	return fabs(a - b) <= distance;
}

static void
test_logit(void)
{
	static const int free_signs[FEATURES] = {0};
	LogitData	data = make_data(0);
	LogitModel	model = {.deviations = deviations};
	LogitModel	again = {.deviations = deviations};
	int			i;

	ok(logit_fit(&data, &model), "a model is fitted");
	ok(model.weights[0] > 0 && model.weights[1] < 0 && model.weights[2] > 0, "the signs are recovered");
	ok(model.weights[3] == 0, "a weight that would break its sign is 0");
	ok(model.weights[4] >= 0 && model.weights[4] < 0.5, "noise weighs next to nothing");
	ok(logit_fit(&data, &again) && memcmp(model.weights, again.weights, FEATURES * sizeof(double)) == 0 && model.bias == again.bias,
	   "a second fit gives the same");
	data.signs = free_signs;
	ok(logit_fit(&data, &model) && near(model.weights[0], 4, 0.5) && near(model.weights[1], -3, 0.5) && near(model.weights[3], -2, 0.5) &&
	   near(model.bias, made_bias, 0.5) && near(deviations[0], 0, 0.3) && near(deviations[1], 0, 0.3),
	   "without bounds, the weights are those that the answers were drawn by");
	for (i = 0; i < ROWS; i++)
		rows[i].weight = 0;
	ok(logit_fit(&data, &model) && model.weights[0] == 0 && model.bias == 0, "rows that are left out count for nothing");
}

static void
test_missing_labels(void)
{
	static const double missing[GROUPS] = {0.3, 0.3};
	LogitData	data = make_data(0.3);
	LogitModel	misled = {.deviations = deviations};
	LogitModel	told = {.deviations = deviations};

	logit_fit(&data, &misled);
	data.missing = missing;
	ok(logit_fit(&data, &told) && fabs(told.bias - made_bias) < fabs(misled.bias - made_bias), "missing labels mislead less when told of");
}

static void
test_model_file(void)
{
	static const char before[] = "/* weights (in order), of all */\nEVIDENCE(F_A, \"a\", 1, 2.5f)	/* one (1), two */\n\n"
		"EVIDENCE(F_B, \"b\", -1, -0.1f)\nBIAS(0.5f)\n";
	static const char after[] = "/* weights (in order), of all */\nEVIDENCE(F_A, \"a\", 1, 1.235f)	/* one (1), two */\n\n"
		"EVIDENCE(F_B, \"b\", -1, 0.000f)\nBIAS(-3.000f)\n";
	static const char *const names[] = {"a", "b", "BIAS"};
	static const char *const others[] = {"a", "c", "BIAS"};
	static const double weights[] = {1.2346, -0.0001, -3};
	char		path[] = "/tmp/test_fit-XXXXXX";
	char		error[256];
	char		text[512];
	int			fd = mkstemp(path);
	ssize_t		length;

	if (fd < 0 || fchmod(fd, 0640) != 0 || write(fd, before, strlen(before)) != (ssize_t) strlen(before))
		abort();
	ok(!model_write(path, others, weights, 3, error, sizeof(error)) && strstr(error, "c was expected") != NULL, "another feature is refused");
	ok(!model_write(path, names, weights, 2, error, sizeof(error)), "as is one too few");
	lseek(fd, 0, SEEK_SET);
	length = read(fd, text, sizeof(text));
	ok(length == (ssize_t) strlen(before) && memcmp(text, before, strlen(before)) == 0, "which leaves the file alone");
	close(fd);
	ok(model_write(path, names, weights, 3, error, sizeof(error)), "weights are written");
	fd = open(path, O_RDONLY);
	length = read(fd, text, sizeof(text));
	ok(length == (ssize_t) strlen(after) && memcmp(text, after, strlen(after)) == 0, "and nothing else is changed");
	close(fd);
	unlink(path);
}

static void
test_stats(void)
{
	Judged		judged[] = {{0.9f, true}, {0.9f, false}, {0.6f, true}};

	ok(near(clopper_pearson_lower(60, 60, 0.05), 0.9513, 0.0001) && near(clopper_pearson_lower(92, 93, 0.05), 0.9500, 0.0005),
	   "60 of 60 right are at least 95 %, as are 92 of 93");
	ok(clopper_pearson_lower(0, 10, 0.05) == 0 && clopper_pearson_lower(0, 0, 0.05) == 0, "none right may be 0 %");
	ok(near(calibration_error_width(judged, 3), (0.8 + 0.4) / 3, 1e-6) && near(brier_score(judged, 3), (0.01 + 0.81 + 0.16) / 3, 1e-6),
	   "calibration error and Brier score");
	ok(near(calibration_error_mass(judged, 3), (0.9 + 0.1 + 0.4) / 3, 1e-6), "bands of equal mass");
	ok(calibration_error_width(judged, 0) == 0 && calibration_error_mass(judged, 0) == 0, "nothing is not wrong");
}

int
main(void)
{
	test_logit();
	test_missing_labels();
	test_model_file();
	test_stats();
	printf("1..%d\n", tests);
	return failures > 0;
}
