/*
 * fit.h
 *	  Labelled sets of products, the views in which they are seen, and what is measured on them.
 *
 * set.c reads the sets, view.c and keys.c make views of them, logit.c fits, train.c brings the two together, measure.c and errors.c say
 * how good a model is, model_file.c writes it down, main.c knows the commands.
 */
#ifndef FIT_H
#define FIT_H

#include <stdio.h>

#include "logit.h"
#include "match/assign.h"
#include "match/search.h"

#define FIT_SEED 42				/* of the index's hashes: the same on each run */
#define FOLDS 5
#define NO_FOLD (-1)

typedef enum SetField
{
	FIELD_ID, FIELD_SKU, FIELD_GTIN, FIELD_BRAND, FIELD_MPN, FIELD_TITLE, FIELD_DESCRIPTION, FIELD_PRICE, N_FIELDS
} SetField;

#define FIELD_BIT(field) (1u << (field))

/* The sides of a set, and of a pair. */
#define INCOMING 0
#define EXISTING 1

typedef struct SetSide
{
	MatchText (*items)[N_FIELDS];
	uint32_t	n;
	unsigned	has;			/* bits of the fields that its file gives */
} SetSide;

typedef struct TruePair
{
	uint32_t	of[2];			/* items of the sides */
} TruePair;

typedef struct LabelledSet
{
	char	   *name;
	SetSide		sides[2];
	TruePair   *pairs;
	uint32_t	n_pairs;
	double		missing;		/* share of the true pairs that have no label */
} LabelledSet;

typedef struct LabelledSets
{
	LabelledSet *sets;
	int			n;
} LabelledSets;

typedef enum ViewKeys
{
	KEYS_AS_THEY_ARE, KEYS_GTIN, KEYS_SKU
} ViewKeys;

/* A way to see a set. */
typedef struct ViewKind
{
	const char *name;
	unsigned	dropped;		/* bits of the fields that are left out */
	bool		swapped;		/* the existing side comes in */
	float		removed;		/* share of the existing items with a match that are taken out */
	ViewKeys	keys;			/* made up */
	unsigned	needed;			/* bits of the fields that the set must have */
	float		weight;			/* in fitting, beside the set's other views */
} ViewKind;

extern const ViewKind view_kinds[];
extern const int n_view_kinds;

/* A set seen in one way, indexed. */
typedef struct View
{
	const LabelledSet *set;
	const ViewKind *kind;
	uint32_t	n_rows;
	uint32_t	n_items;
	MatchFields *rows;
	MatchFields *items;
	int		   *folds;			/* of the rows */
	uint32_t   *true_first;		/* n_rows + 1: where a row's items are in true_items */
	uint32_t   *true_items;
	uint32_t	n_pairs;
	uint32_t	n_matched;		/* rows that have a true match */
	char	   *texts;			/* of made up keys */
	MatchIndex	index;
	MatchScratch *scratch;
	MatchItem	item;
} View;

/* set.c */
extern void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
extern void *need(void *data);
extern bool sets_read(const char *list, const char *folder, LabelledSets *sets);
extern const LabelledSet *sets_find(const LabelledSets *sets, const char *name);

/* view.c */
extern uint64_t fit_hash(MatchText text, uint64_t salt);
extern double fit_chance(MatchText text, uint64_t salt);
extern const ViewKind *view_kind(const char *name);
extern bool view_applies(const LabelledSet *set, const ViewKind *kind);
extern void view_open(View *view, const LabelledSet *set, const ViewKind *kind);
extern void view_close(View *view);
extern void view_index(View *view);
extern bool view_is_true(const View *view, uint32_t row, uint32_t item);
extern double view_offset(const View *view);
extern int	view_candidates(View *view, uint32_t row, uint32_t candidates[MAX_CANDIDATES]);

/* keys.c */
extern void view_make_keys(View *view);

/* train.c */
typedef struct Training Training;

extern Training *training_gather(const LabelledSets *sets);
extern void training_free(Training *training);
extern void training_fit(Training *training, const LabelledSet *left_out, int fold, bool tell);
extern float three_decimals(double value);
extern void training_dump(const LabelledSet *set, FILE *file);

/* curve.c */
extern void fit_curve(const LabelledSets *sets, const LabelledSet *left_out, int fold);

/* measure.c */
extern void measure_set(const LabelledSet *set, const char *prefix);
extern void measure_views(const LabelledSet *set);
extern void measure_folds(const LabelledSet *set, Training *training);
extern MatchRow *view_match(View *view, MatchShares *shares);

/* errors.c */
extern void errors_list(const LabelledSet *set, const ViewKind *kind, float least);

/* stats.c */
typedef struct Judged
{
	float		confidence;
	bool		right;
} Judged;

extern double clopper_pearson_lower(uint32_t right, uint32_t n, double error);
extern double calibration_error_width(const Judged *judged, uint32_t n);
extern double calibration_error_mass(Judged *judged, uint32_t n);
extern double brier_score(const Judged *judged, uint32_t n);

/* model_file.c */
extern bool model_write(const char *path, const char *const names[], const double *numbers, int n, char *error, size_t room);

#endif
