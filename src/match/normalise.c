/*
 * normalise.c
 *	  Splits folded product text into tokens.
 *
 * A run of letters and digits is a token; quantity.c makes one of a number and its unit, code.c says how model numbers are compared.  Runs
 * that a hyphen joins, and a short word before a number, also give the joined code as one further token: dsc-w150 gives dsc, w150 and,
 * spanning both, dscw150.  So it meets the code written in one word, and the parts that it spans then count as found.
 */
#include "match/tokens.h"

#include <string.h>

#define MAX_RUNS 96

/* Runs that hyphens join and that are taken for one code: mb13-red-see-v2. */
#define LONGEST_CHAIN 5

/* Whether what stands between two runs sets them apart: " - ", a bar, a bracket. */
static bool
is_apart(const char *s, size_t n)
{
	size_t		i;

	for (i = 0; i < n; i++)
		if (s[i] == '|' || s[i] == '(' || s[i] == ')' || s[i] == ';' || (s[i] == '-' && n > 1))
			return true;
	return false;
}

/* Cuts folded text into runs.  A comma before three digits is dropped in place (1,000), which is why the text is writable. */
static int
find_runs(char *s, size_t n, Run runs[MAX_RUNS])
{
	int			count = 0;
	size_t		end_before = 0;
	size_t		i = 0;

	while (i < n && count < MAX_RUNS)
	{
		Run		   *run = &runs[count];
		size_t		out;
		size_t		letters = 0;
		size_t		digits = 0;

		if (!is_letter(s[i]) && !is_digit(s[i]))
		{
			i++;
			continue;
		}
		memset(run, 0, sizeof(Run));
		run->start = (uint16_t) i;
		run->joint = count > 0 && i == end_before + 1 ? s[end_before] : ' ';
		run->apart = is_apart(s + end_before, i - end_before);
		for (out = i; i < n; i++)
		{
			bool		number = letters == 0 && i + 1 < n && i > run->start && is_digit(s[i - 1]) && is_digit(s[i + 1]);

			if (is_digit(s[i]))
				digits++;
			else if (is_letter(s[i]))
				letters++;
			else if (s[i] == '.' && number && !run->point)
				run->point = true;
			else if (s[i] == ',' && number && i + 3 < n && is_digit(s[i + 2]) && is_digit(s[i + 3]))
				continue;
			else
				break;
			s[out++] = s[i];
		}
		run->length = (uint16_t) (out - run->start);
		run->letters = letters > 255 ? 255 : (uint8_t) letters;
		run->digits = digits > 255 ? 255 : (uint8_t) digits;
		run->inches = letters == 0 && i < n && s[i] == '"';
		end_before = i;
		count++;
	}
	return count;
}

/* Makes room for a token with a copy of its text, cut to NORM_TOKEN_BYTES.  Returns NULL when the list is full. */
Token *
token_new(TokenList *list, const char *text, size_t length)
{
	Token	   *token;
	size_t		kept = length > NORM_TOKEN_BYTES ? NORM_TOKEN_BYTES : length;

	if (list->n == NORM_TOKENS)
		return NULL;
	token = &list->tokens[list->n++];
	memset(token, 0, sizeof(Token));
	token->hash = text_hash(list->seed, text, length);
	token->span = 1;
	token->after_for = list->after_for;
	token->start = (uint16_t) list->text_used;
	token->length = (uint8_t) kept;
	memcpy(list->text + list->text_used, text, kept);
	list->text_used += (int) kept;
	return token;
}

/* Copies a word, cut to NORM_TOKEN_BYTES, without the s of a plural: cables, batteries, boxes.  Returns its length. */
size_t
word_singular(const char *text, size_t length, char one[NORM_TOKEN_BYTES])
{
	size_t		n = length > NORM_TOKEN_BYTES ? NORM_TOKEN_BYTES : length;

	memcpy(one, text, n);
	if (n < 4 || n < length || one[n - 1] != 's' || strchr("sui", one[n - 2]) != NULL)
		return n;
	if (n > 4 && memcmp(one + n - 3, "ies", 3) == 0)
	{
		one[n - 3] = 'y';
		return n - 2;
	}
	if (n > 4 && one[n - 2] == 'e' &&
		(one[n - 3] == 'x' || one[n - 3] == 's' || (one[n - 3] == 'h' && (one[n - 4] == 'c' || one[n - 4] == 's'))))
		return n - 2;
	return n - 1;
}

/* A Roman number of two letters and more is the number that it spells: Kingdom Hearts II, 2. */
static void
read_roman(TokenList *list, Token *token, const char *text, size_t length)
{
	static const char *const numbers[] = {"ii", "iii", "iv", "vi", "vii", "viii", "ix"};
	static const char digits[] = "2346789";
	size_t		i;

	for (i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (strlen(numbers[i]) == length && memcmp(numbers[i], text, length) == 0)
		{
			token->kind = TOKEN_NUMBER;
			token->value = (float) (digits[i] - '0');
			token->hash = text_hash(list->seed, &digits[i], 1);
		}
}

/* Adds a run that is no quantity, and notes what the word means. */
static void
add_plain(TokenList *list, const char *s, const Run *run)
{
	const char *text = s + run->start;
	Token	   *token;
	char		one[NORM_TOKEN_BYTES];
	size_t		length;
	size_t		taken;

	if (run->digits > 0 && run->letters > 0 && !run->point)
	{
		token_add_code(list, text, run->length, 1);
		return;
	}
	token = token_new(list, text, run->length);
	if (token == NULL)
		return;
	if (run->digits > 0)
	{
		token->value = read_number(text, run->length, &taken);
		token->kind = run->digits >= 4 && !run->point ? TOKEN_CODE : TOKEN_NUMBER;
		token->stem = token->kind == TOKEN_CODE ? (uint32_t) token->hash | 1 : 0;
		token->unit = token->kind == TOKEN_CODE ? CODE_DIGITS : 0;
		/* The maker's own number inside a UPC is what others write alone. */
		if (run->length == 12 && run->digits == 12)
			token_add_code_part(list, text + 6, 5);
		return;
	}
	token->kind = TOKEN_WORD;
	length = word_singular(text, run->length, one);
	token->hash = text_hash(list->seed, one, length);
	note_colour(list, text, run->length, false);
	if (run->length <= 4)
		read_roman(list, token, text, run->length);
	list->conditions |= word_condition(text, run->length);
}

/* Whether run b continues the code that run a began. */
static bool
continues_code(const Run *a, const Run *b)
{
	if (b->joint == '-' || b->joint == '_')
		return true;
	if (b->joint == '/')
		return a->digits > 0 && a->letters > 0 && b->digits == 0 && b->length <= 4;
	return b->joint == '.' && a->digits + b->digits > 0 && a->letters + b->letters > 0;
}

/* Adds runs first to last as one code that spans their tokens, if it is likely to be one. */
static void
add_joined(TokenList *list, const char *s, const Run *runs, int first, int last)
{
	char		joined[4 * NORM_TOKEN_BYTES];
	char		one[NORM_TOKEN_BYTES];
	size_t		n = 0;
	size_t		digits = 0;
	int			span = last - first + 1 < SPAN_STEM ? last - first + 1 : SPAN_STEM - 1;
	int			i;

	for (i = first; i <= last; i++)
	{
		if (n + runs[i].length > NORM_TOKEN_BYTES || runs[i].point)
			return;
		memcpy(joined + n, s + runs[i].start, runs[i].length);
		n += runs[i].length;
		digits += runs[i].digits;
	}
	if (digits == 0 ? n > 16 : n < (runs[last].joint == '-' ? 3 : 4))
		return;
	/* 6-disc, blu-ray and ipad 2 are words. */
	if (digits == 0 || (digits < 3 && last - first == 1 && (runs[first].letters == 0 || runs[last].joint == ' ')))
	{
		Token	   *token = token_new(list, joined, n);

		if (token == NULL)
			return;
		token->kind = TOKEN_WORD;
		token->hash = text_hash(list->seed, one, word_singular(joined, n, one));
		token->span = (uint8_t) span;
	}
	else
		token_add_code(list, joined, n, span);
}

/* A short word before a number or code, as in "iwdc 6125": the two may be one code elsewhere. */
static bool
may_join_over_space(const Run *a, const Run *b)
{
	return a->digits == 0 && a->letters <= 5 && b->joint == ' ' && b->digits >= 2 && b->length <= 12 && !b->point;
}

/* Whether the token before the last plain one is a plain word, so that the two stand side by side. */
static bool
follows_word(const TokenList *list)
{
	int			last = list->n - 1;

	while (last > 0 && list->tokens[last].span != 1)
		last--;
	return last > 0 && list->tokens[last - 1].kind == TOKEN_WORD && list->tokens[last - 1].span == 1;
}

/* Makes the list empty.  The seed keeps others from choosing words whose hashes collide; lists that are compared have the same. */
void
tokens_clear(TokenList *list, uint64_t seed)
{
	list->seed = seed;
	list->n = 0;
	list->n_title = 0;
	list->text_used = 0;
	list->conditions = 0;
	list->colours = 0;
	list->pack = 1;
	list->after_for = false;
}

/* Whether run i ends a code that a hyphen joins (xj-10w) and so is no quantity; in "usb-8-port" it still is one. */
static bool
belongs_to_code(const Run *runs, int n, int i)
{
	if (i == 0 || runs[i - 1].letters == 0 || (runs[i].joint != '-' && runs[i].joint != '_'))
		return false;
	return runs[i].letters > 0 || i + 1 == n || runs[i + 1].joint != '-';
}

/* Whether what comes next names the thing that this one is for: case for iphone. */
static bool
says_for(const char *s, const Run *run)
{
	return (run->length == 3 && memcmp(s + run->start, "for", 3) == 0) || (run->length == 4 && memcmp(s + run->start, "fits", 4) == 0);
}

/* Adds the tokens of a text, as far as there is room. */
void
tokens_add(TokenList *list, const char *text, size_t length)
{
	char		folded[NORM_INPUT_BYTES + 8];
	size_t		n = text_fold(text, length, folded, sizeof(folded));
	Run			runs[MAX_RUNS];
	int			n_runs = find_runs(folded, n, runs);
	int			chain = 0;
	int			i = 0;

	list->after_for = false;
	while (i < n_runs)
	{
		int			taken;

		list->after_for = list->after_for && !runs[i].apart;
		taken = belongs_to_code(runs, n_runs, i) ? 0 : read_quantity(list, folded, runs, n_runs, i);

		if (taken > 0)
		{
			i += taken;
			chain = i;
			continue;
		}
		if (i > chain && !continues_code(&runs[i - 1], &runs[i]))
			chain = i;
		add_plain(list, folded, &runs[i]);
		if (says_for(folded, &runs[i]))
			list->after_for = true;
		if (i > chain && i - chain < LONGEST_CHAIN && (i + 1 == n_runs || !continues_code(&runs[i], &runs[i + 1])))
			add_joined(list, folded, runs, chain, i);
		else if (i > 0 && i == chain && list->n > 1 && may_join_over_space(&runs[i - 1], &runs[i]) &&
				 follows_word(list))
			add_joined(list, folded, runs, i - 1, i);
		i++;
	}
}

/*
 * Adds tokens of a description after those of the title; where few are wanted, codes and quantities first, then longer words.  What it
 * says of packs and conditions does not count, since it tells of other products too; its colours do where the title names none.
 */
void
tokens_add_description(TokenList *list, const char *text, size_t length, int most)
{
	uint32_t	conditions = list->conditions;
	uint32_t	colours = list->colours;
	float		pack = list->pack;
	Token		words[NORM_TOKENS];
	int			n_words = 0;
	int			kept = list->n_title = list->n;
	int			i;

	tokens_add(list, text, length);
	list->conditions = conditions;
	list->pack = pack;
	if (colours != 0)
		list->colours = colours;
	if (list->n - kept <= most)
		return;
	for (i = list->n_title; i < list->n; i++)
	{
		const Token *token = &list->tokens[i];

		if (token->span != 1)
			continue;
		if ((token->kind == TOKEN_CODE && token->length >= 5) || token->kind == TOKEN_QUANTITY)
		{
			if (kept < list->n_title + most)
				list->tokens[kept++] = *token;
		}
		else if (token->kind == TOKEN_WORD && token->length >= 4)
			words[n_words++] = *token;
	}
	for (i = 0; i < n_words && kept < list->n_title + most; i++)
		list->tokens[kept++] = words[i];
	list->n = kept;
}

/* Adds a part number as one token, unless it is in the list already.  Returns whether it has any letter or digit. */
bool
tokens_add_code(TokenList *list, const char *text, size_t length)
{
	char		squeezed[NORM_INPUT_BYTES];
	size_t		n = text_squeeze(text, length, squeezed, sizeof(squeezed));
	uint64_t	hash;
	int			i;

	if (n == 0)
		return false;
	hash = text_hash(list->seed, squeezed, n);
	list->after_for = false;
	for (i = 0; i < list->n; i++)
		if (list->tokens[i].hash == hash)
		{
			list->tokens[i].after_for = false;
			return true;
		}
	token_add_code(list, squeezed, n, 1);
	return true;
}
