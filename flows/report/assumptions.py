"""What the numbers rest on: the venue's assumptions, fees, capital and lots, and the model."""

from __future__ import annotations

from math import exp

from flows.report.figures import moment
from flows.report.findings import Findings
from flows.report.html import Cell, Page, heading, note, number, percent, table
from schemas.instruments import FeeSchedule
from schemas.settings import settings_hash


def venue_section(f: Findings, _page: Page) -> list[Cell]:
    """How orders were filled, at what cost, with what capital."""
    v, book, account, risk = f.settings.venue, f.settings.book, f.settings.account, f.settings.risk
    listed = [f.tape.instruments.instruments[f.tape.instruments.id_of(s)] for s in sorted(f.run["symbols"])]
    fees = {i.fees.name: i.fees for i in listed if i.tradeable}
    facts = [
        ("fill rule", v.fill_rule),
        ("order latency", _latency(v.order_latency_mu, v.order_latency_sigma, v.latency_scale)),
        ("cancel latency", _latency(v.cancel_latency_mu, v.cancel_latency_sigma, v.latency_scale)),
        ("report latency", _latency(v.report_latency_mu, v.report_latency_sigma, v.latency_scale)),
        ("feed delay", f"{book.feed_delay_ms} ms"),
        ("slice W: decisions leave at its end", f"{f.settings.slice_ms} ms"),
        ("entries", f"{book.entry}; cancelled after {book.entry_timeout_s:g} s"),
        ("exits", f"after {book.holding_s:g} s, or on an opposite signal; passive, a market order after {book.exit_timeout_s:g} s"),
        ("market orders", f"take the shown size, then {v.slippage_ticks_per_shown} tick(s) more per shown size"),
        ("own impact", "none: the run's orders change nothing on the tape"),
        ("short selling", "assumed possible, at no borrowing cost and without restriction, where the instrument is marked shortable"),
        ("interest, dividends", "none; nothing is held over a corporate action on purpose"),
        ("capital", f"{account.capital:,} {account.currency}; at most {100 * risk.max_position_fraction:g}% in one position"),
        ("close", _close(f)),
        ("settings", settings_hash(f.settings)),
    ]
    return [
        table(("", ""), facts, words=(1,)),
        heading("fees"),
        table(("schedule", "terms"), [(name, _terms(x)) for name, x in sorted(fees.items())], words=(1,)),
        heading("instruments"),
        table(
            ("symbol", "tick", "lot", "currency", "tradeable", "shortable", "fees", "one position buys", "table of print conditions"),
            [
                (
                    i.symbol, i.price(i.tick_size), i.size(i.lot_size), i.currency, _yes(i.tradeable and i.quoted), _yes(i.shortable),
                    i.fees.name,
                    _lots(f, i.symbol), i.conditions.name,
                )
                for i in listed
            ],
            words=(6, 8),
        ),
        note("The queue is that of the one exchange whose size the quote shows; off-exchange prints never fill and never shorten it."),
    ]  # fmt: skip


def _close(f: Findings) -> str:
    """When nothing is held."""
    flat = f"flat {f.settings.book.flat_before_close_s:g} s before the"
    if f.settings.book.hold_overnight:
        return f"positions held overnight; {flat} last close before a corporate action"
    return f"{flat} session ends"


def _latency(mu: float, sigma: float, scale: float) -> str:
    return f"lognormal, median {scale * exp(mu):.0f} ms, 95% below {scale * exp(mu + 1.645 * sigma):.0f} ms"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _lots(f: Findings, symbol: str) -> Cell:
    i = f.tape.instruments.id_of(symbol)
    instrument, first = f.tape.instruments.instruments[i], f.market.counts[i].first_ask
    if not first or not instrument.tradeable:
        return number(None)
    part = f.settings.account.capital * f.settings.risk.max_position_fraction
    lot = instrument.size(instrument.lot_size)
    return number(part / instrument.price(first) // lot * lot, 0 if lot >= 1 else 4)


def _terms(x: FeeSchedule) -> str:
    if x.kind == "none":
        return "no fees"
    if x.kind == "basis_points":
        return f"{x.maker_bps:f} bps as maker, {x.taker_bps:f} bps as taker"
    text = f"{x.per_share:f} a share, at least {x.minimum_per_order:f} an order, at most {100 * x.maximum_fraction:g}% of value"
    return f"{text}; on sales {x.sec_fee_rate:f} of value and {x.taf_per_share:f} a share"


def model_section(f: Findings, _page: Page) -> list[Cell]:
    """Which model, trained when and on what."""
    facts: list[tuple[str, object]] = [("model", f.run["model"]), ("file", f.run["model_file"])]
    if f.model is not None:
        m = f.model.manifest
        split = m.get("split", {})
        if "first_ns" in split:
            facts += [
                ("trained on (UTC)", f"{moment(split['first_ns'])} to {moment(split['validate_from_ns'])}"),
                ("thresholds and calibration from", f"{moment(split['validate_from_ns'])} to {moment(split['last_ns'])}"),
                ("spells", f"{split.get('training_spells', 0):,} to train, {split.get('validation_spells', 0):,} to validate"),
            ]
        facts += [
            ("tape it was trained on", str(m.get("tape_hash", "not stated"))),
            ("this tape", f.tape.manifest.tape_hash),
            ("symbols with thresholds of their own", ", ".join(f.model.symbols) or "none"),
            ("other symbols of this run", ", ".join(s for s in sorted(f.run["symbols"]) if s not in f.model.symbols) or "none"),
            ("calibration error when trained", percent(m.get("metrics", {}).get("calibration_error"), 2)),
            ("seed", m.get("seed", "not stated")),
        ]
    facts += [("code", f.run["version"]), ("output hash", f.run["output_hash"])]
    return [
        table(("", ""), facts, words=(1,)),
        note("A symbol without thresholds of its own takes those pooled over all symbols of the training."),
    ]
