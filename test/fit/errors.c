/*
 * errors.c
 *	  Where the matcher is wrong: claims that are none, and true pairs that it does not claim, with what each piece of evidence added.
 */
#include "fit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void
print_item(const char *what, const MatchFields *fields)
{
	const MatchText *texts[] = {&fields->title, &fields->brand, &fields->mpn, &fields->sku, &fields->gtin};
	size_t		i;

	printf("  %-9s %.*s:", what, (int) fields->id.length, fields->id.data);
	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (texts[i]->data != NULL)
			printf("%s %.*s", i == 0 ? "" : " |", (int) texts[i]->length, texts[i]->data);
	if (fields->price > 0)
		printf(" | %.2f", fields->price);
	putchar('\n');
	if (fields->description.data != NULL)
		printf("            %.*s\n", fields->description.length > 160 ? 160 : (int) fields->description.length, fields->description.data);
}

/* What each piece added to the score of a pair, largest first. */
static void
print_added(const MatchFound *found)
{
	bool		printed[N_FEATURES] = {false};
	int			i;

	printf("            score %.2f = bias %.2f", found->score, score_bias());
	for (;;)
	{
		int			best = -1;

		for (i = 0; i < N_FEATURES; i++)
			if (!printed[i] && found->added[i] != 0 && (best < 0 || abs(found->added[i]) > abs(found->added[best])))
				best = i;
		if (best < 0)
			break;
		printed[best] = true;
		printf(" %+.2f %s", found->added[best] / 100.0, score_feature_name((Feature) best));
	}
	putchar('\n');
}

/* Compares a row, which must be the last whose candidates were looked for, with an item. */
static MatchFound
compare(View *view, uint32_t item)
{
	float		features[N_FEATURES];
	MatchFound	found;

	memset(&found, 0, sizeof(found));
	found.item = item;
	features_compare(&view->index, match_query(view->scratch), item, features);
	score_pair(&found, features);
	return found;
}

static void
print_pair(View *view, const char *what, uint32_t item)
{
	MatchFound	found = compare(view, item);

	print_item(what, &view->items[item]);
	print_added(&found);
}

static void
print_claim(const MatchRow *row, const char *what)
{
	printf("%s p %.4f log odds %.2f%s%s\n", what, row->confidence, row->log_odds, row->shared ? " shared" : "",
		   row->found[row->chosen].doubts & DOUBT_CONTRADICTED ? " contradicted" : "");
}

/* A wrong claim, beside the true items that the row has. */
static void
print_wrong(View *view, const MatchRow *row, uint32_t number)
{
	uint32_t	candidates[MAX_CANDIDATES];
	uint32_t	i;

	print_claim(row, "WRONG");
	view_candidates(view, number, candidates);
	print_item("row", &view->rows[number]);
	print_pair(view, "claimed", row->found[row->chosen].item);
	for (i = view->true_first[number]; i < view->true_first[number + 1]; i++)
		print_pair(view, "true", view->true_items[i]);
}

/* A true pair that is not claimed, where it stands among the row's candidates, and what is claimed instead. */
static void
print_missed(View *view, const MatchRow *row, uint32_t number, uint32_t item)
{
	uint32_t	candidates[MAX_CANDIDATES];
	int			n = view_candidates(view, number, candidates);
	MatchFound	found = compare(view, item);
	int			at = -1;
	int			better = 0;
	int			k;

	for (k = 0; k < n; k++)
	{
		at = candidates[k] == item ? k : at;
		better += candidates[k] != item && compare(view, candidates[k]).score > found.score;
	}
	if (at < 0)
		printf("MISSED no candidate\n");
	else
		printf("MISSED candidate %d of %d, %d of higher score\n", at + 1, n, better);
	print_item("row", &view->rows[number]);
	print_pair(view, "true", item);
	if (row->chosen >= 0 && row->found[row->chosen].item != item)
		print_pair(view, "chosen", row->found[row->chosen].item);
	if (row->chosen >= 0)
		print_claim(row, "            chosen");
}

/* Lists the wrong claims of at least this confidence, surest first, and the true pairs that are claimed with less. */
void
errors_list(const LabelledSet *set, const ViewKind *kind, float least)
{
	View		view;
	MatchShares shares;
	MatchRow   *rows;
	uint32_t	wrong = 0;
	uint32_t	missed = 0;
	float		above = INFINITY;
	uint32_t	i;
	uint32_t	j;

	view_open(&view, set, kind);
	rows = view_match(&view, &shares);
	while (above > least)
	{
		float		here = -1;

		for (i = 0; i < view.n_rows; i++)
			if (rows[i].chosen >= 0 && rows[i].confidence < above && rows[i].confidence >= least && rows[i].confidence > here &&
				!view_is_true(&view, i, rows[i].found[rows[i].chosen].item))
				here = rows[i].confidence;
		if (here < 0)
			break;
		for (i = 0; i < view.n_rows; i++)
			if (rows[i].chosen >= 0 && rows[i].confidence == here && !view_is_true(&view, i, rows[i].found[rows[i].chosen].item))
			{
				print_wrong(&view, &rows[i], i);
				wrong++;
			}
		above = here;
	}
	for (i = 0; i < view.n_rows; i++)
		for (j = view.true_first[i]; j < view.true_first[i + 1]; j++)
			if (rows[i].chosen < 0 || rows[i].confidence < least || rows[i].found[rows[i].chosen].item != view.true_items[j])
			{
				print_missed(&view, &rows[i], i, view.true_items[j]);
				missed++;
			}
	printf("errors.wrong\t%u\tclaims at p >= %.2f\nerrors.missed\t%u\tof %u true pairs\n", wrong, least, missed, view.n_pairs);
	free(rows);
	view_close(&view);
}
