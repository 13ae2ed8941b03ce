/*
 * train.c
 *	  From labelled sets to the rows that a model is fitted to, and from the fit to the model.
 */
#include "fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a set weighs, whatever its size, in rows: against this stands the prior of the weights. */
#define ROWS_OF_SET 1000.0

/* How strongly the weights are held to their priors: what carried over best from one set to the other. */
#define RIDGE 4.0

/*
 * Candidates of a row that are learnt from, most promising first; the true ones are in any case.  That order does not depend on the
 * present weights: if it did, fitting twice would not give the same twice.
 */
#define LEARNT 12

typedef struct Group
{
	const LabelledSet *set;
	const ViewKind *kind;
	size_t		first;			/* row */
	size_t		n;
	double		offset;
} Group;

struct Training
{
	const LabelledSets *sets;
	Group	   *groups;
	int			n_groups;
	LogitRow   *rows;
	int8_t	   *folds;
	size_t		n_rows;
	size_t		rows_room;
	float	   *features;
	bool	   *right;
	size_t		n_pairs;
	size_t		pairs_room;
};

/* What is done with each row of a view: its candidates, their features (N_FEATURES each), and which are right. */
typedef void (*RowVisitor) (const View *view, uint32_t row, const uint32_t *candidates, const float *features, const bool *right, int n,
							void *context);

static void
visit_rows(View *view, RowVisitor visitor, void *context)
{
	uint32_t	candidates[MAX_CANDIDATES];
	float		features[MAX_CANDIDATES * N_FEATURES];
	bool		right[MAX_CANDIDATES];
	uint32_t	row;
	int			k;

	for (row = 0; row < view->n_rows; row++)
	{
		int			n = view_candidates(view, row, candidates);

		for (k = 0; k < n; k++)
		{
			features_compare(&view->index, match_query(view->scratch), candidates[k], features + k * N_FEATURES);
			right[k] = view_is_true(view, row, candidates[k]);
		}
		visitor(view, row, candidates, features, right, n, context);
	}
}

static void
learn_row(const View *view, uint32_t row, const uint32_t *candidates, const float *features, const bool *right, int n, void *context)
{
	Training   *t = context;
	LogitRow   *learnt;
	int			k;

	(void) candidates;
	if (t->n_rows == t->rows_room)
	{
		t->rows_room = t->rows_room == 0 ? 4096 : t->rows_room * 2;
		t->rows = need(realloc(t->rows, t->rows_room * sizeof(LogitRow)));
		t->folds = need(realloc(t->folds, t->rows_room));
	}
	if (t->n_pairs + MAX_CANDIDATES > t->pairs_room)
	{
		t->pairs_room = t->pairs_room * 2 + 65536;
		t->features = need(realloc(t->features, t->pairs_room * N_FEATURES * sizeof(float)));
		t->right = need(realloc(t->right, t->pairs_room));
	}
	learnt = &t->rows[t->n_rows];
	learnt->first = (uint32_t) t->n_pairs;
	learnt->n = 0;
	learnt->group = (uint16_t) (t->n_groups - 1);
	t->folds[t->n_rows++] = (int8_t) view->folds[row];
	for (k = 0; k < n; k++)
	{
		if (k >= LEARNT && !right[k])
			continue;
		memcpy(t->features + t->n_pairs * N_FEATURES, features + k * N_FEATURES, N_FEATURES * sizeof(float));
		t->right[t->n_pairs++] = right[k];
		learnt->n++;
	}
}

/* Compares the rows of all sets in all views. */
Training *
training_gather(const LabelledSets *sets)
{
	Training   *t = need(calloc(1, sizeof(Training)));
	int			s;
	int			v;

	t->sets = sets;
	t->groups = need(calloc((size_t) (sets->n * n_view_kinds), sizeof(Group)));
	for (s = 0; s < sets->n; s++)
		for (v = 0; v < n_view_kinds; v++)
		{
			Group	   *group = &t->groups[t->n_groups];
			View		view;

			if (!view_applies(&sets->sets[s], &view_kinds[v]))
				continue;
			t->n_groups++;
			view_open(&view, &sets->sets[s], &view_kinds[v]);
			*group = (Group) {&sets->sets[s], &view_kinds[v], t->n_rows, view.n_rows, view_offset(&view)};
			visit_rows(&view, learn_row, t);
			view_close(&view);
		}
	return t;
}

void
training_free(Training *t)
{
	free(t->groups);
	free(t->rows);
	free(t->folds);
	free(t->features);
	free(t->right);
	free(t);
}

/* Weighs the rows so that each set counts the same, and each of its views by its weight. */
static void
weigh_rows(Training *t, const LabelledSet *left_out, int fold)
{
	int			g;
	int			other;
	size_t		i;

	for (g = 0; g < t->n_groups; g++)
	{
		const Group *group = &t->groups[g];
		double		all = 0;
		size_t		counted = 0;

		for (other = 0; other < t->n_groups; other++)
			if (t->groups[other].set == group->set)
				all += t->groups[other].kind->weight;
		for (i = group->first; i < group->first + group->n; i++)
			counted += group->set != left_out && t->folds[i] != fold;
		for (i = group->first; i < group->first + group->n; i++)
			t->rows[i].weight = group->set == left_out || t->folds[i] == fold ? 0 :
				(float) (ROWS_OF_SET * group->kind->weight / all / (double) counted);
	}
}

float
three_decimals(double value)
{
	return (float) (round(value * 1000) / 1000);
}

/* The bias as the rows tell it one by one: the mean over the sets as they are. */
static double
common_bias(const Training *t, const LogitModel *model, const LabelledSet *left_out)
{
	double		sum = 0;
	int			n = 0;
	int			g;

	for (g = 0; g < t->n_groups; g++)
		if (t->groups[g].set != left_out && t->groups[g].kind == &view_kinds[0])
		{
			sum += model->bias + model->deviations[g];
			n++;
		}
	return n == 0 ? model->bias : sum / n;
}

static void
tell_groups(const Training *t, const LogitModel *model)
{
	int			g;

	printf("fit.objective\t%.4f\tafter %d rounds, %zu rows, %zu pairs\n", model->objective, model->rounds, t->n_rows, t->n_pairs);
	for (g = 0; g < t->n_groups; g++)
		printf("fit.deviation.%s.%s\t%.3f\tbeside the log odds of its share of matches, %.3f\n", t->groups[g].set->name,
			   t->groups[g].kind->name, model->deviations[g], t->groups[g].offset);
}

/*
 * What a weight is held to where the labels do not tell otherwise: nothing, but for what labelled sets hardly have.  A GTIN is made to be
 * one item's, so it makes up for whatever the size of the catalogue makes unlikely.  A pack, a remade or compatible article, and another
 * maker's article of the same short number are other things to sell, however much else agrees.
 */
static double
prior_weight(Feature feature)
{
	static const struct
	{
		Feature		feature;
		double		weight;
	}			priors[] = {
		{F_GTIN_EQUAL, 10}, {F_GTIN_CONFLICT, -3}, {F_KEY_ALONE, -4}, {F_PACK_CONFLICT, -4}, {F_CONDITION_CONFLICT, -4},
		{F_BUNDLE_CONFLICT, -2}, {F_SHORT_CONFLICT, -5}, {F_MADE_FOR, -4},
	};
	size_t		i;

	if (score_sign(feature) == 2)
		return score_weight(feature);
	for (i = 0; i < sizeof(priors) / sizeof(priors[0]); i++)
		if (priors[i].feature == feature)
			return priors[i].weight;
	return 0;
}

/* Fits the matcher's model, but for a set or the rows of a fold, and lets the matcher use it, with the decimals that are written. */
void
training_fit(Training *t, const LabelledSet *left_out, int fold, bool tell)
{
	int			signs[N_FEATURES];
	double		centres[N_FEATURES];
	double	   *offsets = need(calloc((size_t) t->n_groups + 1, sizeof(double)));
	double	   *missing = need(calloc((size_t) t->n_groups + 1, sizeof(double)));
	LogitModel	model = {.deviations = need(calloc((size_t) t->n_groups + 1, sizeof(double)))};
	LogitData	data = {N_FEATURES, t->n_groups, t->n_rows, signs, centres, RIDGE, t->rows, t->features, t->right, offsets, missing};
	float		weights[N_FEATURES];
	int			i;

	weigh_rows(t, left_out, fold);
	for (i = 0; i < N_FEATURES; i++)
	{
		signs[i] = score_sign((Feature) i);
		centres[i] = prior_weight((Feature) i);
	}
	for (i = 0; i < t->n_groups; i++)
	{
		offsets[i] = t->groups[i].offset;
		missing[i] = t->groups[i].set->missing;
	}
	if (!logit_fit(&data, &model))
		fail("out of memory");
	for (i = 0; i < N_FEATURES; i++)
		weights[i] = three_decimals(model.weights[i]);
	score_set_weights(weights, three_decimals(common_bias(t, &model, left_out)));
	fit_curve(t->sets, left_out, fold);
	if (tell)
		tell_groups(t, &model);
	free(model.deviations);
	free(offsets);
	free(missing);
}

static void
dump_row(const View *view, uint32_t row, const uint32_t *candidates, const float *features, const bool *right, int n, void *context)
{
	FILE	   *file = context;
	int			k;
	int			i;

	for (k = 0; k < n; k++)
	{
		fprintf(file, "%s\t%s\t%s\t%s\t%d\t%d", view->set->name, view->kind->name, view->rows[row].id.data,
				view->items[candidates[k]].id.data, right[k], k);
		for (i = 0; i < N_FEATURES; i++)
			fprintf(file, "\t%.9g", features[k * N_FEATURES + i]);
		fputc('\n', file);
	}
}

/* Writes the features of all candidates of a set, in all views. */
void
training_dump(const LabelledSet *set, FILE *file)
{
	View		view;
	int			i;

	fputs("set\tview\trow\titem\tright\trank", file);
	for (i = 0; i < N_FEATURES; i++)
		fprintf(file, "\t%s", score_feature_name((Feature) i));
	fputc('\n', file);
	for (i = 0; i < n_view_kinds; i++)
		if (view_applies(set, &view_kinds[i]))
		{
			view_open(&view, set, &view_kinds[i]);
			visit_rows(&view, dump_row, file);
			view_close(&view);
		}
}
