"""The dashboards. The files that Grafana reads are made of them: `python -m infra.grafana.declared`.

Questions name only what spec/interface.md and the metrics (flows/live/metrics.py) promise; a test asks each of them of real servers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from infra.grafana.panels import Dashboard, Flux, Panel, PromQL, Variable

FILES: Final = Path(__file__).with_name("dashboards")

BUCKET: Final = Variable(
    "bucket",
    "bucket",
    Flux('buckets() |> filter(fn: (r) => r.name !~ /^_/) |> rename(columns: {name: "_value"}) |> keep(columns: ["_value"])'),
    False,
)


def _tag(name: str, label: str) -> Variable:
    return Variable(
        name, label, Flux(f'import "influxdata/influxdb/schema"\nschema.tagValues(bucket: "${{bucket}}", tag: "{name}", start: 0)')
    )


def _points(measurement: str, *fields: str, where: str = "") -> str:
    wanted = " or ".join(f'r._field == "{f}"' for f in fields)
    return (
        'from(bucket: "${bucket}")\n'
        "  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)\n"
        f'  |> filter(fn: (r) => r._measurement == "{measurement}" and ({wanted}){where})'
    )


ACCOUNT: Final = " and r.account =~ /^${account:regex}$/"
SYMBOL: Final = " and r.symbol =~ /^${symbol:regex}$/"
ONE_OF: Final = r" and r.symbol =~ /(^|\+)${symbol:regex}(\+|$)/"


def _windows(measurement: str, *fields: str, fn: str = "last", where: str = "", by: str = "symbol") -> Flux:
    """A line for each `by`, in windows as wide as a pixel needs."""
    return Flux(
        f"{_points(measurement, *fields, where=where)}\n"
        f'  |> group(columns: ["{by}", "_field"])\n  |> sort(columns: ["_time"])\n'
        f"  |> aggregateWindow(every: v.windowPeriod, fn: {fn}, createEmpty: false)"
    )


def _latest(measurement: str, columns: str, fields: tuple[str, ...], where: str, rows: int = 50) -> Flux:
    """The latest rows as a table, the newest first."""
    return Flux(
        f"{_points(measurement, *fields, where=where)}\n"
        '  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")\n'
        + f'  |> group()\n  |> sort(columns: ["_time", "n"], desc: true)\n  |> limit(n: {rows})\n  |> keep(columns: [{columns}])'
    )


def _one(measurement: str, field: str, fn: str, where: str = ACCOUNT) -> Flux:
    """One number over the whole time."""
    return Flux(f'{_points(measurement, field, where=where)}\n  |> group(columns: ["account"])\n  |> sort(columns: ["_time"])\n  |> {fn}()')


TRADING: Final = Dashboard(
    "spiketape-trading",
    "spiketape: trading",
    (BUCKET, _tag("account", "account"), _tag("symbol", "symbol")),
    (
        (
            Panel("Equity", "cash and positions at the last price", (_one("equity", "equity", "last"),), "currencyUSD", "stat", 6, 4),
            Panel(
                "Largest drawdown",
                "share of the highest equity before it",
                (_one("equity", "drawdown", "max"),),
                "percentunit",
                "stat",
                6,
                4,
            ),
            Panel("Fills", "executions in this time", (_one("execution", "n", "count"),), "short", "stat", 6, 4),
            Panel("Fees", "paid in this time", (_one("execution", "fee", "sum"),), "currencyUSD", "stat", 6, 4),
        ),
        (
            Panel("Equity over time", "by account", (_windows("equity", "equity", where=ACCOUNT, by="account"),), "currencyUSD"),
            Panel(
                "Drawdown and exposure",
                "drawdown is a share of the highest equity; exposure is money",
                (
                    _windows("equity", "drawdown", fn="max", where=ACCOUNT, by="account"),
                    _windows("equity", "exposure", where=ACCOUNT, by="account"),
                ),
            ),
        ),
        (
            Panel("Positions", "quantity by symbol; below 0: short", (_windows("position", "quantity", where=ACCOUNT + SYMBOL),)),
            Panel(
                "Profit by symbol",
                "realised and not yet realised",
                (_windows("position", "realised", "unrealised", where=ACCOUNT + SYMBOL),),
                "currencyUSD",
            ),
        ),
        (
            Panel("Mid prices", "last quote of each second", (_windows("quote", "mid", where=SYMBOL),)),
            Panel("Signals", "score by symbol, where the action changed", (_windows("signal", "score", where=SYMBOL),)),
        ),
        (
            Panel("Spread", "ask less bid", (_windows("quote", "spread", fn="mean", where=SYMBOL),), width=8),
            Panel(
                "Orders by state",
                "transitions",
                (_windows("order", "n", fn="count", where=ACCOUNT + SYMBOL, by="state"),),
                width=8,
                stacked=True,
            ),
            Panel(
                "Verdicts by rule",
                "intents that risk approved or refused",
                (_windows("verdict", "n", fn="count", where=ACCOUNT, by="rule"),),
                width=8,
                stacked=True,
            ),
        ),
        (
            Panel(
                "Latest signals",
                "the newest first",
                (_latest("signal", '"_time", "symbol", "action", "score", "confidence"', ("score", "confidence", "n"), SYMBOL),),
                kind="table",
            ),
            Panel(
                "Latest executions",
                "the newest first",
                (
                    _latest(
                        "execution",
                        '"_time", "symbol", "side", "quantity", "price", "fee"',
                        ("quantity", "price", "fee", "n"),
                        ACCOUNT + SYMBOL,
                    ),
                ),
                kind="table",
            ),
        ),
    ),
)

NETWORK: Final = Dashboard(
    "spiketape-network",
    "spiketape: spiking network",
    (BUCKET, _tag("symbol", "symbol")),
    (
        (
            Panel(
                "Rate by area",
                "spikes a second and neuron, mean over symbols",
                (_windows("spikes", "rate", fn="mean", where=ONE_OF, by="area"),),
                "hertz",
            ),
            Panel("Spikes by area", "in each window", (_windows("spikes", "count", fn="sum", where=ONE_OF, by="area"),), stacked=True),
        ),
        (
            Panel(
                "Hidden rate by symbol",
                "spikes a second and neuron; symbols that share a shard are counted together",
                (_windows("spikes", "rate", fn="mean", where=ONE_OF + ' and r.area == "hidden"'),),
                "hertz",
            ),
            Panel(
                "Input rate by symbol",
                "spikes a second and neuron that the encoding gives",
                (_windows("spikes", "rate", fn="mean", where=ONE_OF + ' and r.area == "input"'),),
                "hertz",
            ),
        ),
        (
            Panel(
                "Queue imbalance", "-1 to 1: what a simple rule would look at", (_windows("quote", "imbalance", fn="mean", where=SYMBOL),)
            ),
            Panel("Confidence", "of signals, where the action changed", (_windows("signal", "confidence", where=SYMBOL),), "percentunit"),
        ),
        (
            Panel("Ticks by shard", "event time", (_windows("pipeline", "ticks", fn="sum", by="shard"),), stacked=True),
            Panel("Lateness by shard", "largest, against event time", (_windows("pipeline", "lateness", fn="max", by="shard"),), "s"),
        ),
    ),
)

FLOW: Final = Variable("flow", "flow", PromQL("label_values(spiketape_info, flow)", ""))
HERE: Final = '{flow=~"${flow:regex}"}'


def _rate(metric: str, by: str = "flow") -> PromQL:
    return PromQL(f"sum by ({by}) (rate(spiketape_{metric}{HERE}[$__rate_interval]))", f"{{{{{by}}}}}")


def _gauge(metric: str, by: str = "flow") -> PromQL:
    return PromQL(f"max by ({by}) (spiketape_{metric}{HERE})", " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(",")))


def _quantile(q: float, metric: str) -> PromQL:
    inner = f"sum by (le, flow, sink) (rate(spiketape_{metric}_bucket{HERE}[$__rate_interval]))"
    return PromQL(f"histogram_quantile({q}, {inner})", f"{{{{flow}}}} {{{{sink}}}} p{q * 100:.0f}")


PIPELINE: Final = Dashboard(
    "spiketape-pipeline",
    "spiketape: pipeline",
    (FLOW,),
    (
        (
            Panel(
                "Processes",
                "that answer",
                (PromQL(f"count by (flow) (spiketape_info{HERE})", "{{flow}}"),),
                kind="stat",
                width=8,
                height=5,
            ),
            Panel(
                "What is needed from outside",
                "1 where it answers",
                (_gauge("component_up", "flow, component"),),
                kind="stat",
                width=8,
                height=5,
            ),
            Panel("Stalled", "1 where nothing moves though it should", (_gauge("stalled"),), kind="stat", width=8, height=5),
        ),
        (
            Panel("Ticks", "taken in, a second", (_rate("ticks_total"),), "cps"),
            Panel("Lag in messages", "in the log and not taken in yet", (_gauge("lag_messages", "flow, partition"),)),
        ),
        (
            Panel(
                "Lag in event time",
                "clock less the largest event time; large for a recorded tape",
                (_gauge("event_lag_seconds", "flow, partition"),),
                "s",
            ),
            Panel("Slices open", "read and not done", (_gauge("slices_open"),)),
        ),
        (
            Panel("Transactions", "begin to commit", (_quantile(0.5, "transaction_seconds"), _quantile(0.99, "transaction_seconds")), "s"),
            Panel("Writes", "of a sink", (_quantile(0.5, "write_seconds"), _quantile(0.99, "write_seconds")), "s"),
        ),
        (
            Panel("Dead letters", "a second, by reason", (_rate("dead_letters_total", "reason"),), "cps", stacked=True),
            Panel("Refusals", "a second, by rule", (_rate("refusals_total", "rule"),), "cps", stacked=True),
        ),
        (
            Panel(
                "Spool",
                "waits on disk for InfluxDB, and how much may",
                (_gauge("spool_bytes"), _gauge("spool_limit_bytes")),
                "bytes",
                width=8,
            ),
            Panel("Epoch age", "of the recovery point under way", (_gauge("epoch_age_seconds"),), "s", width=8),
            Panel("Restarts", "from the recovery directory", (_gauge("restarts_total"),), width=8),
        ),
    ),
)

DASHBOARDS: Final = (TRADING, NETWORK, PIPELINE)


def written(dashboard: Dashboard) -> str:
    """The file of a dashboard."""
    return json.dumps(dashboard.json(), indent=1) + "\n"


if __name__ == "__main__":
    for d in DASHBOARDS:
        (FILES / f"{d.uid}.json").write_text(written(d))
