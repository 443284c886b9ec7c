"""Compiled reading of delimited text into exact fixed point: no float on the way, a status for each line that cannot be read."""

from __future__ import annotations

import numpy as np
from numba import njit

# What a field is.
SKIP, NUMBER, OPTIONAL, HEX, LETTER, TEXT, TIME = 0, 1, 2, 3, 4, 5, 6

# Status of a line.
OK, FIELD_COUNT, NOT_A_NUMBER, TOO_FINE, TOO_LARGE, NOT_HEX, NOT_A_TIME, NOT_A_LETTER = 0, 1, 2, 3, 4, 5, 6, 7

MISSING = -(2**63)
"""Value of an empty OPTIONAL field."""

TEXT_BITS = 24
"""A TEXT field's value is its offset in the block shifted by this, plus its length."""

_TOP = 2**62
_POW10 = 10 ** np.arange(19, dtype=np.int64)


@njit(nogil=True, cache=True)
def read_number(buf, a, b, scale):  # type: ignore[no-untyped-def]
    """The decimal text buf[a:b] times 10**scale as an exact integer: (value, status). Takes sign, point and exponent (1e-05)."""
    negative = False
    if a < b and (buf[a] == 45 or buf[a] == 43):
        negative = buf[a] == 45
        a += 1
    value = np.int64(0)
    decimals = 0
    digits = 0
    pending = 0
    point = False
    while a < b:
        c = buf[a]
        if 48 <= c <= 57:
            digits += 1
            if point:
                decimals += 1
            if c == 48:
                pending += 1
            else:
                if value != 0:
                    if pending > 17:
                        return np.int64(0), TOO_LARGE
                    if value > _TOP // _POW10[pending]:
                        return np.int64(0), TOO_LARGE
                    value *= _POW10[pending]
                pending = 0
                if value > (_TOP - 9) // 10:
                    return np.int64(0), TOO_LARGE
                value = value * 10 + (c - 48)
        elif c == 46 and not point:
            point = True
        else:
            break
        a += 1
    if digits == 0:
        return np.int64(0), NOT_A_NUMBER
    exponent = 0
    if a < b and (buf[a] == 101 or buf[a] == 69):
        a += 1
        down = False
        if a < b and (buf[a] == 45 or buf[a] == 43):
            down = buf[a] == 45
            a += 1
        if a == b or b - a > 3:
            return np.int64(0), NOT_A_NUMBER
        while a < b and 48 <= buf[a] <= 57:
            exponent = exponent * 10 + (buf[a] - 48)
            a += 1
        if down:
            exponent = -exponent
    if a != b:
        return np.int64(0), NOT_A_NUMBER
    shift = scale + exponent - decimals + pending
    if value == 0:
        return np.int64(0), OK
    while shift < 0:
        if value % 10 != 0:
            return np.int64(0), TOO_FINE
        value //= 10
        shift += 1
    if shift > 18 or value > _TOP // _POW10[shift]:
        return np.int64(0), TOO_LARGE
    value *= _POW10[shift]
    return (-value if negative else value), OK


@njit(nogil=True, cache=True)
def _hex(buf, a, b):  # type: ignore[no-untyped-def]
    if a == b or b - a > 8:
        return np.int64(0), NOT_HEX
    value = np.int64(0)
    for j in range(a, b):
        c = np.int64(buf[j])
        if 48 <= c <= 57:
            d = c - 48
        elif 97 <= c <= 102:
            d = c - 87
        elif 65 <= c <= 70:
            d = c - 55
        else:
            return np.int64(0), NOT_HEX
        value = value * 16 + d
    return value, OK


@njit(nogil=True, cache=True)
def _digits(buf, a, b, count):  # type: ignore[no-untyped-def]
    """`count` decimal digits at a: their value, or -1."""
    if a + count > b:
        return -1
    value = 0
    for j in range(a, a + count):
        if not 48 <= buf[j] <= 57:
            return -1
        value = value * 10 + (buf[j] - 48)
    return value


@njit(nogil=True, cache=True)
def _days(year, month, day):  # type: ignore[no-untyped-def]
    """Days from 1970-01-01 of a Gregorian date (H. Hinnant, chrono-compatible low-level date algorithms)."""
    y = year - 1 if month <= 2 else year
    era = y // 400
    yoe = y - era * 400
    doy = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    doe = yoe * 365 + yoe // 4 - yoe // 100 + doy
    return era * 146097 + doe - 719468


@njit(nogil=True, cache=True)
def _month_days(year, month):  # type: ignore[no-untyped-def]
    if month == 2:
        return 29 if (year % 4 == 0 and year % 100 != 0) or year % 400 == 0 else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


@njit(nogil=True, cache=True)
def read_time(buf, a, b):  # type: ignore[no-untyped-def]
    """ISO 8601 date and time, basic or extended, up to 9 decimals, with or without Z or an offset: (ns, has offset, status).

    Without an offset the nanoseconds are those of the wall clock. `20200101 170010447` (basic, decimals without a point) is read too.
    """
    bad = (np.int64(0), False, NOT_A_TIME)
    year = _digits(buf, a, b, 4)
    a += 4
    if a < b and buf[a] == 45:
        a += 1
    month = _digits(buf, a, b, 2)
    a += 2
    if a < b and buf[a] == 45:
        a += 1
    day = _digits(buf, a, b, 2)
    a += 2
    if year < 1678 or year > 2261 or month < 1 or month > 12 or day < 1 or day > _month_days(year, month):
        return bad
    seconds = np.int64(_days(year, month, day)) * 86400
    if a == b:
        return seconds * 1_000_000_000, False, OK
    if buf[a] != 84 and buf[a] != 32 and buf[a] != 116:
        return bad
    a += 1
    hour = _digits(buf, a, b, 2)
    a += 2
    if a < b and buf[a] == 58:
        a += 1
    minute = _digits(buf, a, b, 2)
    a += 2
    if a < b and buf[a] == 58:
        a += 1
    second = _digits(buf, a, b, 2)
    a += 2
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
        return bad
    seconds += hour * 3600 + minute * 60 + second
    if a < b and (buf[a] == 46 or buf[a] == 44):
        a += 1
        if a == b or not 48 <= buf[a] <= 57:
            return bad
    nanos = np.int64(0)
    unit = np.int64(100_000_000)
    while a < b and 48 <= buf[a] <= 57:
        if unit == 0 and buf[a] != 48:
            return bad
        nanos += (buf[a] - 48) * unit
        unit //= 10
        a += 1
    value = seconds * 1_000_000_000 + nanos
    if a == b:
        return value, False, OK
    if (buf[a] == 90 or buf[a] == 122) and a + 1 == b:
        return value, True, OK
    if buf[a] != 43 and buf[a] != 45:
        return bad
    sign = 1 if buf[a] == 43 else -1
    a += 1
    off_hour = _digits(buf, a, b, 2)
    a += 2
    off_minute = 0
    if a < b:
        if buf[a] == 58:
            a += 1
        off_minute = _digits(buf, a, b, 2)
        a += 2
    if a != b or off_hour < 0 or off_hour > 23 or off_minute < 0 or off_minute > 59:
        return bad
    return value - sign * (off_hour * 3600 + off_minute * 60) * 1_000_000_000, True, OK


@njit(nogil=True, cache=True)
def read_lines(buf, starts, ends, delimiter, kinds, scales, values, zoned, status, field):  # type: ignore[no-untyped-def]
    """Reads each line's fields into `values` int64 (n, F).

    `kinds`, `scales` int64 (F,): what each field is, and the power of ten a NUMBER is multiplied by. `zoned` uint8 (n,): 1 where a
    TIME had an offset. `status` uint8 (n,), `field` uint8 (n,): why a line cannot be read, and at which field (from 1). A field may
    stand in double quotes; the delimiter may not occur within them.
    """
    count = kinds.size
    for i in range(starts.size):
        a = starts[i]
        end = ends[i]
        status[i] = OK
        field[i] = 0
        zoned[i] = 0
        f = 0
        more = True
        while more:
            b = a
            while b < end and buf[b] != delimiter:
                b += 1
            more = b < end
            if f == count:
                f += 1
                break
            kind = kinds[f]
            if kind != SKIP:
                x, y = a, b
                if y - x >= 2 and buf[x] == 34 and buf[y - 1] == 34:
                    x += 1
                    y -= 1
                while x < y and buf[x] == 32:
                    x += 1
                while x < y and buf[y - 1] == 32:
                    y -= 1
                value = np.int64(0)
                code = OK
                if kind == NUMBER or kind == OPTIONAL:
                    if x == y and kind == OPTIONAL:
                        value = np.int64(MISSING)
                    else:
                        value, code = read_number(buf, x, y, scales[f])
                elif kind == HEX:
                    value, code = _hex(buf, x, y)
                elif kind == LETTER:
                    if y - x > 1:
                        code = NOT_A_LETTER
                    elif y - x == 1:
                        value = np.int64(buf[x])
                elif kind == TEXT:
                    value = (np.int64(x) << TEXT_BITS) + (y - x)
                else:
                    value, offset, code = read_time(buf, x, y)
                    zoned[i] = offset
                values[i, f] = value
                if code != OK and status[i] == OK:
                    status[i] = code
                    field[i] = min(f + 1, 255)
            f += 1
            a = b + 1
        if f != count:
            status[i] = FIELD_COUNT
            field[i] = 0
