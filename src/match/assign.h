/*
 * assign.h
 *	  Which existing item each of many incoming ones is, and how likely, seen together.
 *
 * Plain C.
 */
#ifndef MATCH_ASSIGN_H
#define MATCH_ASSIGN_H

#include "match/calibrate.h"
#include "match/score.h"

#define MATCH_KEPT 3			/* candidates of an incoming item that are kept until all are known */

/* An incoming item. */
typedef struct MatchRow
{
	uint8_t		n;				/* candidates, best first */
	int8_t		chosen;			/* of them, -1 where there is none */
	bool		shared;			/* another row says that it is the chosen item too */
	float		log_odds;		/* of the chosen one, all rows considered, before the supplier's calibration */
	float		confidence;		/* of the chosen one */
	MatchFound	found[MATCH_KEPT];
} MatchRow;

/* What the rows together tell of the supplier. */
typedef struct MatchShares
{
	float		shift;			/* of all log odds, since more or fewer rows have a match than where the model was fitted */
	float		repeats;		/* odds that another row is an item too that one row is, above 0 and below 1 */
} MatchShares;

extern const MatchShares shares_unknown;
extern bool assign_estimate(const MatchRow *rows, size_t n, MatchShares *shares);
extern bool assign_rows(MatchRow *rows, size_t n, const MatchShares *shares, const MatchCalibration *calibration);
extern float assign_doubt(const MatchFound *found, float confidence);
extern void assign_alone(const MatchFound *found, int n, float log_odds[]);

#endif
