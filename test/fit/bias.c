/*
 * bias.c
 *	  The model's bias, as what comes out of the whole pipeline asks for it.
 *
 * A row by itself knows nothing of the other rows, nor that assign.c estimates the share of matches from all of them; so the bias that is
 * best for rows one by one is not the best for the confidences that people see.  This tries others, and takes the one under which the
 * labels are most likely, over all sets, each as it is, with half of its matches and with none.
 */
#include "fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LOWEST (-2.0)
#define HIGHEST 3.0
#define STEP 0.05

static const char *const told_views[] = {"whole", "half", "new-only"};

#define N_TOLD ((int) (sizeof(told_views) / sizeof(told_views[0])))

/* Likelihood of the labels of a view's rows, in mean logarithms, where the bias is moved by this much. */
static double
view_likelihood(const View *view, const MatchRow *rows, MatchRow *moved, double by, int fold)
{
	MatchShares shares;
	double		sum = 0;
	uint32_t	counted = 0;
	uint32_t	i;
	int			k;

	memcpy(moved, rows, (size_t) view->n_rows * sizeof(MatchRow));
	for (i = 0; i < view->n_rows; i++)
		for (k = 0; k < moved[i].n; k++)
			moved[i].found[k].score += (float) by;
	if (!assign_estimate(moved, view->n_rows, &shares) || !assign_rows(moved, view->n_rows, &shares, &calibration_shipped))
		fail("out of memory");
	for (i = 0; i < view->n_rows; i++)
	{
		bool		claimed = moved[i].chosen >= 0;
		bool		right = claimed && view_is_true(view, i, moved[i].found[moved[i].chosen].item);
		double		labelled = claimed ? moved[i].confidence * (1 - view->set->missing) : 0;

		if (view->folds[i] == fold)
			continue;
		sum += log(right ? labelled : 1 - labelled);
		counted++;
	}
	return counted == 0 ? 0 : sum / counted;
}

/* What to add to the present model's bias, but for what a set or the rows of a fold say. */
double
bias_correction(const LabelledSets *sets, const LabelledSet *left_out, int fold)
{
	enum {N_STEPS = (int) ((HIGHEST - LOWEST) / STEP) + 1};
	double		likelihood[N_STEPS] = {0};
	int			best = 0;
	int			s;
	int			v;
	int			i;

	for (s = 0; s < sets->n; s++)
		for (v = 0; v < N_TOLD && &sets->sets[s] != left_out; v++)
		{
			View		view;
			MatchShares shares;
			MatchRow   *rows;
			MatchRow   *moved;

			view_open(&view, &sets->sets[s], view_kind(told_views[v]));
			rows = view_match(&view, &shares);
			moved = need(malloc(((size_t) view.n_rows + 1) * sizeof(MatchRow)));
			for (i = 0; i < N_STEPS; i++)
				likelihood[i] += view_likelihood(&view, rows, moved, LOWEST + i * STEP, fold);
			free(moved);
			free(rows);
			view_close(&view);
		}
	for (i = 1; i < N_STEPS; i++)
		if (likelihood[i] > likelihood[best])
			best = i;
	return LOWEST + best * STEP;
}
