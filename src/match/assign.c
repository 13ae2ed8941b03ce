/*
 * assign.c
 *	  One existing item for each incoming one: probabilities that take rivals on both sides into account.
 *
 * A matching gives each row at most one item; its weight is the product of the odds of its pairs, times r for each row beyond the first
 * that has the same item, where r is small unless the supplier repeats itself.  How likely a pair is in a random matching of this kind is
 * found by loopy belief propagation (Huang and Jebara, "Approximating the permanent with belief propagation", 2009), on the few
 * candidates of each row.  Row i tells item k the odds a = e / (1 + sum of e × b of its other candidates), where e are the odds of a
 * pair, against being new; item k tells row i b = P / (1 + (P - 1) / r), where P is the product of 1 + r × a of its other rows; the
 * pair's odds are then a × b.  So two candidates that are as good as each other have at most half each, and of two rows that claim one
 * item both are likely only where the evidence for both is strong.
 *
 * Two numbers are estimated from the rows themselves, when there are many: how many have a match at all (expectation and maximisation;
 * Saerens, Latinne and Decaestecker, "Adjusting the outputs of a classifier to new a priori probabilities", 2002), and r.
 */
#include "match/assign.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 8				/* of belief propagation; it mostly settles earlier */
#define SETTLED 1e-4f			/* share of a message that another round need not change */
#define SETTLED_SHIFT 1e-3f		/* the same of the log odds that the share of matches adds */

/* How far the share of matches may move the log odds, and the rows that it takes to be half trusted. */
#define LOWEST_SHIFT (-5.0f)
#define HIGHEST_SHIFT 5.0f
#define TRUSTED_ROWS 50.0f

/*
 * Of the odds that rows repeat themselves: what is believed before any are seen, the most that is believed, and which claims count.  Even
 * where every product comes many times others' claims tell something, since the rows of one that is not there all claim its sibling.
 */
#define FEWEST_REPEATS 0.005f
#define MOST_REPEATS 0.2f
#define CONFIDENT 0.9f

/* What a person has to see: all but the best of the rows that claim one item, and what something contradicts. */
#define DOUBT_CAP 0.94f

/* A claim that is worth telling a person of. */
#define CLAIM 0.3f

#define MOST_LOG_ODDS 30.0f

const MatchShares shares_unknown = {0, FEWEST_REPEATS};

/* A candidate of a row, and the messages between them. */
typedef struct Edge
{
	uint32_t	item;
	uint32_t	row;
	float		odds;
	float		to_item;
	float		to_row;
	uint8_t		number;			/* of the row's candidates */
} Edge;

typedef struct Graph
{
	Edge	   *edges;			/* in order of rows */
	uint32_t   *by_item;		/* their numbers in order of items */
	uint32_t	n;
} Graph;

static float
odds_of(float log_odds)
{
	return expf(log_odds > MOST_LOG_ODDS ? MOST_LOG_ODDS : log_odds < -MOST_LOG_ODDS ? -MOST_LOG_ODDS : log_odds);
}

static void
graph_free(Graph *graph)
{
	free(graph->edges);
	free(graph->by_item);
}

/* Sorts the numbers of the edges by item: two passes of counting over sixteen bits each, so that no comparison is needed. */
static bool
sort_by_item(Graph *graph)
{
	uint32_t   *other = malloc(((size_t) graph->n + 1) * sizeof(uint32_t));
	uint32_t   *counts = malloc(65537 * sizeof(uint32_t));
	uint32_t   *from = other;
	uint32_t   *to = graph->by_item;
	uint32_t	i;
	int			shift;

	if (other == NULL || counts == NULL)
	{
		free(other);
		free(counts);
		return false;
	}
	for (i = 0; i < graph->n; i++)
		to[i] = i;
	for (shift = 0; shift < 32; shift += 16)
	{
		uint32_t   *swap = from;

		from = to;
		to = swap;
		memset(counts, 0, 65537 * sizeof(uint32_t));
		for (i = 0; i < graph->n; i++)
			counts[(graph->edges[from[i]].item >> shift & 0xFFFF) + 1]++;
		for (i = 0; i < 65536; i++)
			counts[i + 1] += counts[i];
		for (i = 0; i < graph->n; i++)
			to[counts[graph->edges[from[i]].item >> shift & 0xFFFF]++] = from[i];
	}
	/* Two passes: the numbers are back where they began. */
	free(other);
	free(counts);
	return true;
}

/* Lists the candidates of all rows as edges.  Returns false when memory is out. */
static bool
graph_build(Graph *graph, const MatchRow *rows, size_t n)
{
	size_t		total = 0;
	size_t		i;
	int			k;

	memset(graph, 0, sizeof(Graph));
	for (i = 0; i < n; i++)
		total += rows[i].n;
	if (n > UINT32_MAX || total > UINT32_MAX)
		return false;
	graph->edges = malloc((total + 1) * sizeof(Edge));
	graph->by_item = malloc((total + 1) * sizeof(uint32_t));
	if (graph->edges == NULL || graph->by_item == NULL)
	{
		graph_free(graph);
		return false;
	}
	for (i = 0; i < n; i++)
		for (k = 0; k < rows[i].n; k++)
		{
			Edge	   *edge = &graph->edges[graph->n++];

			edge->item = rows[i].found[k].item;
			edge->row = (uint32_t) i;
			edge->number = (uint8_t) k;
		}
	if (!sort_by_item(graph))
	{
		graph_free(graph);
		return false;
	}
	return true;
}

/* Tells each item what its rows say.  Returns whether that is what they said before. */
static bool
tell_items(Graph *graph)
{
	bool		settled = true;
	uint32_t	i = 0;

	while (i < graph->n)
	{
		Edge	   *edges = graph->edges;
		float		sum = 1;
		uint32_t	end;
		uint32_t	j;

		for (end = i; end < graph->n && edges[end].row == edges[i].row; end++)
			sum += edges[end].odds * edges[end].to_row;
		for (j = i; j < end; j++)
		{
			float		others = sum - edges[j].odds * edges[j].to_row;
			float		before = edges[j].to_item;

			edges[j].to_item = edges[j].odds / (others < 1 ? 1 : others);
			settled &= fabsf(edges[j].to_item - before) <= SETTLED * edges[j].to_item;
		}
		i = end;
	}
	return settled;
}

/* Tells each row what its items say. */
static void
tell_rows(Graph *graph, float repeats)
{
	uint32_t	i = 0;

	while (i < graph->n)
	{
		Edge	   *edges = graph->edges;
		uint32_t	item = edges[graph->by_item[i]].item;
		double		sum = 0;
		uint32_t	end;
		uint32_t	j;

		/* In logarithms, as a million rows may claim one item; with the digits that what is left needs, once a sure row's own is taken out. */
		for (end = i; end < graph->n && edges[graph->by_item[end]].item == item; end++)
			;
		for (j = i; end - i > 1 && j < end; j++)
		{
			Edge	   *edge = &edges[graph->by_item[j]];

			edge->to_row = log1pf(repeats * edge->to_item);
			sum += edge->to_row;
		}
		/* An item that one row has is as it was: it says 1. */
		for (j = i; end - i > 1 && j < end; j++)
		{
			Edge	   *edge = &edges[graph->by_item[j]];
			float		others = (float) (sum - edge->to_row);
			float		product = expm1f(others < 0 ? 0 : others > MOST_LOG_ODDS ? MOST_LOG_ODDS : others);

			edge->to_row = (product + 1) / (1 + product / repeats);
		}
		i = end;
	}
}

static void
propagate(Graph *graph, const MatchRow *rows, const MatchShares *shares)
{
	uint32_t	i;
	int			round;

	for (i = 0; i < graph->n; i++)
	{
		Edge	   *edge = &graph->edges[i];

		edge->odds = odds_of(rows[edge->row].found[edge->number].score + shares->shift);
		edge->to_item = 0;
		edge->to_row = 1;
	}
	for (round = 0; !tell_items(graph) && round < ROUNDS; round++)
		tell_rows(graph, shares->repeats);
}

static float
edge_probability(const Edge *edge)
{
	float		odds = edge->to_item * edge->to_row;

	return odds / (1 + odds);
}

/* How often rows that are confident by themselves claim one item together. */
static float
estimate_repeats(const Graph *graph)
{
	uint32_t	confident = 0;
	uint32_t	repeated = 0;
	uint32_t	i = 0;
	float		share;
	float		repeats;

	while (i < graph->n)
	{
		uint32_t	item = graph->edges[graph->by_item[i]].item;
		uint32_t	claims = 0;

		for (; i < graph->n && graph->edges[graph->by_item[i]].item == item; i++)
			if (edge_probability(&graph->edges[graph->by_item[i]]) >= CONFIDENT)
				claims++;
		confident += claims;
		if (claims > 1)
			repeated += claims;
	}
	share = (float) repeated / ((float) confident + TRUSTED_ROWS);
	repeats = share / (1 - share);
	return repeats > MOST_REPEATS ? MOST_REPEATS : repeats < FEWEST_REPEATS ? FEWEST_REPEATS : repeats;
}

/*
 * Estimates what the rows tell of the supplier; rows without candidates count too.  Returns false when memory is out.
 */
bool
assign_estimate(const MatchRow *rows, size_t n, MatchShares *shares)
{
	float		trust = (float) n / ((float) n + TRUSTED_ROWS);
	MatchShares now = {0, 1};
	Graph		graph;
	int			round;
	uint32_t	i;

	*shares = shares_unknown;
	if (n == 0)
		return true;
	if (!graph_build(&graph, rows, n))
		return false;
	/* Rivals among rows are left out at first, so that repeated rows show. */
	propagate(&graph, rows, &now);
	shares->repeats = estimate_repeats(&graph);
	now.repeats = shares->repeats;
	for (round = 0; round < 20; round++)
	{
		double		sum = 0;
		float		share;
		float		before = now.shift;

		propagate(&graph, rows, &now);
		for (i = 0; i < graph.n; i++)
			sum += edge_probability(&graph.edges[i]);
		share = (float) (sum / (double) n);
		share = share < 0.001f ? 0.001f : share > 0.999f ? 0.999f : share;
		now.shift = logf(share / (1 - share));
		now.shift = now.shift > HIGHEST_SHIFT ? HIGHEST_SHIFT : now.shift < LOWEST_SHIFT ? LOWEST_SHIFT : now.shift;
		if (fabsf(now.shift - before) < SETTLED_SHIFT)
			break;
	}
	shares->shift = now.shift * trust;
	graph_free(&graph);
	return true;
}

/* The confidence, less where something contradicts the match. */
float
assign_doubt(const MatchFound *found, float confidence)
{
	return (found->doubts & DOUBT_CONTRADICTED) && confidence > DOUBT_CAP ? DOUBT_CAP : confidence;
}

/* Sets each row's chosen item. */
static void
choose(const Graph *graph, MatchRow *rows, const MatchCalibration *calibration)
{
	uint32_t	i;

	for (i = 0; i < graph->n; i++)
	{
		const Edge *edge = &graph->edges[i];
		MatchRow   *row = &rows[edge->row];
		float		log_odds = score_curve(logf(edge->to_item * edge->to_row + 1e-30f));

		if (row->chosen >= 0 && log_odds <= row->log_odds)
			continue;
		row->chosen = (int8_t) edge->number;
		row->log_odds = log_odds;
		row->confidence = assign_doubt(&row->found[edge->number], calibrate(calibration, log_odds));
	}
}

/* Marks the rows that claim an item together.  Only the best of them may be approved by itself. */
static void
mark_shared(const Graph *graph, MatchRow *rows)
{
	uint32_t	i = 0;

	while (i < graph->n)
	{
		uint32_t	item = graph->edges[graph->by_item[i]].item;
		MatchRow   *best = NULL;
		uint32_t	end;

		for (end = i; end < graph->n && graph->edges[graph->by_item[end]].item == item; end++)
		{
			const Edge *edge = &graph->edges[graph->by_item[end]];
			MatchRow   *row = &rows[edge->row];

			if (row->chosen != edge->number || row->confidence < CLAIM)
				continue;
			if (best == NULL)
			{
				best = row;
				continue;
			}
			best->shared = row->shared = true;
			if (row->confidence > best->confidence)
			{
				best->confidence = best->confidence > DOUBT_CAP ? DOUBT_CAP : best->confidence;
				best = row;
			}
			else
				row->confidence = row->confidence > DOUBT_CAP ? DOUBT_CAP : row->confidence;
		}
		i = end;
	}
}

/*
 * Sets chosen, shared, log_odds and confidence of all rows.  Returns false, with nothing set, when memory is out.
 */
bool
assign_rows(MatchRow *rows, size_t n, const MatchShares *shares, const MatchCalibration *calibration)
{
	Graph		graph;
	size_t		i;

	if (!graph_build(&graph, rows, n))
		return false;
	for (i = 0; i < n; i++)
	{
		rows[i].chosen = -1;
		rows[i].shared = false;
		rows[i].log_odds = 0;
		rows[i].confidence = 0;
	}
	propagate(&graph, rows, shares);
	choose(&graph, rows, calibration);
	mark_shared(&graph, rows);
	graph_free(&graph);
	return true;
}

/* Log odds of each candidate of an item that stands alone. */
void
assign_alone(const MatchFound *found, int n, float log_odds[])
{
	float		sum = 1;
	int			i;

	for (i = 0; i < n; i++)
		sum += odds_of(found[i].score);
	for (i = 0; i < n; i++)
	{
		float		others = sum - odds_of(found[i].score);

		log_odds[i] = score_curve(found[i].score - logf(others < 1 ? 1 : others));
	}
}
