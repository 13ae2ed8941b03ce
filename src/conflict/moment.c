/*
 * moment.c
 *	  Reads moments of ISO 8601: date, T or a space, time, and Z or an offset; without one of these it is UTC.
 */
#include "conflict/moment.h"

/* Reads exactly so many digits. */
static bool
digits(const char **at, const char *end, int count, int *number)
{
	*number = 0;
	for (; count > 0; count--, (*at)++)
	{
		if (*at >= end || **at < '0' || **at > '9')
			return false;
		*number = *number * 10 + (**at - '0');
	}
	return true;
}

static bool
one_of(const char **at, const char *end, char a, char b)
{
	if (*at >= end || (**at != a && **at != b))
		return false;
	(*at)++;
	return true;
}

/* Days from 1970-01-01 to a date of the Gregorian calendar; years begin in March, so that the leap day is a year's last. */
static int64_t
days_since_1970(int year, int month, int day)
{
	int			y = month > 2 ? year : year - 1;
	int			m = month > 2 ? month - 3 : month + 9;

	return (int64_t) y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719468;
}

static bool
parse_offset(const char **at, const char *end, int *minutes)
{
	int			sign;
	int			hour;
	int			minute = 0;

	*minutes = 0;
	if (*at == end)
		return true;
	if (one_of(at, end, 'Z', 'z'))
		return *at == end;
	sign = **at == '-' ? -1 : 1;
	if (!one_of(at, end, '+', '-') || !digits(at, end, 2, &hour) || hour > 15)
		return false;
	if (*at < end)
	{
		one_of(at, end, ':', ':');
		if (!digits(at, end, 2, &minute) || minute > 59)
			return false;
	}
	*minutes = sign * (hour * 60 + minute);
	return *at == end;
}

/* Microseconds since 1970, of years 1 to 9999.  False where text is no moment. */
bool
moment_parse(const char *text, size_t length, int64_t *microseconds)
{
	static const int days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	const char *at = text;
	const char *end = text + length;
	int			year;
	int			month;
	int			day;
	int			hour;
	int			minute;
	int			second = 0;
	int			offset;
	int64_t		fraction = 0;

	if (!digits(&at, end, 4, &year) || !one_of(&at, end, '-', '-') || !digits(&at, end, 2, &month) || !one_of(&at, end, '-', '-') ||
		!digits(&at, end, 2, &day) || year < 1 || month < 1 || month > 12 || day < 1 || day > days[month - 1])
		return false;
	if (month == 2 && day == 29 && (year % 4 != 0 || (year % 100 == 0 && year % 400 != 0)))
		return false;
	if (!one_of(&at, end, 'T', ' ') || !digits(&at, end, 2, &hour) || !one_of(&at, end, ':', ':') || !digits(&at, end, 2, &minute) ||
		hour > 23 || minute > 59)
		return false;
	if (one_of(&at, end, ':', ':'))
	{
		if (!digits(&at, end, 2, &second) || second > 59)
			return false;
		if (one_of(&at, end, '.', ','))
		{
			int64_t		unit = 100000;

			if (at == end || *at < '0' || *at > '9')
				return false;
			for (; at < end && *at >= '0' && *at <= '9'; at++, unit /= 10)
				fraction += unit * (*at - '0');
		}
	}
	if (!parse_offset(&at, end, &offset))
		return false;
	*microseconds = ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute - offset) * 60 * 1000000;
	*microseconds += second * INT64_C(1000000) + fraction;
	return true;
}
