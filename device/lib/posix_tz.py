"""Local time by a POSIX TZ string (POSIX.1-2017 section 8.3, with the signed hours of RFC 8536 section 3.3.1).

Owns the reading of the string and its rules, in whole seconds and without a table. Must not know what time it is nor
where the string is kept. Imported when a page shows local time.
"""

from micropython import const

_DAY_S = const(86400)
_OFFSET_HOURS = const(24)
_RULE_HOURS = const(167)
_JULIAN = const(-1)  # kinds of a rule that names no month: Jn, which leaves out 29 February,
_ORDINAL = const(0)  # and n, which counts it


def days(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 to that date (Gregorian, years from 1); a `day` beyond the month's end runs on."""
    month -= 3  # counted from March, which puts the leap day at a year's end
    year += month // 12
    month %= 12
    return year * 365 + year // 4 - year // 100 + year // 400 + (month * 153 + 2) // 5 + day - 719469


def rules(text: str) -> tuple:
    """What local() needs of a TZ string such as `CET-1CEST,M3.5.0,M10.5.0/3`: (name, seconds east of UTC) of standard
    time and, where there is summer time, name, seconds east, start and end of that. ValueError with a sentence."""
    zone, *changes = text.split(",")
    standard, offset, zone = _part(zone)
    if not offset:
        raise ValueError("no difference from UTC, as in CET-1")
    offset_s = -_seconds(offset, _OFFSET_HOURS)
    if not zone and not changes:
        return standard, offset_s
    summer, offset, zone = _part(zone)
    if zone:
        raise ValueError("what is meant by " + zone)
    if len(changes) != 2:
        raise ValueError("it must say when summer time starts and ends, as ,M3.5.0,M10.5.0/3 does")
    summer_s = -_seconds(offset, _OFFSET_HOURS) if offset else offset_s + 3600
    return standard, offset_s, summer, summer_s, _rule(changes[0]), _rule(changes[1])


def local(zone: tuple, unix_s: int) -> tuple:
    """(seconds east of UTC, abbreviation, whether it is summer time) at a Unix time, for what rules() made."""
    if len(zone) == 2:
        return zone[1], zone[0], False
    standard, offset_s, summer, summer_s, start, end = zone
    # Of the changes around, the last one that was counts. The year is a guess that may be one off at its ends.
    year = 1970 + unix_s // _DAY_S * 400 // 146097
    last_s = None
    is_summer = False
    for year in (year - 1, year, year + 1):
        for rule, before_s, starts in ((end, summer_s, False), (start, offset_s, True)):
            at_s = _day(rule, year) * _DAY_S + rule[3] - before_s
            if at_s <= unix_s and (last_s is None or at_s >= last_s):
                last_s = at_s
                is_summer = starts
    return (summer_s, summer, True) if is_summer else (offset_s, standard, False)


def _day(rule: tuple, year: int) -> int:
    month, week, day, _ = rule
    if month == _ORDINAL:
        return days(year, 1, 1) + day
    if month == _JULIAN:
        return days(year, 1, day) if day < 60 else days(year, 3, day - 59)
    first = days(year, month, 1)
    date = first + (day - first - 4) % 7 + week * 7 - 7  # 1970-01-01 was a Thursday, day 4
    return date if date < days(year, month + 1, 1) else date - 7  # week 5 is the last one


def _rule(text: str) -> tuple:
    """(month, week, weekday, seconds of the day), or (_JULIAN or _ORDINAL, 0, day of the year, seconds)."""
    date, slash, time = text.partition("/")
    time_s = _seconds(time, _RULE_HOURS) if slash else 7200
    try:
        if date[:1] == "M":
            month, week, day = [_number(part) for part in date[1:].split(".")]
            if 1 <= month <= 12 and 1 <= week <= 5 and day <= 6:
                return month, week, day, time_s
        elif date[:1] == "J":
            if 1 <= _number(date[1:]) <= 365:
                return _JULIAN, 0, _number(date[1:]), time_s
        elif _number(date) <= 365:
            return _ORDINAL, 0, _number(date), time_s
    except ValueError:
        pass
    raise ValueError("%s is no day, as M3.5.0 is, the last Sunday of March" % date)


def _part(text: str) -> tuple:
    """(abbreviation, difference from UTC as written, the rest)."""
    if text[:1] == "<":
        name, _, text = text[1:].partition(">")
        proper = all([c.isalpha() or c.isdigit() or c in "+-" for c in name])
    else:
        proper = True
        size = 0
        while text[size : size + 1].isalpha():
            size += 1
        name = text[:size]
        text = text[size:]
    if not proper or len(name) < 3:
        raise ValueError("a name is three letters or more, as CET, or stands in <>, as <+03>")
    rest = text.lstrip("+-:0123456789")
    return name, text[: len(text) - len(rest)], rest


def _number(text: str) -> int:
    if not text.isdigit() or len(text) > 3:
        raise ValueError
    return int(text)


def _seconds(text: str, most_hours: int) -> int:
    """Seconds of [+-]hours[:minutes[:seconds]]."""
    sign = -1 if text[:1] == "-" else 1
    try:
        parts = [_number(part) for part in text[text[:1] in ("+", "-") :].split(":")]
    except ValueError:
        parts = ()
    hours, minutes, seconds = (list(parts) + [0, 0, 0])[:3]
    if not 1 <= len(parts) <= 3 or hours > most_hours or minutes > 59 or seconds > 59:
        raise ValueError("%s is no time of up to %d hours, as 2:30 is" % (text, most_hours))
    return sign * (hours * 3600 + minutes * 60 + seconds)
