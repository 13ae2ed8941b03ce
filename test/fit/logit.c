/*
 * logit.c
 *	  Conditional logit with "new" as an alternative, fitted by penalised maximum likelihood.
 *
 * The answer for a row is one of its candidates k, or that it is new: P(k) = exp(z_k) / (1 + sum of exp(z_j)), where z_k = offset of the
 * row's group + bias + deviation of the group + weights . features of k.  Where several candidates are right, any of them will do.
 *
 * Groups are data sets seen in several ways, which differ in how many rows have a match at all: the offset says how many, and what is
 * left is the deviation, held to 0 by a normal prior, as are the weights to theirs.  So a group with no match at all still counts against weights
 * that would make one.
 *
 * Labels may be incomplete.  Where a share m of the true pairs has none, a row without one is new or has a match nobody wrote down:
 * its probability is that of being new + m x that of having a match.
 *
 * The method is Newton's with bounds: in each round the quadratic approximation is made least within the signs' bounds by cyclic
 * coordinate descent, and the step halved until the objective falls.  The objective is convex but for rows with several right candidates
 * and for missing labels; there the part of the Hessian that may be negative is left out, so that each step still leads down.  Starting
 * from the priors' middles and summing in order, it gives the same on each run, whatever model there was before.
 */
#include "logit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Strength of the prior of the weights: 1 / square of their standard deviation, in log odds for a feature of 1. */
#define RIDGE 4.0

/*
 * The same of the groups' deviations, which in matching itself nothing makes up for, and of the bias, which only must not run away where
 * there is no data.
 */
#define GROUP_RIDGE 4.0
#define BIAS_RIDGE 1e-6

#define MOST_ROUNDS 200
#define TOLERANCE 1e-9			/* of a step, in log odds */

/* Candidates below this cannot change the curvature, which need not be exact. */
#define NEGLIGIBLE 1e-7

#define LEAST_LIKELY 1e-300

/* Parameters in this order: weights, bias, deviations. */
typedef struct Problem
{
	const LogitData *data;
	int			n;
	double	   *gradient;
	double	   *hessian;		/* n x n */
	double	   *step;
	double	   *trial;
	double	   *slope;			/* of the quadratic approximation at the step */
	double	   *probability;	/* of the candidates of a row */
} Problem;

static double
penalty(const Problem *p, int i)
{
	if (i < p->data->n_features && p->data->signs[i] == 2)
		return 0;
	return i < p->data->n_features ? RIDGE : i == p->data->n_features ? BIAS_RIDGE : GROUP_RIDGE;
}

/* Middle of the prior of a parameter. */
static double
centre(const Problem *p, int i)
{
	return i < p->data->n_features ? p->data->centres[i] : 0;
}

/* Keeps a value within the bounds of its parameter's sign. */
static double
bounded(const Problem *p, int i, double value)
{
	int			sign = i < p->data->n_features ? p->data->signs[i] : 0;

	if (sign == 2)
		return p->data->centres[i];
	return (sign > 0 && value < 0) || (sign < 0 && value > 0) ? 0 : value;
}

/*
 * Probabilities of the candidates of a row.  Returns the negative logarithm of that of the label; *any is the sum of the probabilities.
 * Of a right candidate's probability *wanted is the inverse of the right ones' sum, so that their products add up to 1; in a row without
 * a label it is what makes all of them add up to the probability that the label is missing.
 */
static double
row_probabilities(const Problem *p, const double *x, const LogitRow *row, double *wanted, double *any)
{
	const LogitData *data = p->data;
	double		base = x[data->n_features] + x[data->n_features + 1 + row->group] + data->offsets[row->group];
	double		missing = data->missing[row->group];
	double		most = 0;
	double		right = 0;
	double		sum;
	double		likely;
	int			i;
	int			k;

	for (k = 0; k < row->n; k++)
	{
		const float *f = data->features + (size_t) (row->first + (uint32_t) k) * (size_t) data->n_features;
		double		z = base;

		for (i = 0; i < data->n_features; i++)
			z += x[i] * f[i];
		p->probability[k] = z;
		most = z > most ? z : most;
	}
	sum = exp(-most);
	for (k = 0; k < row->n; k++)
		sum += exp(p->probability[k] - most);
	*any = 0;
	for (k = 0; k < row->n; k++)
	{
		p->probability[k] = exp(p->probability[k] - most) / sum;
		*any += p->probability[k];
		if (data->right[row->first + (uint32_t) k])
			right += p->probability[k];
	}
	for (k = 0; k < row->n && !data->right[row->first + (uint32_t) k]; k++)
		;
	likely = k < row->n ? right : exp(-most) / sum + missing * *any;
	likely = likely > LEAST_LIKELY ? likely : LEAST_LIKELY;
	*wanted = (k < row->n ? 1 : missing) / likely;
	return -log(likely);
}

static double
objective(const Problem *p, const double *x)
{
	double		sum = 0;
	double		wanted;
	double		any;
	size_t		r;
	int			i;

	for (r = 0; r < p->data->n_rows; r++)
		if (p->data->rows[r].weight > 0)
			sum += p->data->rows[r].weight * row_probabilities(p, x, &p->data->rows[r], &wanted, &any);
	for (i = 0; i < p->n; i++)
		sum += 0.5 * penalty(p, i) * (x[i] - centre(p, i)) * (x[i] - centre(p, i));
	return sum;
}

/* Adds what a row, whose probabilities are known, tells of slope and curvature. */
static void
add_row(Problem *p, const LogitRow *row, double wanted, double any)
{
	const LogitData *data = p->data;
	int			n = data->n_features;
	int			group = n + 1 + row->group;
	double		mean[LOGIT_MOST_FEATURES] = {0};
	double		total = 0;
	bool		labelled = false;
	int			i;
	int			j;
	int			k;

	for (k = 0; k < row->n; k++)
		labelled = labelled || data->right[row->first + (uint32_t) k];
	for (k = 0; k < row->n; k++)
	{
		const float *f = data->features + (size_t) (row->first + (uint32_t) k) * (size_t) n;
		double		probability = p->probability[k];
		bool		counts = !labelled || data->right[row->first + (uint32_t) k];
		double		slope = row->weight * (probability - (counts ? wanted * probability : 0));

		total += slope;
		if (fabs(slope) < 1e-15 && probability < NEGLIGIBLE)
			continue;
		for (i = 0; i < n; i++)
		{
			if (f[i] == 0)
				continue;
			p->gradient[i] += slope * f[i];
			mean[i] += probability * f[i];
			for (j = 0; probability > NEGLIGIBLE && j <= i; j++)
				p->hessian[i * p->n + j] += row->weight * probability * f[i] * f[j];
		}
	}
	for (i = 0; i < n; i++)
	{
		if (mean[i] == 0)
			continue;
		for (j = 0; j <= i; j++)
			p->hessian[i * p->n + j] -= row->weight * mean[i] * mean[j];
		p->hessian[n * p->n + i] += row->weight * mean[i] * (1 - any);
		p->hessian[group * p->n + i] += row->weight * mean[i] * (1 - any);
	}
	p->gradient[n] += total;
	p->gradient[group] += total;
	p->hessian[n * p->n + n] += row->weight * any * (1 - any);
	p->hessian[group * p->n + n] += row->weight * any * (1 - any);
	p->hessian[group * p->n + group] += row->weight * any * (1 - any);
}

/* Sets slope and curvature of the objective. */
static void
differentiate(Problem *p, const double *x)
{
	double		wanted;
	double		any;
	size_t		r;
	int			i;
	int			j;

	memset(p->gradient, 0, (size_t) p->n * sizeof(double));
	memset(p->hessian, 0, (size_t) (p->n * p->n) * sizeof(double));
	for (r = 0; r < p->data->n_rows; r++)
		if (p->data->rows[r].weight > 0)
		{
			row_probabilities(p, x, &p->data->rows[r], &wanted, &any);
			add_row(p, &p->data->rows[r], wanted, any);
		}
	for (i = 0; i < p->n; i++)
	{
		p->gradient[i] += penalty(p, i) * (x[i] - centre(p, i));
		p->hessian[i * p->n + i] += penalty(p, i) + 1e-9;
		for (j = 0; j < i; j++)
			p->hessian[j * p->n + i] = p->hessian[i * p->n + j];
	}
}

/* Finds the step to where the quadratic approximation is least within the bounds.  Returns its largest part. */
static double
find_step(Problem *p, const double *x)
{
	double		largest = 0;
	int			sweep;
	int			i;
	int			j;

	memset(p->step, 0, (size_t) p->n * sizeof(double));
	memcpy(p->slope, p->gradient, (size_t) p->n * sizeof(double));
	for (sweep = 0; sweep < 20000; sweep++)
	{
		double		moved = 0;

		for (i = 0; i < p->n; i++)
		{
			double		here = x[i] + p->step[i];
			double		move = bounded(p, i, here - p->slope[i] / p->hessian[i * p->n + i]) - here;

			if (move == 0)
				continue;
			p->step[i] += move;
			for (j = 0; j < p->n; j++)
				p->slope[j] += move * p->hessian[i * p->n + j];
			moved = fabs(move) > moved ? fabs(move) : moved;
		}
		if (moved < TOLERANCE / 10)
			break;
	}
	for (i = 0; i < p->n; i++)
		largest = fabs(p->step[i]) > largest ? fabs(p->step[i]) : largest;
	return largest;
}

/* Goes the step, or as much of it as makes the objective fall.  Returns false where nothing does. */
static bool
go(Problem *p, double *x, double *least)
{
	double		share;
	double		expected = 0;
	int			i;

	for (i = 0; i < p->n; i++)
		expected += p->gradient[i] * p->step[i];
	for (share = 1; share > 1e-10; share /= 2)
	{
		double		now;

		for (i = 0; i < p->n; i++)
			p->trial[i] = bounded(p, i, x[i] + share * p->step[i]);
		now = objective(p, p->trial);
		if (now < *least && now <= *least + 1e-4 * share * expected)
		{
			memcpy(x, p->trial, (size_t) p->n * sizeof(double));
			*least = now;
			return true;
		}
	}
	return false;
}

static void
minimise(Problem *p, double *x, LogitModel *model)
{
	double		least = objective(p, x);

	for (model->rounds = 0; model->rounds < MOST_ROUNDS; model->rounds++)
	{
		differentiate(p, x);
		if (find_step(p, x) < TOLERANCE || !go(p, x, &least))
			break;
	}
	model->objective = least;
}

/* Fits the model.  Returns false when memory is out or the data is beyond the limits. */
bool
logit_fit(const LogitData *data, LogitModel *model)
{
	size_t		n = (size_t) data->n_features + 1 + (size_t) data->n_groups;
	double	   *room = calloc(n * n + n * 5 + UINT16_MAX, sizeof(double));
	double	   *x = room;
	Problem		p = {.data = data, .n = (int) n};
	int			i;

	if (room == NULL || data->n_features > LOGIT_MOST_FEATURES)
	{
		free(room);
		return false;
	}
	p.gradient = room + n;
	p.step = room + 2 * n;
	p.trial = room + 3 * n;
	p.slope = room + 4 * n;
	p.hessian = room + 5 * n;
	p.probability = p.hessian + n * n;
	for (i = 0; i < data->n_features; i++)
		x[i] = data->centres[i];
	minimise(&p, x, model);
	memcpy(model->weights, x, (size_t) data->n_features * sizeof(double));
	model->bias = x[data->n_features];
	memcpy(model->deviations, x + data->n_features + 1, (size_t) data->n_groups * sizeof(double));
	free(room);
	return true;
}
