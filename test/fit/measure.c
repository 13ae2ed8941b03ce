/*
 * measure.c
 *	  How good the matcher is on a labelled set, by the same steps as sync_match: search, shares, assignment.
 */
#include "fit.h"

#include <stdlib.h>
#include <string.h>

/* Matches below this are not told; as in match_outcome.c. */
#define CONFIDENCE_FLOOR 0.3f

#define APPROVED 0.95f
#define REVIEWS 100
#define DRAWS 20
#define BOUND_ERROR 0.05		/* of the bounds of precision */

/* A row's answer. */
typedef struct Claim
{
	float		confidence;
	float		log_odds;
	uint32_t	row;
	bool		right;
} Claim;

typedef struct Claims
{
	Claim	   *claims;			/* of the rows that have an answer worth telling */
	uint32_t	n;
	uint32_t	n_rows;			/* that were asked */
	uint32_t	n_pairs;		/* true ones of these rows */
	uint32_t	n_found;		/* of these, that are candidates */
} Claims;

/* Finds all rows' candidates, settles who is what, and estimates the shares where *shares are not known. */
MatchRow *
view_match(View *view, MatchShares *shares)
{
	MatchRow   *rows = need(calloc((size_t) view->n_rows + 1, sizeof(MatchRow)));
	uint32_t	i;

	for (i = 0; i < view->n_rows; i++)
	{
		item_prepare(&view->item, &view->rows[i], view->index.seed, &view->index.aliases, false);
		rows[i].n = (uint8_t) match_search(&view->index, view->scratch, &view->item, rows[i].found, MATCH_KEPT);
	}
	if (!assign_estimate(rows, view->n_rows, shares) || !assign_rows(rows, view->n_rows, shares, &calibration_shipped))
		fail("out of memory");
	return rows;
}

static Claims *
claims_start(void)
{
	return need(calloc(1, sizeof(Claims)));
}

static void
claims_free(Claims *claims)
{
	free(claims->claims);
	free(claims);
}

/* Adds the answers of the rows of a fold, or of all. */
static void
claims_add(Claims *claims, const View *view, const MatchRow *rows, int fold)
{
	uint32_t	i;

	claims->claims = need(realloc(claims->claims, ((size_t) claims->n + view->n_rows + 1) * sizeof(Claim)));
	for (i = 0; i < view->n_rows; i++)
	{
		if (fold != NO_FOLD && view->folds[i] != fold)
			continue;
		claims->n_rows++;
		claims->n_pairs += view->true_first[i + 1] - view->true_first[i];
		if (rows[i].chosen >= 0 && rows[i].confidence >= CONFIDENCE_FLOOR)
			claims->claims[claims->n++] = (Claim) {rows[i].confidence, rows[i].log_odds, i,
				view_is_true(view, i, rows[i].found[rows[i].chosen].item)};
	}
}

/* Counts the true pairs that are among the candidates. */
static void
claims_count_found(Claims *claims, View *view)
{
	uint32_t	candidates[MAX_CANDIDATES];
	uint32_t	i;
	int			k;

	for (i = 0; i < view->n_rows; i++)
	{
		int			n = view->true_first[i] == view->true_first[i + 1] ? 0 : view_candidates(view, i, candidates);

		for (k = 0; k < n; k++)
			claims->n_found += view_is_true(view, i, candidates[k]);
	}
}

static void
count_from(const Claims *claims, float least, uint32_t *right, uint32_t *claimed)
{
	uint32_t	i;

	*right = *claimed = 0;
	for (i = 0; i < claims->n; i++)
		if (claims->claims[i].confidence >= least)
		{
			*claimed += 1;
			*right += claims->claims[i].right;
		}
}

static double
share(double part, double whole)
{
	return whole == 0 ? 0 : part / whole;
}

static Judged *
judged_of(const Claims *claims)
{
	Judged	   *judged = need(calloc((size_t) claims->n + 1, sizeof(Judged)));
	uint32_t	i;

	for (i = 0; i < claims->n; i++)
		judged[i] = (Judged) {claims->claims[i].confidence, claims->claims[i].right};
	return judged;
}

static void
tell_claims(const Claims *claims, const char *name)
{
	static const int thresholds[] = {50, 90, 95};
	Judged	   *judged = judged_of(claims);
	size_t		i;

	printf("%s.candidate_recall\t%.4f\t%u of %u true pairs are among the candidates\n", name, share(claims->n_found, claims->n_pairs),
		   claims->n_found, claims->n_pairs);
	for (i = 0; i < sizeof(thresholds) / sizeof(thresholds[0]); i++)
	{
		int			percent = thresholds[i];
		uint32_t	right;
		uint32_t	claimed;

		count_from(claims, (float) percent / 100, &right, &claimed);
		printf("%s.f1_%d\t%.4f\n", name, percent, share(2.0 * right, (double) claimed + claims->n_pairs));
		printf("%s.precision_%d\t%.4f\t%u of %u at p >= .%d are right\n", name, percent, share(right, claimed), right, claimed, percent);
		printf("%s.precision_bound_%d\t%.4f\tat least this, with a confidence of 95 %% (Clopper-Pearson)\n", name, percent,
			   clopper_pearson_lower(right, claimed, BOUND_ERROR));
		printf("%s.coverage_%d\t%.4f\tof the true pairs\n", name, percent, share(right, claims->n_pairs));
	}
	printf("%s.calibration_error_10\t%.4f\tten bands of equal width, %u rows\n", name, calibration_error_width(judged, claims->n), claims->n);
	printf("%s.calibration_error_15\t%.4f\tfifteen bands of as many rows\n", name, calibration_error_mass(judged, claims->n));
	printf("%s.brier\t%.4f\n", name, brier_score(judged, claims->n));
	free(judged);
}

static void
tell_shares(const MatchShares *shares, const View *view, const char *name)
{
	printf("%s.shift\t%.3f\tlog odds of a match, estimated; by the labels %.3f\n", name, shares->shift, view_offset(view));
	printf("%s.repeats\t%.3f\n", name, shares->repeats);
}

static uint64_t
next_random(uint64_t *state)
{
	uint64_t	z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* Draws reviews, and moves them to the front. */
static void
draw_reviews(Claims *claims, uint32_t n, uint64_t seed)
{
	uint64_t	state = seed;
	uint32_t	i;

	for (i = 0; i < n; i++)
	{
		uint32_t	other = i + (uint32_t) (next_random(&state) % (claims->n - i));
		Claim		drawn = claims->claims[other];

		claims->claims[other] = claims->claims[i];
		claims->claims[i] = drawn;
	}
}

/* What the rows' confidences are once the first of the claims have been reviewed; these are not among what is measured. */
static Claims *
after_reviews(const View *view, const MatchRow *rows, const MatchShares *shares, const Claims *claims, uint32_t n)
{
	MatchRow   *again = need(malloc(((size_t) view->n_rows + 1) * sizeof(MatchRow)));
	float		log_odds[REVIEWS];
	bool		right[REVIEWS];
	MatchCalibration calibration;
	Claims	   *result = claims_start();
	uint32_t	i;

	for (i = 0; i < n; i++)
	{
		log_odds[i] = claims->claims[i].log_odds;
		right[i] = claims->claims[i].right;
	}
	calibrate_fit(log_odds, right, n, &calibration);
	memcpy(again, rows, (size_t) view->n_rows * sizeof(MatchRow));
	if (!assign_rows(again, view->n_rows, shares, &calibration))
		fail("out of memory");
	for (i = 0; i < n; i++)
		again[claims->claims[i].row].chosen = -1;
	claims_add(result, view, again, NO_FOLD);
	for (i = 0; i < n; i++)
		result->n_pairs -= view->true_first[claims->claims[i].row + 1] - view->true_first[claims->claims[i].row];
	free(again);
	return result;
}

static void
tell_after_reviews(const View *view, const MatchRow *rows, const MatchShares *shares, Claims *claims, const char *name)
{
	uint32_t	n = claims->n < REVIEWS ? claims->n : REVIEWS;
	double		width = 0;
	double		mass = 0;
	double		precision = 0;
	double		coverage = 0;
	int			draw;

	for (draw = 0; draw < DRAWS; draw++)
	{
		Claims	   *rest;
		Judged	   *judged;
		uint32_t	right;
		uint32_t	claimed;

		draw_reviews(claims, n, (uint64_t) draw);
		rest = after_reviews(view, rows, shares, claims, n);
		judged = judged_of(rest);
		count_from(rest, APPROVED, &right, &claimed);
		width += calibration_error_width(judged, rest->n) / DRAWS;
		mass += calibration_error_mass(judged, rest->n) / DRAWS;
		precision += share(right, claimed) / DRAWS;
		coverage += share(right, rest->n_pairs) / DRAWS;
		free(judged);
		claims_free(rest);
	}
	printf("%s.reviewed.calibration_error_10\t%.4f\tof the others after %u reviews, mean of %d draws\n", name, width, n, DRAWS);
	printf("%s.reviewed.calibration_error_15\t%.4f\n", name, mass);
	printf("%s.reviewed.precision_95\t%.4f\n", name, precision);
	printf("%s.reviewed.coverage_95\t%.4f\n", name, coverage);
}

/* What is approved although the existing side has none of the true matches. */
static void
tell_new_only(const LabelledSet *set, const char *name)
{
	View		view;
	MatchShares shares;
	MatchRow   *rows;
	Claims	   *claims = claims_start();
	uint32_t	right;
	uint32_t	claimed;

	view_open(&view, set, view_kind("new-only"));
	rows = view_match(&view, &shares);
	claims_add(claims, &view, rows, NO_FOLD);
	count_from(claims, APPROVED, &right, &claimed);
	printf("%s.new_only.approved\t%u\tof %u rows that have no match, at p >= .95\n", name, claimed, view.n_rows);
	printf("%s.new_only.approved_per_1000\t%.2f\n", name, share(1000.0 * claimed, view.n_rows));
	printf("%s.new_only.shift\t%.3f\n", name, shares.shift);
	claims_free(claims);
	free(rows);
	view_close(&view);
}

/* Prints the figures of the present model on a set.  name stands before each figure's. */
void
measure_set(const LabelledSet *set, const char *name)
{
	View		view;
	MatchShares shares;
	MatchRow   *rows;
	Claims	   *claims = claims_start();

	view_open(&view, set, view_kind("whole"));
	rows = view_match(&view, &shares);
	claims_add(claims, &view, rows, NO_FOLD);
	claims_count_found(claims, &view);
	tell_claims(claims, name);
	tell_shares(&shares, &view, name);
	tell_after_reviews(&view, rows, &shares, claims, name);
	claims_free(claims);
	free(rows);
	view_close(&view);
	tell_new_only(set, name);
}

/* Prints a line of figures for each view of a set. */
void
measure_views(const LabelledSet *set)
{
	int			i;

	for (i = 0; i < n_view_kinds; i++)
	{
		View		view;
		MatchShares shares;
		MatchRow   *rows;
		Claims	   *claims;
		Judged	   *judged;
		uint32_t	right[2];
		uint32_t	claimed[2];

		if (!view_applies(set, &view_kinds[i]))
			continue;
		claims = claims_start();
		view_open(&view, set, &view_kinds[i]);
		rows = view_match(&view, &shares);
		claims_add(claims, &view, rows, NO_FOLD);
		count_from(claims, 0.5f, &right[0], &claimed[0]);
		count_from(claims, APPROVED, &right[1], &claimed[1]);
		judged = judged_of(claims);
		printf("%s\t%s\t%.4f\t%.4f\t%.4f\t%u\t%.4f\t%.3f\t%.3f\n", set->name, view_kinds[i].name,
			   share(2.0 * right[0], (double) claimed[0] + view.n_pairs), share(right[1], claimed[1]), share(right[1], view.n_pairs),
			   claimed[1] - right[1], calibration_error_width(judged, claims->n), shares.shift, view_offset(&view));
		free(judged);
		free(rows);
		claims_free(claims);
		view_close(&view);
	}
}

/* Prints a set's figures where each fold's rows are matched by a model that was fitted without them; all rows compete. */
void
measure_folds(const LabelledSet *set, Training *training)
{
	char		name[256];
	Claims	   *claims = claims_start();
	View		view;
	int			fold;

	view_open(&view, set, view_kind("whole"));
	for (fold = 0; fold < FOLDS; fold++)
	{
		MatchShares shares;
		MatchRow   *rows;

		training_fit(training, NULL, fold, false);
		rows = view_match(&view, &shares);
		claims_add(claims, &view, rows, fold);
		free(rows);
	}
	claims_count_found(claims, &view);
	snprintf(name, sizeof(name), "cv.%s", set->name);
	tell_claims(claims, name);
	claims_free(claims);
	view_close(&view);
}
