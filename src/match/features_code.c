/*
 * features_code.c
 *	  What two items' model numbers say: shared, nearly the same, or other ones.
 */
#include "match/pair.h"

#include <string.h>

/* Compares a code of the query that the other side lacks with those that the query lacks. */
static void
compare_variants(const Pair *pair, const QueryToken *q, float idf, float *prefix, float *variant)
{
	int			j;

	for (j = 0; j < pair->n; j++)
	{
		const IndexTerm *term = pair->terms[j];

		if (term->kind != TOKEN_CODE || pair->span[j] == SPAN_STEM || pair->covered[j] || term->detail.stem != q->stem)
			continue;
		if (suffixes_agree(q->suffix, term->suffix))
			*prefix = larger(*prefix, idf);
		else
			*variant = larger(*variant, idf);
	}
}

/*
 * Rarity of a code that has three letters before it on one side or other ones on both: hon10707rnn, 10707rnn.  An entry of SPAN_STEM
 * whose stem is not its code's is such a tail.
 */
static float
compare_tails(const Pair *pair)
{
	const MatchQuery *query = pair->query;
	uint32_t	stem = 0;
	float		tail = 0;
	int			i;
	int			j;

	for (i = 0; i < query->n; i++)
	{
		const QueryToken *q = &query->tokens[i];

		if (q->kind != TOKEN_CODE || q->term == UINT32_MAX)
			continue;
		if (q->span != SPAN_STEM)
			stem = q->stem;
		for (j = 1; j < pair->n; j++)
		{
			bool		own_tail = q->span == SPAN_STEM && q->stem != stem;
			bool		tail_of_other = pair->span[j] == SPAN_STEM && pair->terms[j]->detail.stem != pair->terms[j - 1]->detail.stem;

			if ((uint32_t) pair->terms[j]->hash == q->hash && (own_tail || tail_of_other) &&
				(own_tail || q->span != SPAN_STEM) && (tail_of_other || pair->span[j] != SPAN_STEM))
				tail = larger(tail, smaller(1, q->idf / query->max_idf));
		}
	}
	return tail;
}

/* Rarity of the rarest codes that only one side has: [0] with letters, [1] digits only. */
typedef struct OtherCodes
{
	float		query[2];
	float		existing[2];
} OtherCodes;

static void
find_other_codes(const Pair *pair, OtherCodes *other)
{
	const MatchQuery *query = pair->query;
	int			i;

	memset(other, 0, sizeof(OtherCodes));
	for (i = 0; i < query->n; i++)
	{
		const QueryToken *q = &query->tokens[i];
		float	   *rarity = &other->query[q->unit == CODE_DIGITS];

		if (q->kind == TOKEN_CODE && q->span == 1 && !q->extra && !pair->query_covered[i])
			*rarity = larger(*rarity, smaller(1, q->idf / query->max_idf));
	}
	for (i = 0; i < pair->n; i++)
	{
		float	   *rarity = &other->existing[pair->terms[i]->unit == CODE_DIGITS];

		if (pair->terms[i]->kind == TOKEN_CODE && pair->span[i] == 1 && !pair->extra[i] && !pair->covered[i])
			*rarity = larger(*rarity, smaller(1, pair->idf[i] / query->max_idf));
	}
}

/* Both sides have model numbers, and none in common.  A number beside a code with letters may be another kind of number. */
static void
compare_other_codes(const OtherCodes *other, float *f)
{
	float		same = larger(smaller(other->query[0], other->existing[0]), smaller(other->query[1], other->existing[1]));
	float		mixed = larger(smaller(other->query[0], other->existing[1]), smaller(other->query[1], other->existing[0]));

	if (same > 0)
		f[F_CODE_CONFLICT] = same;
	else
		f[F_CODE_UNLIKE] = mixed;
}

/* Whether what is shared is the model on one side, and on the other what something is for. */
static bool
is_made_for(const Pair *pair)
{
	const MatchQuery *query = pair->query;
	bool		made_for = false;
	int			i;
	int			j;

	for (i = 0; i < query->n; i++)
	{
		const QueryToken *q = &query->tokens[i];

		if (q->kind != TOKEN_CODE || q->span == SPAN_STEM || q->extra || !pair->query_covered[i])
			continue;
		for (j = 0; j < pair->n; j++)
		{
			if ((uint32_t) pair->terms[j]->hash != q->hash || pair->extra[j] || pair->span[j] == SPAN_STEM)
				continue;
			if (pair->after_for[j] == q->after_for)
				return false;
			made_for = true;
		}
	}
	return made_for;
}

/* Model numbers and the like: shared, different, or different in their last letters only. */
void
compare_codes(const Pair *pair, float *f)
{
	const MatchQuery *query = pair->query;
	OtherCodes	other;
	float		query_other;
	float		existing_other;
	float		prefix = 0;
	float		variant = 0;
	int			i;

	for (i = 0; i < query->n; i++)
	{
		const QueryToken *q = &query->tokens[i];
		float		idf = smaller(1, q->idf / query->max_idf);

		if (q->kind != TOKEN_CODE || q->span == SPAN_STEM)
			continue;
		if (!pair->query_covered[i])
		{
			compare_variants(pair, q, idf, &prefix, &variant);
			continue;
		}
		f[F_CODE_SHARED] = larger(f[F_CODE_SHARED], idf);
		if (q->df > 0)
			f[F_CODE_UNIQUE] = larger(f[F_CODE_UNIQUE], 1.0f / (float) q->df);
	}
	f[F_MADE_FOR] = is_made_for(pair) ? 1 : 0;
	find_other_codes(pair, &other);
	query_other = larger(other.query[0], other.query[1]);
	existing_other = larger(other.existing[0], other.existing[1]);
	if (f[F_CODE_SHARED] > 0)
		f[F_CODE_EXTRA] = smaller(query_other, existing_other);
	else if (prefix > 0)
		f[F_CODE_PREFIX] = prefix;
	else if ((f[F_CODE_TAIL] = compare_tails(pair)) > 0)
		return;
	else if (variant > 0)
		f[F_CODE_VARIANT] = variant;
	else
		compare_other_codes(&other, f);
	f[F_CODE_MISSING] = (query_other > 0) != (existing_other > 0) && f[F_CODE_SHARED] == 0 && prefix == 0 ? 1 : 0;
}
