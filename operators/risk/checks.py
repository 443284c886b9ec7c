"""The check before every entry: the rules of `RiskRule`, in their order, in exact integers.

Amounts come doubled ("2" at the end of a name: twice 1e-10 of the account's currency), because a mark in half ticks would
otherwise have halves. Fractions are compared by cross-multiplication, so the boundary itself passes and the next unit above
fails. A recorded value is rounded up to 1e-8, so that what is over a limit reads as over it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, NamedTuple

from operators.risk.modes import Mode
from operators.risk.rules import RiskRule
from schemas.settings.sections import RiskSettings

E8: Final = 10**8


class Fraction8(NamedTuple):
    """A limit as an exact fraction, and in 1e-8 for rows."""

    numerator: int
    denominator: int
    e8: int


class RiskLimits(NamedTuple):
    position: Fraction8
    gross: Fraction8
    drawdown: Fraction8
    daily_loss: Fraction8
    open_orders: int


class Listing(NamedTuple):
    """What does not change about an instrument. `scale`: price times quantity times this is money in 1e-10."""

    tradeable: bool
    same_currency: bool
    shortable: bool
    lot: int
    scale: int
    size_exponent: int


class Entry(NamedTuple):
    """An entry that wants to be made, and where the account and the market stand at the decision.

    `side` +1 or -1; `quantity` fixed point, 0 where the limit leaves less than a lot; `price` and `stop` fixed point; `quoted`:
    a valid quote of this session is known; `held`: quantity of the symbol held or in flight, same side, >= 0; `others2`:
    absolute value of all other positions and entries in flight; `equity2`, `peak2`, `day2`: now, at its peak, at the start of
    the day; `open_orders`: without this one; `session_left_ns`: until the session's close, 0 or less outside;
    `session_next_ns`: until the next opening, 0 unknown; `close_margin_ns`: no entries this close to the close;
    `expected_e10`: expected value after costs in 1e-10; `strict`: a value not above 0 refuses; `before_action`: the session is the last
    one before a corporate action.
    """

    side: int
    quantity: int
    price: int
    stop: int
    quoted: bool
    held: int
    others2: int
    equity2: int
    peak2: int
    day2: int
    mode: int
    open_orders: int
    session_left_ns: int
    session_next_ns: int
    close_margin_ns: int
    expected_e10: int
    strict: bool
    before_action: bool = False


class Decision(NamedTuple):
    """A verdict's numbers: `value` and `limit` in 1e-8 of the rule's unit, `largest_passing` in fixed point."""

    approved: bool
    rule: RiskRule
    value_e8: int
    limit_e8: int
    largest_passing: int


# Members looked up once: at each use that costs ten times what a name does (Enum's __getattr__).
_NORMAL: Final = Mode.NORMAL
_EXPECTED_VALUE: Final = RiskRule.EXPECTED_VALUE
_MAX_GROSS: Final = RiskRule.MAX_GROSS
_MAX_POSITION: Final = RiskRule.MAX_POSITION
_QUANTITY_BELOW_LOT: Final = RiskRule.QUANTITY_BELOW_LOT


def fraction8(value: Decimal) -> Fraction8:
    """An exact fraction of a setting."""
    numerator, denominator = value.as_integer_ratio()
    return Fraction8(numerator, denominator, numerator * E8 // denominator)


def risk_limits(settings: RiskSettings) -> RiskLimits:
    """The settings in the form in which they are compared."""
    return RiskLimits(
        fraction8(settings.max_position_fraction),
        fraction8(settings.max_gross_fraction),
        fraction8(settings.max_drawdown),
        fraction8(settings.max_daily_loss_fraction),
        settings.max_open_orders,
    )


def share_e8(part: int, whole: int) -> int:
    """part / whole in 1e-8, rounded up; a whole of 0 or less counts as 1."""
    return -(-part * E8 // max(whole, 1))


def reached(part: int, whole: int, limit: Fraction8) -> bool:
    """part / whole >= limit, exactly."""
    return part * limit.denominator >= limit.numerator * whole


def largest_position(limit: Fraction8, equity2: int, price: int, listing: Listing) -> int:
    """Largest quantity, in whole lots, whose value at `price` is at most `limit` of the equity; 0 without equity or price."""
    if equity2 <= 0 or price <= 0:
        return 0
    quantity = equity2 * limit.numerator // (limit.denominator * 2 * price * listing.scale)
    return quantity - quantity % listing.lot


def check_entry(limits: RiskLimits, listing: Listing, e: Entry) -> Decision:
    """The verdict on an entry."""
    if e.mode != _NORMAL:
        return _refused(RiskRule.MODE, e.mode * E8, 0)
    if not listing.tradeable:
        return _refused(RiskRule.SYMBOL_NOT_TRADEABLE)
    if not listing.same_currency:
        return _refused(RiskRule.OTHER_CURRENCY)
    if e.session_left_ns <= 0:
        return _refused(RiskRule.SESSION_CLOSED, e.session_next_ns // 10, 0)
    if e.session_left_ns <= e.close_margin_ns:
        rule = RiskRule.CORPORATE_ACTION_NEAR if e.before_action else RiskRule.CLOSE_TOO_NEAR
        return _refused(rule, e.session_left_ns // 10, e.close_margin_ns // 10)
    if not e.quoted or e.price <= 0:
        return _refused(RiskRule.QUOTE_MISSING)
    if e.side < 0 and not listing.shortable:
        return _refused(RiskRule.SIDE_NOT_SHORTABLE)
    if e.stop <= 0 or (e.price - e.stop) * e.side <= 0:
        return _refused(RiskRule.STOP_MISSING)
    if reached(e.peak2 - e.equity2, e.peak2, limits.drawdown):
        return _refused(RiskRule.DRAWDOWN, share_e8(e.peak2 - e.equity2, e.peak2), limits.drawdown.e8)
    if reached(e.day2 - e.equity2, e.day2, limits.daily_loss):
        return _refused(RiskRule.DAILY_LOSS, share_e8(e.day2 - e.equity2, e.day2), limits.daily_loss.e8)
    if e.open_orders >= limits.open_orders:
        return _refused(RiskRule.OPEN_ORDERS, (e.open_orders + 1) * E8, limits.open_orders * E8)
    return _check_size(limits, listing, e)


def _check_size(limits: RiskLimits, listing: Listing, e: Entry) -> Decision:
    unit2 = 2 * e.price * listing.scale
    room = largest_position(limits.position, e.equity2, e.price, listing) - e.held
    gross_room = (e.equity2 * limits.gross.numerator // limits.gross.denominator - e.others2) // unit2 - e.held
    largest = max(0, min(room, gross_room))
    largest -= largest % listing.lot
    if e.quantity < listing.lot:
        affordable = max(0, e.equity2) * limits.position.numerator // (limits.position.denominator * unit2) - e.held
        units = 10**listing.size_exponent
        return _refused(_QUANTITY_BELOW_LOT, affordable * E8 // units, listing.lot * E8 // units)
    worth2 = (e.held + e.quantity) * unit2
    position_e8 = share_e8(worth2, e.equity2)
    if worth2 * limits.position.denominator > e.equity2 * limits.position.numerator:
        return Decision(False, _MAX_POSITION, position_e8, limits.position.e8, largest)
    gross2 = e.others2 + worth2
    if gross2 * limits.gross.denominator > e.equity2 * limits.gross.numerator:
        return Decision(False, _MAX_GROSS, share_e8(gross2, e.equity2), limits.gross.e8, largest)
    passes = e.expected_e10 > 0 or not e.strict
    return Decision(passes, _EXPECTED_VALUE, e.expected_e10 // 100, 0, largest if passes else 0)


def _refused(rule: RiskRule, value_e8: int = 0, limit_e8: int = 0) -> Decision:
    return Decision(False, rule, value_e8, limit_e8, 0)
