"""Which point each row of a table becomes: its measurement, its tags, its fields.

| measurement | table | tags | fields (integers marked i) |
| --- | --- | --- | --- |
| signal | signals | symbol, action | score, confidence, n i |
| verdict | verdicts | account, symbol, rule | value, limit, approved i, n i |
| order | orders | account, symbol, side, state | price, quantity, filled, order_n i, n i |
| execution | executions | account, symbol, side | price, quantity, fee, order_n i, n i |
| position | positions | account, symbol | quantity, average_cost, realised, unrealised, n i |
| equity | equity | account | equity, drawdown, exposure, n i |
| quality | quality | symbol | score, completeness, timeliness, validity, read i, dead i, late i, missing i, n i |

`n` is the row's number within its table and key, so that a point leads back to its row. A verdict about the whole account has the
symbol `-`. Quotes, spikes and the pipeline's points are made of seconds (seconds.py), dead letters and skill are not points.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

from schemas.tables import MONEY_EXPONENT, Action, OrderState, Side

NO_SYMBOL_TAG: Final = "-"


class Scale(Enum):
    """How an integer of a row reads: a fixed number of decimal places, the instrument's, or as it is."""

    PRICE = "price"
    SIZE = "size"
    INTEGER = "integer"
    E6 = 6
    E8 = 8
    E10 = MONEY_EXPONENT


@dataclass(frozen=True, slots=True)
class PointField:
    """A field of a point, the field of the row that it comes from, and its scale."""

    name: str
    source: str
    scale: Scale


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a table's rows become. `codes`: tag and the enum of its codes, None where the flow's codebook names them (kind = tag).

    The tag `symbol` comes of the row (`by_symbol`), the tag `account` of the rows' key (`by_account`).
    """

    name: str
    by_account: bool
    by_symbol: bool
    codes: tuple[tuple[str, type[IntEnum] | None], ...]
    fields: tuple[PointField, ...]


def _f(name: str, scale: Scale, source: str | None = None) -> PointField:
    return PointField(name, source or name, scale)


_N: Final = _f("n", Scale.INTEGER)
_ORDER_N: Final = _f("order_n", Scale.INTEGER)

MEASUREMENTS: Final[dict[str, Measurement]] = {
    "signals": Measurement(
        "signal",
        False,
        True,
        (("action", Action),),
        (_f("score", Scale.E6, "score_e6"), _f("confidence", Scale.E6, "confidence_e6"), _N),
    ),
    "verdicts": Measurement(
        "verdict",
        True,
        True,
        (("rule", None),),
        (_f("value", Scale.E8, "value_e8"), _f("limit", Scale.E8, "limit_e8"), _f("approved", Scale.INTEGER), _N),
    ),
    "orders": Measurement(
        "order",
        True,
        True,
        (("side", Side), ("state", OrderState)),
        (_f("price", Scale.PRICE), _f("quantity", Scale.SIZE), _f("filled", Scale.SIZE), _ORDER_N, _N),
    ),
    "executions": Measurement(
        "execution",
        True,
        True,
        (("side", Side),),
        (_f("price", Scale.PRICE), _f("quantity", Scale.SIZE), _f("fee", Scale.E10, "fee_e10"), _ORDER_N, _N),
    ),
    "positions": Measurement(
        "position",
        True,
        True,
        (),
        (
            _f("quantity", Scale.SIZE),
            _f("average_cost", Scale.E10, "average_cost_e10"),
            _f("realised", Scale.E10, "realised_e10"),
            _f("unrealised", Scale.E10, "unrealised_e10"),
            _N,
        ),
    ),
    "equity": Measurement(
        "equity",
        True,
        False,
        (),
        (
            _f("equity", Scale.E10, "equity_e10"),
            _f("drawdown", Scale.E8, "drawdown_e8"),
            _f("exposure", Scale.E10, "exposure_e10"),
            _N,
        ),
    ),
    "quality": Measurement(
        "quality",
        False,
        True,
        (),
        (
            _f("score", Scale.E6, "score_e6"),
            _f("completeness", Scale.E6, "completeness_e6"),
            _f("timeliness", Scale.E6, "timeliness_e6"),
            _f("validity", Scale.E6, "validity_e6"),
            *(_f(name, Scale.INTEGER) for name in ("read", "dead", "late", "missing")),
            _N,
        ),
    ),
}
