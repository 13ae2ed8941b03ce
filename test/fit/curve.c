/*
 * curve.c
 *	  The model's bias, and the curve from log odds to confidence, as what comes out of the whole pipeline asks for them.
 *
 * A row by itself knows nothing of the other rows, nor that assign.c estimates the share of matches from all of them; so what is best for
 * rows one by one is not what is best for the confidences that people see.  This tries others on a grid, and takes those under which the
 * labels are most likely, over all sets, each as it is, with half of its matches and with none.
 */
#include "fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Grid
{
	double		first;
	double		step;
	int			n;
} Grid;

static const Grid biases = {0, 0.1, 21};
static const Grid slopes = {0.7, 0.05, 23};
static const Grid offsets = {-1, 0.05, 61};

static const char *const told_views[] = {"whole", "half", "new-only"};

#define N_TOLD ((int) (sizeof(told_views) / sizeof(told_views[0])))

/* The answers of a view's rows under a bias. */
typedef struct Answers
{
	float	   *log_odds;
	bool	   *right;
	uint32_t	n;
	uint32_t	n_rows;			/* with those that have no answer */
	double		missing;
} Answers;

/* A view and its rows' candidates. */
typedef struct Told
{
	View		view;
	MatchRow   *rows;
	MatchRow   *moved;
	Answers		answers;
} Told;

static double
at(const Grid *grid, int i)
{
	return grid->first + i * grid->step;
}

/* Finds the answers where the bias is moved by this much. */
static void
answer(Told *told, double by, int fold)
{
	const View *view = &told->view;
	Answers    *answers = &told->answers;
	MatchShares shares;
	uint32_t	i;
	int			k;

	memcpy(told->moved, told->rows, (size_t) view->n_rows * sizeof(MatchRow));
	for (i = 0; i < view->n_rows; i++)
		for (k = 0; k < told->moved[i].n; k++)
			told->moved[i].found[k].score += (float) by;
	if (!assign_estimate(told->moved, view->n_rows, &shares) || !assign_rows(told->moved, view->n_rows, &shares, &calibration_shipped))
		fail("out of memory");
	answers->n = answers->n_rows = 0;
	for (i = 0; i < view->n_rows; i++)
	{
		const MatchRow *row = &told->moved[i];

		if (view->folds[i] == fold)
			continue;
		answers->n_rows++;
		if (row->chosen < 0)
			continue;
		answers->log_odds[answers->n] = row->log_odds;
		answers->right[answers->n++] = view_is_true(view, i, row->found[row->chosen].item);
	}
}

/* Mean logarithm of the likelihood of the labels under a curve. */
static double
likelihood(const Answers *answers, double slope, double offset)
{
	double		sum = 0;
	uint32_t	i;

	for (i = 0; i < answers->n; i++)
	{
		double		labelled = (1 - answers->missing) / (1 + exp(-(slope * answers->log_odds[i] + offset)));

		sum += log((answers->right[i] ? labelled : 1 - labelled) + 1e-9);
	}
	return answers->n_rows == 0 ? 0 : sum / answers->n_rows;
}

static void
open_told(Told *told, const LabelledSet *set, const char *name)
{
	MatchShares shares;

	view_open(&told->view, set, view_kind(name));
	told->rows = view_match(&told->view, &shares);
	told->moved = need(malloc(((size_t) told->view.n_rows + 1) * sizeof(MatchRow)));
	told->answers.log_odds = need(malloc(((size_t) told->view.n_rows + 1) * sizeof(float)));
	told->answers.right = need(malloc((size_t) told->view.n_rows + 1));
	told->answers.missing = set->missing;
}

static void
close_told(Told *told)
{
	view_close(&told->view);
	free(told->rows);
	free(told->moved);
	free(told->answers.log_odds);
	free(told->answers.right);
}

/* Moves the present model's bias, and sets its curve, but for what a set or the rows of a fold say. */
void
fit_curve(const LabelledSets *sets, const LabelledSet *left_out, int fold)
{
	Told	   *told = need(calloc((size_t) (sets->n * N_TOLD) + 1, sizeof(Told)));
	double		best[4] = {-INFINITY, 0, 1, 0};
	float		weights[N_FEATURES];
	int			n = 0;
	int			b;
	int			s;
	int			o;
	int			i;

	score_set_curve(1, 0);
	for (s = 0; s < sets->n; s++)
		for (i = 0; i < N_TOLD && &sets->sets[s] != left_out; i++)
			open_told(&told[n++], &sets->sets[s], told_views[i]);
	for (b = 0; b < biases.n; b++)
	{
		for (i = 0; i < n; i++)
			answer(&told[i], at(&biases, b), fold);
		for (s = 0; s < slopes.n; s++)
			for (o = 0; o < offsets.n; o++)
			{
				double		sum = 0;

				for (i = 0; i < n; i++)
					sum += likelihood(&told[i].answers, at(&slopes, s), at(&offsets, o));
				if (sum > best[0])
					memcpy(best, (double[4]) {sum, at(&biases, b), at(&slopes, s), at(&offsets, o)}, sizeof(best));
			}
	}
	for (i = 0; i < n; i++)
		close_told(&told[i]);
	free(told);
	for (i = 0; i < N_FEATURES; i++)
		weights[i] = score_weight((Feature) i);
	score_set_weights(weights, three_decimals(score_bias() + best[1]));
	score_set_curve(three_decimals(best[2]), three_decimals(best[3]));
}
