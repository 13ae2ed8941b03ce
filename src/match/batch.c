/*
 * batch.c
 *	  Items by the batch: searched for, or prepared for an index, by several threads.
 *
 * Who fills batches uses two in turn: while the threads are at one, the next is read.  A batch holds copies, in memory of its own, so the
 * threads never touch what the reader may free, not even when it leaves by an error.
 */
#include "match/batch.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES (256 * 1024)

/* Texts of a batch; they stay where they are until the batch is cleared. */
struct TextBlock
{
	TextBlock  *older;
	size_t		used;
	size_t		room;
	char		data[];
};

typedef struct SearchThread
{
	MatchScratch *scratch;
	MatchItem	item;
} SearchThread;

struct BatchSearch
{
	const MatchIndex *index;
	ParallelPool *pool;
	MatchBatch *batch;			/* that is being searched for */
	SearchThread *threads[PARALLEL_MAX_THREADS];
};

struct BatchBuild
{
	IndexBuilder *builder;
	ParallelPool *pool;
	MatchBatch *batch;			/* whose items are being prepared */
	int			turn;			/* which of the two arrays they go to */
	MatchItem  *items[2];
};

/* A batch without items.  Returns NULL when memory is out. */
MatchBatch *
batch_create(int want)
{
	MatchBatch *batch = calloc(1, sizeof(MatchBatch));

	if (batch == NULL)
		return NULL;
	batch->want = want;
	batch->found = want == 0 ? NULL : malloc(MATCH_BATCH * (size_t) want * sizeof(MatchFound));
	if (want > 0 && batch->found == NULL)
	{
		free(batch);
		return NULL;
	}
	return batch;
}

/* Takes all items out of a batch; one block of text stays for those to come. */
void
batch_clear(MatchBatch *batch)
{
	while (batch->texts != NULL && batch->texts->older != NULL)
	{
		TextBlock  *older = batch->texts->older;

		free(batch->texts);
		batch->texts = older;
	}
	if (batch->texts != NULL)
		batch->texts->used = 0;
	batch->n = 0;
}

/* Copies a text, of which no more than this is needed.  Returns false when memory is out. */
static bool
copy_text(MatchBatch *batch, MatchText *copy, const MatchText *text, size_t most)
{
	TextBlock  *block = batch->texts;
	size_t		length = text->length < most ? text->length : most;

	*copy = (MatchText) {NULL, 0};
	if (text->data == NULL)
		return true;
	if (block == NULL || block->room - block->used < length)
	{
		size_t		room = length > BLOCK_BYTES ? length : BLOCK_BYTES;

		block = malloc(sizeof(TextBlock) + room);
		if (block == NULL)
			return false;
		block->older = batch->texts;
		block->used = 0;
		block->room = room;
		batch->texts = block;
	}
	copy->data = block->data + block->used;
	copy->length = length;
	memcpy(block->data + block->used, text->data, length);
	block->used += length;
	return true;
}

/* Adds a copy of an item to a batch that has room.  Returns false when memory is out. */
bool
batch_add(MatchBatch *batch, const MatchFields *fields, int64_t group)
{
	MatchFields *copy = &batch->fields[batch->n];

	batch->groups[batch->n] = group;
	copy->price = fields->price;
	if (!copy_text(batch, &copy->id, &fields->id, SIZE_MAX) ||
		!copy_text(batch, &copy->sku, &fields->sku, NORM_INPUT_BYTES) ||
		!copy_text(batch, &copy->gtin, &fields->gtin, NORM_INPUT_BYTES) ||
		!copy_text(batch, &copy->brand, &fields->brand, NORM_INPUT_BYTES) ||
		!copy_text(batch, &copy->mpn, &fields->mpn, NORM_INPUT_BYTES) ||
		!copy_text(batch, &copy->title, &fields->title, NORM_INPUT_BYTES) ||
		!copy_text(batch, &copy->description, &fields->description, NORM_INPUT_BYTES))
		return false;
	batch->n++;
	return true;
}

void
batch_free(MatchBatch *batch)
{
	if (batch == NULL)
		return;
	batch_clear(batch);
	free(batch->texts);
	free(batch->found);
	free(batch);
}

/* A search in the index by so many threads, or by fewer where there are no more.  Returns NULL when memory is out. */
BatchSearch *
batch_search_create(const MatchIndex *index, int threads)
{
	BatchSearch *search = calloc(1, sizeof(BatchSearch));
	int			i;

	if (search == NULL)
		return NULL;
	search->index = index;
	search->pool = parallel_create(threads);
	for (i = 0; search->pool != NULL && i < parallel_threads(search->pool); i++)
	{
		search->threads[i] = calloc(1, sizeof(SearchThread));
		if (search->threads[i] != NULL)
			search->threads[i]->scratch = scratch_create(index);
		if (search->threads[i] == NULL || search->threads[i]->scratch == NULL)
			break;
	}
	if (search->pool == NULL || i < parallel_threads(search->pool))
	{
		batch_search_free(search);
		return NULL;
	}
	return search;
}

static void
search_some(void *arg, int thread, size_t first, size_t end)
{
	BatchSearch *search = arg;
	SearchThread *own = search->threads[thread];
	MatchBatch *batch = search->batch;
	size_t		i;

	for (i = first; i < end; i++)
	{
		item_prepare(&own->item, &batch->fields[i], search->index->seed, &search->index->aliases, false);
		batch->n_found[i] = match_search(search->index, own->scratch, &own->item, batch->found + i * (size_t) batch->want, batch->want);
	}
}

/* Begins to search for the items of a batch; batch_search_wait() must follow before the next. */
void
batch_search_start(BatchSearch *search, MatchBatch *batch)
{
	search->batch = batch;
	parallel_start(search->pool, search_some, search, (size_t) batch->n);
}

void
batch_search_wait(BatchSearch *search)
{
	parallel_wait(search->pool);
}

/* Ends the threads and frees what they had. */
void
batch_search_free(BatchSearch *search)
{
	int			i;

	if (search == NULL)
		return;
	parallel_free(search->pool);
	for (i = 0; i < PARALLEL_MAX_THREADS && search->threads[i] != NULL; i++)
	{
		scratch_free(search->threads[i]->scratch);
		free(search->threads[i]);
	}
	free(search);
}

/* Building by so many threads.  The builder stays the caller's.  Returns NULL when memory is out. */
BatchBuild *
batch_build_create(IndexBuilder *builder, int threads)
{
	BatchBuild *build = calloc(1, sizeof(BatchBuild));

	if (build == NULL)
		return NULL;
	build->builder = builder;
	build->pool = parallel_create(threads);
	build->items[0] = malloc(BUILD_BATCH * sizeof(MatchItem));
	build->items[1] = malloc(BUILD_BATCH * sizeof(MatchItem));
	if (build->pool == NULL || build->items[0] == NULL || build->items[1] == NULL)
	{
		batch_build_free(build);
		return NULL;
	}
	return build;
}

static void
prepare_some(void *arg, int thread, size_t first, size_t end)
{
	BatchBuild *build = arg;
	size_t		i;

	(void) thread;
	for (i = first; i < end; i++)
		mindex_prepare(build->builder, &build->items[build->turn][i], &build->batch->fields[i]);
}

/*
 * Adds the items of a batch, of no more than BUILD_BATCH: its items begin to be prepared, and those of the batch before it are put into
 * the index meanwhile.  So the batch is in use until the next call.  Returns false when memory is out.
 */
bool
batch_build_add(BatchBuild *build, MatchBatch *batch)
{
	const MatchBatch *ready = build->batch;
	const MatchItem *items = build->items[build->turn];
	int			i;

	parallel_wait(build->pool);
	build->turn = 1 - build->turn;
	build->batch = batch;
	if (batch != NULL)
		parallel_start(build->pool, prepare_some, build, (size_t) batch->n);
	for (i = 0; ready != NULL && i < ready->n; i++)
		if (!mindex_add_item(build->builder, &items[i], &ready->fields[i].id))
			return false;
	return true;
}

/* Puts what is under way into the index and completes it, which frees the builder.  Returns false when memory is out. */
bool
batch_build_finish(BatchBuild *build, MatchIndex *index)
{
	return batch_build_add(build, NULL) && mindex_finish(build->builder, index);
}

void
batch_build_free(BatchBuild *build)
{
	if (build == NULL)
		return;
	parallel_free(build->pool);
	free(build->items[0]);
	free(build->items[1]);
	free(build);
}
