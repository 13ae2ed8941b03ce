/*
 * main.c
 *	  Fits the matcher's model to labelled products, and measures it.
 *
 * test/fit/run builds and starts it.  The folder of the data, the list of the sets and the model's file come in the environment:
 * MATCHING_DATA, FIT_SETS and FIT_MODEL.
 */
#include "fit.h"

#include <stdlib.h>
#include <string.h>

#define NO_DATA 3				/* exit status */

static const char usage[] =
	"usage: test/fit/run COMMAND\n"
	"  fit                          fits the model to all sets, writes src/match/model.def, and measures it\n"
	"  measure                      measures the present model\n"
	"  views                        the same in short, for each view of each set\n"
	"  loso                         for each set: fits to the others, measures on it\n"
	"  cv                           five folds: fits to four, measures on the fifth\n"
	"  errors SET [MIN_P [VIEW]]    lists wrong claims of at least MIN_P, by default .5, and missed true pairs\n"
	"  dump SET FILE                writes the candidates' features, tabs between; FILE - is standard output\n"
	"The sets are those of test/fit/sets.tsv whose files are in MATCHING_DATA, by default ../shared/data/matching.\n";

static const char *
setting(const char *name)
{
	const char *value = getenv(name);

	if (value == NULL || value[0] == '\0')
		fail("%s is not set; start test/fit/run", name);
	return value;
}

static void
measure_all(const LabelledSets *sets, const char *prefix)
{
	char		name[256];
	int			i;

	for (i = 0; i < sets->n; i++)
	{
		snprintf(name, sizeof(name), "%s%s", prefix, sets->sets[i].name);
		measure_set(&sets->sets[i], name);
	}
}

static void
write_model(void)
{
	const char *path = setting("FIT_MODEL");
	const char *names[N_FEATURES + 3];
	double		numbers[N_FEATURES + 3];
	char		error[512];
	int			i;

	for (i = 0; i < N_FEATURES; i++)
	{
		names[i] = score_feature_name((Feature) i);
		numbers[i] = score_weight((Feature) i);
	}
	names[i] = "BIAS";
	numbers[i++] = score_bias();
	names[i] = "CURVE_SLOPE";
	numbers[i++] = score_curve_slope();
	names[i] = "CURVE_OFFSET";
	numbers[i++] = score_curve_offset();
	if (!model_write(path, names, numbers, i, error, sizeof(error)))
		fail("%s", error);
	printf("fit.written\t%s\n", path);
}

static void
fit_all(const LabelledSets *sets)
{
	Training   *training = training_gather(sets);

	training_fit(training, NULL, NO_FOLD, true);
	training_free(training);
	write_model();
	measure_all(sets, "");
}

/* Fits without each set in turn. */
static void
leave_out(const LabelledSets *sets)
{
	Training   *training;
	char		name[256];
	int			i;

	if (sets->n < 2)
		fail("leaving one set out needs two, and there is one");
	training = training_gather(sets);
	for (i = 0; i < sets->n; i++)
	{
		training_fit(training, &sets->sets[i], NO_FOLD, false);
		snprintf(name, sizeof(name), "loso.%s", sets->sets[i].name);
		measure_set(&sets->sets[i], name);
	}
	training_free(training);
}

static void
cross_validate(const LabelledSets *sets)
{
	Training   *training = training_gather(sets);
	int			i;

	for (i = 0; i < sets->n; i++)
		measure_folds(&sets->sets[i], training);
	training_free(training);
}

static void
dump(const LabelledSets *sets, const char *name, const char *path)
{
	FILE	   *file = strcmp(path, "-") == 0 ? stdout : fopen(path, "w");

	if (file == NULL)
		fail("%s cannot be written", path);
	training_dump(sets_find(sets, name), file);
	if (fflush(file) != 0 || ferror(file))
		fail("%s cannot be written", path);
}

static void
list_views(const LabelledSets *sets)
{
	int			i;

	puts("set\tview\tf1_50\tprecision_95\tcoverage_95\twrong_95\tcalibration_error_10\tshift\tshift by labels");
	for (i = 0; i < sets->n; i++)
		measure_views(&sets->sets[i]);
}

static void
list_errors(const LabelledSets *sets, int argc, char **argv)
{
	char	   *end = NULL;
	float		least = argc > 3 ? strtof(argv[3], &end) : 0.5f;

	if (end != NULL && (*end != '\0' || !(least >= 0 && least <= 1)))
		fail("\"%s\" is no confidence from 0 to 1", argv[3]);
	errors_list(sets_find(sets, argv[2]), view_kind(argc > 4 ? argv[4] : "whole"), least);
}

int
main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";
	LabelledSets sets;
	bool		plain = argc == 2;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!(plain && (!strcmp(command, "fit") || !strcmp(command, "measure") || !strcmp(command, "views") || !strcmp(command, "loso") ||
					!strcmp(command, "cv"))) &&
		!(argc == 4 && !strcmp(command, "dump")) && !(argc >= 3 && argc <= 5 && !strcmp(command, "errors")))
	{
		fputs(usage, stderr);
		return 2;
	}
	if (!sets_read(setting("FIT_SETS"), setting("MATCHING_DATA"), &sets))
	{
		fprintf(stderr, "fit: nothing done: no labelled set is in %s; MATCHING_DATA names another folder\n", setting("MATCHING_DATA"));
		return NO_DATA;
	}
	if (!strcmp(command, "fit"))
		fit_all(&sets);
	else if (!strcmp(command, "measure"))
		measure_all(&sets, "");
	else if (!strcmp(command, "views"))
		list_views(&sets);
	else if (!strcmp(command, "loso"))
		leave_out(&sets);
	else if (!strcmp(command, "cv"))
		cross_validate(&sets);
	else if (!strcmp(command, "dump"))
		dump(&sets, argv[2], argv[3]);
	else
		list_errors(&sets, argc, argv);
	return 0;
}
