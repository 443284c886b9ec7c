"""Positions and profit, exact to 1e-10 of the account's currency, in Python integers.

Convention (weighted-average entry, spec/trading-cases.md 3.1): a fill that adds moves the average cost; one that reduces
realises profit against it and leaves it as it is; one that crosses zero is a closing leg and a fresh leg, notional and fee
split pro rata, so that the legs add up to the cash. A fee is realised at once, opening or closing.

The rounding does not depend on how a fill was split. A position keeps the cost and quantity at its last increase,
`base_cost` and `base_quantity`, and what was taken off since, `reduced`. The cost released by all reductions together is

    released = round_half_up(base_cost * reduced / base_quantity)

and a single reduction releases the difference. Increases add integers. Only what was released before the next increase is
rounded, once, however many fills it came in. Equity is identically cash plus positions:

    capital + realised + unrealised = capital + cash flows + quantity * mark

A fee taken in the base asset (crypto) changes the quantity that is received or given and no cash.

Position, one per symbol:

| field | unit | meaning |
| --- | --- | --- |
| quantity | fixed point, signed | long > 0, short < 0 |
| base_cost | 1e-10 | absolute notional of the open position at its last increase |
| base_quantity | fixed point | its absolute quantity then |
| reduced | fixed point | taken off since |
| released | 1e-10 | cost released by that, rounded as above |
| gross | 1e-10 | profit realised by closing legs, before fees |
| fees | 1e-10 | all fees in money, gross - fees is the realised profit |
| cash | 1e-10 | all cash that flowed, fees included |
| trip | 1e-10 | realised after fees since the position was last opened from flat |
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypedDict

from schemas.errors import SpiketapeError

INT64_MAX: Final = 2**63 - 1


class MoneyOverflowError(SpiketapeError):
    """An amount that does not fit a row's 64-bit integer in units of 1e-10."""


class CurrencyError(SpiketapeError):
    """A fill in a currency that is not the account's and for which no rate is known."""


class Position(TypedDict):
    quantity: int
    base_cost: int
    base_quantity: int
    reduced: int
    released: int
    gross: int
    fees: int
    cash: int
    trip: int


class Booked(NamedTuple):
    """What a fill did: realised after fees by the whole fill, and of each round trip that it closed."""

    realised: int
    closed_trip: int | None


def flat_position() -> Position:
    """A position before its first fill."""
    return Position(quantity=0, base_cost=0, base_quantity=0, reduced=0, released=0, gross=0, fees=0, cash=0, trip=0)


def round_half_up(numerator: int, denominator: int) -> int:
    """numerator / denominator to the nearest integer, halves upwards; denominator > 0."""
    return (2 * numerator + denominator) // (2 * denominator)


def apply_fill(p: Position, side: int, notional: int, quantity: int, fee: int, base_fee: int = 0) -> Booked:
    """Books one fill into `p`, in place.

    `side` +1 or -1; `notional` price times quantity in 1e-10, >= 0; `quantity` fixed point, > 0; `fee` in 1e-10 (negative: a
    rebate); `base_fee` in the instrument's size units, taken from what a buyer receives or on top of what a seller gives.
    """
    if side not in (1, -1) or quantity <= 0 or notional < 0 or not 0 <= base_fee < quantity:
        msg = (
            "a fill needs side +1 or -1, a quantity above 0, a notional not below 0 and a base fee below its quantity; "
            f"it has {side}, {quantity}, {notional}, {base_fee}"
        )
        raise ValueError(msg)
    p["cash"] -= side * notional + fee
    p["fees"] += fee
    moved = quantity - side * base_fee
    held = p["quantity"]
    if held * side >= 0:
        if held == 0:
            p["trip"] = 0
        _increase(p, side, moved, notional)
        p["trip"] -= fee
        return Booked(-fee, None)
    closing = min(abs(held), moved)
    close_notional = notional if closing == moved else round_half_up(notional * closing, moved)
    close_fee = fee if closing == moved else round_half_up(fee * closing, moved)
    gross = _reduce(p, side, closing, close_notional)
    p["gross"] += gross
    p["trip"] += gross - close_fee
    closed = p["trip"] if p["quantity"] == 0 else None
    if moved > closing:
        p["trip"] = close_fee - fee
        _increase(p, side, moved - closing, notional - close_notional)
    return Booked(gross - fee, closed)


def _increase(p: Position, side: int, quantity: int, notional: int) -> None:
    p["base_cost"] += notional - p["released"]
    p["base_quantity"] += quantity - p["reduced"]
    p["reduced"] = 0
    p["released"] = 0
    p["quantity"] += side * quantity


def _reduce(p: Position, side: int, quantity: int, notional: int) -> int:
    p["reduced"] += quantity
    released = round_half_up(p["base_cost"] * p["reduced"], p["base_quantity"])
    cost = released - p["released"]
    p["released"] = released
    p["quantity"] += side * quantity
    if p["quantity"] == 0:
        p["base_cost"] = p["base_quantity"] = p["reduced"] = p["released"] = 0
    return side * (cost - notional)


def realised(p: Position) -> int:
    """Profit realised so far after all fees, in 1e-10."""
    return p["gross"] - p["fees"]


def open_cost(p: Position) -> int:
    """Signed cost of what is open, in 1e-10: positive for a long position."""
    cost = p["base_cost"] - p["released"]
    return cost if p["quantity"] > 0 else -cost


def unrealised2(p: Position, mark2: int, scale: int) -> int:
    """Twice the unrealised profit in 1e-10 at `mark2` = bid + ask; doubled so that half ticks stay integers."""
    return p["quantity"] * mark2 * scale - 2 * open_cost(p)


def average_cost_e10(p: Position, size_exponent: int) -> int:
    """Average cost per whole unit in 1e-10, rounded half up; reductions never change it. 0 when flat."""
    if p["base_quantity"] == 0:
        return 0
    return round_half_up(p["base_cost"] * 10**size_exponent, p["base_quantity"])


def row_money(value: int, what: str) -> int:
    """`value` if it fits a row; MoneyOverflowError with both numbers otherwise."""
    if -INT64_MAX <= value <= INT64_MAX:
        return value
    msg = f"{what} of {value} times 1e-10 does not fit 64 bits (at most {INT64_MAX}); reduce the capital or the position limit"
    raise MoneyOverflowError(msg)
