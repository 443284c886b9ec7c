"""The reference tables of the documentation, made from the enums, models and layouts that the code itself uses.

    python -m flows.reference > docs/reference.md

A test says that the committed file is what this prints, and that nothing in it lacks words.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

import schemas.errors
from flows.cli.app import EPILOG
from infra.rights import rights_table
from operators.orders import LEGAL, TERMINAL
from operators.risk import MAY_FOLLOW, rules_table
from operators.sinks.layout import LAYOUTS, KeyColumn, Kind
from schemas.control import REFUSALS
from schemas.orders import Reason
from schemas.registry import CONDITION_TABLES, FEE_SCHEDULES
from schemas.settings import Settings
from schemas.tables import HASHED_TABLES, DeadLetterReason

D = DeadLetterReason

DEAD_LETTERS: Final[dict[DeadLetterReason, str]] = {
    D.UNKNOWN_KIND: "neither quote, trade nor depth level",
    D.UNKNOWN_SYMBOL: "a symbol id that the tape's list does not have, or one of another shard",
    D.PRICE_NOT_POSITIVE: "a price, bid or ask of 0 or below",
    D.SIZE_NOT_POSITIVE: "a size of 0 or below; 0 is valid for a depth level and where the instrument has no sizes",
    D.BOOK_CROSSED: "bid above ask, with `gate.crossed` at dead_letter",
    D.SEQUENCE_DUPLICATE: "a sequence number of the symbol that is not above its last: a repeated tick",
    D.TIME_BACKWARD: "a time before the symbol's last",
    D.TIME_JUMP: "a time that the source did not believe (`time_guard`)",
    D.OUTLIER_MAD: "beyond `gate.mad_factor` times the rolling median absolute deviation, and beyond the floor",
    D.OUTLIER_PERCENT: "more than `gate.percent_from_last` percent from the last accepted price",
    D.SUSPICIOUS: "marked as suspicious by the recorder, with `gate.suspicious` at dead_letter",
    D.SIDE_INVALID: "a side that its kind cannot have",
    D.LATENESS_NEGATIVE: "an effective time before the original one",
    D.PRICE_TOO_LARGE: "above the instrument's `price_max`",
    D.SIZE_TOO_LARGE: "above the instrument's `size_max`",
}

REASON_GROUPS: Final = (
    (0, 0, "none"),
    (1, 19, "why it was made, passed on or filled"),
    (20, 49, "why it ended, or a cancel failed"),
    (50, 255, "why it was refused, before sending or by the venue"),
)

SETTINGS: Final = {
    "deployment": "name in every row's id, the same for one process and many",
    "slice_ms": "W, length of a slice in event time",
    "shards": "S, shards of the flow; never changes what comes out",
    "partitions": "P, partitions of topics; a tape has its own number",
    "profile": "research: the expected value is recorded; strict: it refuses",
    "gate.crossed": "crossed quotes: refused, or passed as locked ones are, feeding and filling nothing",
    "gate.suspicious": "ticks that the recorder marked as suspicious",
    "features.fast_halflife_s": "h, half-life of fast features",
    "features.slow_halflife_s": "H, half-life of slow features",
    "account.id": "key of the account's tables",
    "account.currency": "a fill in another currency is refused",
    "account.capital": "equity at the start",
    "risk.max_position_fraction": "one position with its orders in flight, share of equity",
    "risk.max_gross_fraction": "all positions with orders in flight, share of equity",
    "risk.max_daily_loss_fraction": "loss of a day after which nothing is entered until the next, share of the day's first equity",
    "risk.stop_min_ticks": "least distance of the stop, in price ticks",
    "risk.max_open_orders": "orders open at once",
    "book.entry": "passive: a post-only limit at the own touch; market: at once",
    "book.hold_overnight": "positions stay over the close",
    "book.feed_delay_ms": "every decision leaves this much later",
    "venue.seed": "of latencies and split fills",
    "venue.fill_rule": "when a resting limit order fills, see docs/venue.md",
    "venue.order_latency_mu": "from decision to arrival",
    "venue.order_latency_sigma": "spread of its logarithm",
    "venue.cancel_latency_mu": "of a cancel",
    "venue.cancel_latency_sigma": "spread of its logarithm",
    "venue.report_latency_mu": "from the event to the book",
    "venue.report_latency_sigma": "spread of its logarithm",
    "venue.partial_fill_alpha": "first parameter of the Beta distribution of a report's share",
    "venue.partial_fill_beta": "second parameter of that distribution",
    "replay.symbols": "only these; empty: all (`--symbols`)",
    "replay.from_ns": "decide from this time on (`--from`)",
    "replay.to_ns": "stop before this time (`--to`)",
    "replay.warm_up_ns": "ticks this long before `from_ns` move state and decide nothing (`--warm-up`)",
}
"""What the settings without a description of their own mean."""

SHOWN: Final = {
    Kind.INTEGER: "integer",
    Kind.DECIMAL: "decimal",
    Kind.PRICE: "decimal",
    Kind.SIZE: "decimal",
    Kind.CODE: "text",
    Kind.FLAG: "boolean",
    Kind.UNSIGNED: "decimal",
    Kind.HEX: "16 hexadecimal digits",
    Kind.BYTES: "binary",
    Kind.ORDER_ID: "text",
}

Leaf = tuple[str, FieldInfo]


def settings_leaves(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[Leaf]:
    """Every single setting with its dotted name, sections in their order."""
    for name, field in model.model_fields.items():
        if isinstance(field.default, BaseModel):
            yield from settings_leaves(type(field.default), f"{prefix}{name}.")
        else:
            yield prefix + name, field


def meaning(leaf: Leaf) -> str:
    """What a setting means, in words; KeyError where nobody said."""
    name, field = leaf
    return field.description or SETTINGS[name]


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    lines += [" | ".join(str(cell).replace("|", "\\|") for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines) + "\n"


def exit_codes() -> dict[int, tuple[str, tuple[str, ...]]]:
    """By exit code: what the command line says of it, and the errors that end with it."""
    said = re.findall(r"(\d+(?: and \d+)?) ([^,.]+)", EPILOG)
    words = {int(code): text for codes, text in said for code in codes.split(" and ")}
    kinds = [e for e in vars(schemas.errors).values() if isinstance(e, type) and issubclass(e, schemas.errors.SpiketapeError)]
    return {code: (text, tuple(sorted(e.__name__ for e in kinds if e.exit_code == code))) for code, text in words.items()}


def _allowed(field: FieldInfo) -> str:
    kind = field.annotation
    if get_origin(kind) is not None and all(isinstance(a, str) for a in get_args(kind)):
        return ", ".join(get_args(kind))
    bounds = []
    for rule in field.metadata:
        for attribute, sign in (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<=")):
            bound = getattr(rule, attribute, None)
            if bound is not None:
                bounds.append(f"{sign} {bound}")
        if getattr(rule, "pattern", None):
            bounds.append(f"`{rule.pattern}`")
    return ", ".join(bounds)


def _default(value: Any) -> str:
    if value is None or value in ((), {}, ""):
        return "-"
    return f"{value:f}" if isinstance(value, Decimal) else str(value).lower() if isinstance(value, bool) else str(value)


def _lake() -> Iterator[tuple[str, str, str, str]]:
    for name, layout in LAYOUTS.items():
        key = "`shard`, `symbol`" if layout.key is KeyColumn.SYMBOL else f"`{layout.key.value}`"
        with_symbol = layout.by_symbol and layout.key is KeyColumn.ACCOUNT
        columns = ", ".join(f"`{c.name}` {SHOWN[c.kind]}" for c in layout.columns)
        yield name, key + (", `symbol`" if with_symbol else ""), "yes" if name in HASHED_TABLES else "no", columns


def reference() -> str:
    """The whole document."""
    fees = (
        (f.name, f.kind, f.per_share, f.minimum_per_order, f.maximum_fraction, f.sec_fee_rate, f.taf_per_share, f.maker_bps, f.taker_bps)
        for f in FEE_SCHEDULES.values()
    )
    conditions = (
        (c.name, f"{c.no_fill:#x}", f"{c.no_volume:#x}", f"{c.no_features:#x}", c.off_exchange or "-") for c in CONDITION_TABLES.values()
    )
    reasons = [(int(r), r.name, words) for low, high, words in REASON_GROUPS for r in Reason if low <= r <= high]
    parts = [
        "# Reference",
        "Made by `python -m flows.reference > docs/reference.md` from the code; do not edit it by hand.\n",
        "## Exit codes\n",
        table(("code", "meaning", "errors"), ((c, text, ", ".join(errors) or "-") for c, (text, errors) in sorted(exit_codes().items()))),
        "## Settings\n",
        "A TOML file (`--config`, or `spiketape.toml` in the working folder), then environment variables "
        "(`SPIKETAPE_RISK__MAX_DRAWDOWN=0.1`), then `--set risk.max_drawdown=0.1`; later ones win. An unknown key is an error.\n",
        table(
            ("setting", "default", "allowed", "meaning"),
            ((f"`{n}`", _default(f.default), _allowed(f) or "-", meaning((n, f)) or "-") for n, f in settings_leaves()),
        ),
        "## Risk rules\n",
        "An intent is checked against them in this order; the first that fails is the verdict's `rule`.\n",
        rules_table(),
        "## Modes of an account\n",
        table(
            ("mode", "may become"), ((m.name.lower(), ", ".join(t.name.lower() for t in sorted(to - {m}))) for m, to in MAY_FOLLOW.items())
        ),
        "## Refused control messages\n",
        "Why a message was refused (docs/control.md); nothing has changed then.\n",
        table(("reason", "when"), ((str(r), text) for r, text in REFUSALS.items())),
        "## Dead letters\n",
        "Why a tick did not pass the gate. The first check that fails is the reason.\n",
        table(("number", "reason", "when"), ((int(r), r.name, DEAD_LETTERS[r]) for r in DeadLetterReason)),
        "## Order states\n",
        table(
            ("state", "over", "events that may be legal"),
            ((s.name, "yes" if s in TERMINAL else "no", ", ".join(e.name for e in sorted(events)) or "-") for s, events in LEGAL.items()),
        ),
        "## Order reasons\n",
        table(("number", "reason", "group"), reasons),
        "## Fee schedules\n",
        "Rates and amounts in the instrument's currency; `bps` are basis points of notional.\n",
        table(
            ("schedule", "kind", "per share", "least per order", "most of value", "SEC on sales", "TAF on sales", "maker bps", "taker bps"),
            fees,
        ),
        "## Trade conditions\n",
        "A print with any bit of a mask fills no order, is no volume, or feeds no feature; letters of exchanges that are off the book.\n",
        table(("table", "fills nothing", "no volume", "no features", "off exchange"), conditions),
        "## Rights in Kafka\n",
        "What each command needs of a broker that asks for rights (ACLs), and no more. Topics stand here without `kafka.topic_prefix`; "
        "what ends with * is the beginning of names (a prefixed pattern). With one of them missing a command ends with exit code 1 and "
        "names it. `control` reads `audit` only with `--wait-s`. `produce` needs the rights of `topics apply` too where topics are not "
        "made yet or are to be changed.\n",
        table(("command", "READ", "WRITE", "further"), rights_table()),
        "## Tables of the lake\n",
        "Every table begins with `id`, its key columns, `n`, `slice`, `ts_ns` (ns UTC); hashed tables end with `digest`.\n",
        table(("table", "key", "hashed", "columns"), _lake()),
    ]
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(reference())
