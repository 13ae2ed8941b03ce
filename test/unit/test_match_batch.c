/*
 * test_match_batch.c
 *	  The matcher by the batch: threads, and the aliases of brands.  Prints TAP.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "match/batch.h"

#define SEED 42
#define N_ITEMS 5000

static int	tests;
static int	failures;

static void
ok(bool good, const char *name)
{
	tests++;
	failures += !good;
	printf("%sok %d - %s\n", good ? "" : "not ", tests, name);
}

static MatchText
text_of(const char *s)
{
	return (MatchText) {s, s == NULL ? 0 : strlen(s)};
}

/* Threads ------------------------------------------------------------------------------------------------------------- */

typedef struct Count
{
	unsigned char times[10000];
	int			own[PARALLEL_MAX_THREADS];
	int			signals_open;	/* in a helper */
} Count;

static void
count_items(void *arg, int thread, size_t first, size_t end)
{
	Count	   *count = arg;
	sigset_t	blocked;

	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	if (thread > 0 && !sigismember(&blocked, SIGTERM))
		count->signals_open = 1;
	for (; first < end; first++)
	{
		count->times[first]++;
		count->own[thread]++;
	}
}

static void
test_pool(void)
{
	static const size_t sizes[] = {0, 1, 15, 16, 17, 1000, 10000};
	Count	   *count = malloc(sizeof(Count));
	ParallelPool *pool;
	sigset_t	blocked;
	bool		once = true;
	bool		closed = true;
	int			threads;
	size_t		i;
	size_t		k;

	for (threads = 1; threads <= PARALLEL_MAX_THREADS + 4; threads += 3)
	{
		pool = parallel_create(threads);
		for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		{
			size_t		sum = 0;

			memset(count, 0, sizeof(Count));
			parallel_start(pool, count_items, count, sizes[i]);
			parallel_wait(pool);
			for (k = 0; k < sizeof(count->times); k++)
				once = once && count->times[k] == (k < sizes[i]);
			for (k = 0; k < PARALLEL_MAX_THREADS; k++)
				sum += (size_t) count->own[k];
			once = once && sum == sizes[i];
			closed = closed && !count->signals_open;
		}
		parallel_free(pool);
	}
	ok(once, "each item is done once, by any number of threads");
	ok(closed, "helpers take no signals");
	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	ok(!sigismember(&blocked, SIGTERM), "their owner does");
	for (i = 0; i < 50; i++)
	{
		pool = parallel_create(4);
		parallel_start(pool, count_items, count, sizeof(count->times));
		parallel_free(pool);
	}
	ok(true, "a pool ends in the middle of its work");
	free(count);
}

/* Batches ------------------------------------------------------------------------------------------------------------- */

/* An item of its own text, in a buffer of the caller. */
static MatchFields
make_fields(int i, bool existing, char *buffer, size_t room)
{
	MatchFields fields;

	memset(&fields, 0, sizeof(fields));
	snprintf(buffer, room, "%d%cBrand%d%cQX-%d%cBrand%d %s %s QX%s%d", i, 0, i % 40, 0, 100000 + i, 0, i % 40,
			 i % 3 == 0 ? "steel" : "oak", i % 7 == 0 ? "lamp" : "desk", existing ? "-" : " ", 100000 + i);
	fields.id = text_of(buffer);
	fields.brand = text_of(fields.id.data + fields.id.length + 1);
	fields.mpn = i % 2 == 0 ? text_of(fields.brand.data + fields.brand.length + 1) : (MatchText) {NULL, 0};
	fields.title = text_of(fields.brand.data + fields.brand.length + 1 + strlen(fields.brand.data + fields.brand.length + 1) + 1);
	fields.price = i % 90;
	return fields;
}

static void
build_by(int threads, MatchIndex *index)
{
	IndexBuilder *builder = mindex_begin(SEED, 1, NULL);
	BatchBuild *build = batch_build_create(builder, threads);
	MatchBatch *batches[2] = {batch_create(0), batch_create(0)};
	char		buffer[200];
	int			turn = 0;
	int			i;

	for (i = 0; i < N_ITEMS; i++)
	{
		MatchFields fields = make_fields(i, true, buffer, sizeof(buffer));

		if (!batch_add(batches[turn], &fields, i))
			abort();
		if (batches[turn]->n == BUILD_BATCH || i == N_ITEMS - 1)
		{
			if (!batch_build_add(build, batches[turn]))
				abort();
			turn = 1 - turn;
			batch_clear(batches[turn]);
		}
	}
	if (!batch_build_finish(build, index))
		abort();
	batch_build_free(build);
	batch_free(batches[0]);
	batch_free(batches[1]);
}

/* What is found of all items, four places for each. */
static MatchFound *
search_by(const MatchIndex *index, int threads)
{
	BatchSearch *search = batch_search_create(index, threads);
	MatchBatch *batch = batch_create(4);
	MatchFound *all = calloc(N_ITEMS, 4 * sizeof(MatchFound));
	char		buffer[200];
	int			done = 0;
	int			i;
	int			k;

	for (i = 0; i < N_ITEMS; i++)
	{
		MatchFields fields = make_fields(i, false, buffer, sizeof(buffer));

		if (!batch_add(batch, &fields, i))
			abort();
		if (batch->n < MATCH_BATCH && i < N_ITEMS - 1)
			continue;
		batch_search_start(search, batch);
		batch_search_wait(search);
		for (k = 0; k < batch->n; k++, done++)
			memcpy(all + 4 * done, batch->found + 4 * k, (size_t) batch->n_found[k] * sizeof(MatchFound));
		batch_clear(batch);
	}
	batch_search_free(search);
	batch_free(batch);
	return all;
}

static bool
same_found(const MatchFound *a, const MatchFound *b)
{
	int			i;

	for (i = 0; i < 4 * N_ITEMS; i++)
		if (a[i].item != b[i].item || a[i].score != b[i].score || a[i].method != b[i].method ||
			memcmp(a[i].added, b[i].added, sizeof(a[i].added)) != 0)
			return false;
	return true;
}

static void
test_batches(void)
{
	IndexBuilder *builder = mindex_begin(SEED, 1, NULL);
	MatchIndex	plain;
	MatchIndex	index;
	MatchFound *found[3];
	char		buffer[200];
	int			right = 0;
	int			i;

	for (i = 0; i < N_ITEMS; i++)
	{
		MatchFields fields = make_fields(i, true, buffer, sizeof(buffer));

		if (!mindex_add(builder, &fields))
			abort();
	}
	if (!mindex_finish(builder, &plain))
		abort();
	build_by(4, &index);
	ok(index.n_items == plain.n_items && index.n_terms == plain.n_terms && index.n_ids == plain.n_ids &&
	   index.n_forward == plain.n_forward && memcmp(index.ids, plain.ids, plain.n_ids) == 0 &&
	   memcmp(index.forward, plain.forward, plain.n_forward * sizeof(uint32_t)) == 0 &&
	   memcmp(index.items, plain.items, plain.n_items * sizeof(IndexItem)) == 0 &&
	   memcmp(index.postings, plain.postings, plain.n_postings * sizeof(uint32_t)) == 0,
	   "an index that threads build is the one that is built item by item");
	found[0] = search_by(&index, 1);
	found[1] = search_by(&index, 2);
	found[2] = search_by(&plain, 9);
	ok(same_found(found[0], found[1]) && same_found(found[0], found[2]), "any number of threads find the same");
	for (i = 0; i < N_ITEMS; i++)
		right += found[0][4 * i].item == (uint32_t) i;
	ok(right == N_ITEMS, "and find what there is");
	for (i = 0; i < 3; i++)
		free(found[i]);
	mindex_free(&plain);
	mindex_free(&index);
}

static void
test_long_texts(void)
{
	MatchBatch *batch = batch_create(1);
	size_t		size = 10 * 1024 * 1024;
	char	   *text = malloc(size);
	MatchFields fields;

	memset(text, 'x', size);
	memset(&fields, 0, sizeof(fields));
	fields.id = fields.title = (MatchText) {text, size};
	ok(batch_add(batch, &fields, 1) && batch->fields[0].id.length == size && batch->fields[0].title.length == NORM_INPUT_BYTES &&
	   batch->fields[0].brand.data == NULL, "a long title is copied as far as it is looked at, an id wholly");
	fields.id = (MatchText) {"", 0};
	ok(batch_add(batch, &fields, 1) && batch->fields[1].id.data != NULL && batch->fields[1].id.length == 0, "an empty text is not a missing one");
	batch_clear(batch);
	ok(batch->n == 0, "a batch is cleared");
	batch_free(batch);
	free(text);
}

/* Aliases ------------------------------------------------------------------------------------------------------------- */

static bool
resolves(const BrandAliases *aliases, const char *name, const char *brand)
{
	char		squeezed[NORM_TOKEN_BYTES];
	char		wanted[NORM_TOKEN_BYTES];
	size_t		n = brand_squeeze(name, strlen(name), squeezed, sizeof(squeezed));
	size_t		k = brand_squeeze(brand, strlen(brand), wanted, sizeof(wanted));

	n = brand_resolve(aliases, squeezed, n);
	return n == k && memcmp(squeezed, wanted, n) == 0;
}

static void
test_aliases(void)
{
	static const char *const names[][2] = {
		{"Beta Tools, Inc.", "Gamma"}, {"ALPHA", "beta tools"}, {"Gamma GmbH", "Delta"}, {"one", "two"}, {"two", "three"}, {"three", "one"},
		{"entry", "one"}, {"self", "self"}, {"twice", "B"}, {"Twice", "A"}, {"--", "nothing"},
	};
	const size_t n_names = sizeof(names) / sizeof(names[0]);
	BrandPair  *pairs = calloc(BRAND_MAX_ALIASES, sizeof(BrandPair));
	BrandAliases aliases;
	BrandAliases again;
	size_t		n = 0;
	size_t		i;
	bool		all = true;
	char		name[32];
	char		next[32];

	for (i = 0; i < n_names; i++)
		n += brand_pair(&pairs[n], names[i][0], strlen(names[i][0]), names[i][1], strlen(names[i][1]));
	ok(n == n_names - 1, "a name without letters is no alias");
	ok(brand_aliases_build(&aliases, pairs, n), "aliases are built");
	ok(resolves(&aliases, "alpha", "delta") && resolves(&aliases, "Beta Tools", "delta") && resolves(&aliases, "gamma", "Delta"),
	   "a chain leads to its end");
	ok(resolves(&aliases, "two", "one") && resolves(&aliases, "three", "one") && resolves(&aliases, "one", "one") &&
	   resolves(&aliases, "entry", "one"), "a circle has one name, also for who points into it");
	ok(resolves(&aliases, "self", "self") && resolves(&aliases, "other", "other"), "an alias of itself and what is none stay");
	ok(resolves(&aliases, "twice", "a"), "of two brands of an alias the first is taken");
	for (n = 0, i = n_names; i-- > 0;)
		n += brand_pair(&pairs[n], names[i][0], strlen(names[i][0]), names[i][1], strlen(names[i][1]));
	ok(brand_aliases_build(&again, pairs, n) && brand_aliases_hash(&again) == brand_aliases_hash(&aliases), "their order does not matter");
	brand_aliases_free(&aliases);
	brand_aliases_free(&again);

	for (i = 0; i < BRAND_MAX_ALIASES; i++)
	{
		snprintf(name, sizeof(name), "link %zu", i);
		snprintf(next, sizeof(next), "link %zu", (i + 1) % BRAND_MAX_ALIASES);
		brand_pair(&pairs[i], name, strlen(name), next, strlen(next));
	}
	ok(brand_aliases_build(&aliases, pairs, BRAND_MAX_ALIASES), "a circle of all is built");
	for (i = 0; i < BRAND_MAX_ALIASES; i++)
	{
		snprintf(name, sizeof(name), "link %zu", i);
		all = all && resolves(&aliases, name, "link 0");
	}
	ok(all, "and has one name");
	brand_aliases_free(&aliases);
	ok(brand_aliases_build(&aliases, pairs, 0) && resolves(&aliases, "hp", "hp"), "no alias at all");
	brand_aliases_free(&aliases);
	ok(brand_aliases_build_shipped(&aliases), "those that are shipped");
	ok(resolves(&aliases, "Hewlett-Packard Company", "HP") && resolves(&aliases, "hp inc.", "HP") &&
	   resolves(&aliases, "LG Electronics", "lg") && resolves(&aliases, "Black & Decker", "BLACK AND DECKER") &&
	   resolves(&aliases, "Western Digital Technologies", "WD") && resolves(&aliases, "TP-Link Technologies Co., Ltd", "tp link"), "serve");
	brand_aliases_free(&aliases);
	free(pairs);
}

int
main(void)
{
	test_pool();
	test_batches();
	test_long_texts();
	test_aliases();
	printf("1..%d\n", tests);
	return failures == 0 ? 0 : 1;
}
