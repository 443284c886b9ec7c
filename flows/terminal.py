"""What a command prints: results on standard output (a table, or one JSON object), everything else on standard error."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from schemas.errors import UsageError

stdout = Console(soft_wrap=False)
stderr = Console(stderr=True)

LARGEST_TIME_NS = 2**62
"""Later times are never believed (operators/timeline/guard.py, which is not imported here because it compiles)."""

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]


def print_json(value: Any) -> None:
    """One object on standard output."""
    sys.stdout.write(json.dumps(value, default=str, indent=1) + "\n")


def say(text: str) -> None:
    """A line for the person who looks on."""
    stderr.print(text, highlight=False, soft_wrap=True)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[int] = (), header: bool = True) -> Table:
    """A table; the columns numbered in `right` are aligned to the right. `header`: whether it shows the columns' names."""
    out = Table(title=title, title_justify="left", title_style="bold", show_header=header, padding=(0, 1))
    for i, column in enumerate(columns):
        out.add_column(column, justify="right" if i in right else "left", overflow="fold")
    for row in rows:
        out.add_row(*("" if x is None else str(x) for x in row))
    return out


def parsed_time(text: str, option: str) -> int:
    """ISO time (UTC where no zone is given) or integer nanoseconds since 1970, as nanoseconds UTC."""
    try:
        if text.lstrip("-").isdecimal():
            ts_ns = int(text)
        else:
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
            ts_ns = (delta.days * 86_400 + delta.seconds) * 1_000_000_000 + delta.microseconds * 1000
    except (ValueError, OverflowError) as e:
        msg = f"{option} {text!r}: expected ISO time such as 2013-10-08T09:30:00-04:00, or nanoseconds since 1970"
        raise UsageError(msg) from e
    if not 0 <= ts_ns < LARGEST_TIME_NS:
        msg = f"{option} {text!r}: expected a time from 1970 to 2116"
        raise UsageError(msg)
    return ts_ns


def iso_time(ts_ns: int | None) -> str:
    """A time in nanoseconds UTC as ISO text, to the last digit that is not 0; `-` for None."""
    if ts_ns is None:
        return "-"
    seconds, fraction = divmod(ts_ns, 1_000_000_000)
    digits = f".{fraction:09d}".rstrip("0").rstrip(".")
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S") + digits + "Z"


_UNITS_NS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86_400 * 10**9}


def parsed_duration(text: str, option: str) -> int:
    """A duration such as 500ms, 30s, 5m, 2h or 1d, not below 0, as nanoseconds."""
    number = text.rstrip("msdh")
    unit = text[len(number) :]
    try:
        duration_ns = int(Decimal(number) * _UNITS_NS[unit])
    except (ArithmeticError, ValueError, KeyError) as e:
        msg = f"{option} {text!r}: expected a number and one of {', '.join(_UNITS_NS)}, such as 5m"
        raise UsageError(msg) from e
    if not 0 <= duration_ns < LARGEST_TIME_NS:
        msg = f"{option} {text!r}: expected a duration from 0 to 146 years"
        raise UsageError(msg)
    return duration_ns


@contextmanager
def progress(what: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
    """Tells how far long work is: a bar with rate and time left where a person looks on, else a plain line every few seconds."""
    if stderr.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]} " + unit + "/s"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=stderr, transient=True) as bar:
            task = bar.add_task(what, total=total, rate="")
            began = time.monotonic()

            def bar_moved(done: int) -> None:
                rate = done / max(time.monotonic() - began, 1e-9)
                bar.update(task, completed=done, rate=f"{rate:,.0f}")

            yield bar_moved
        return
    with _plain_lines(what, total, unit) as moved:
        yield moved


@contextmanager
def _plain_lines(what: str, total: int | None, unit: str, every_s: float = 5.0) -> Iterator[Callable[[int], None]]:
    at = 0
    ended = threading.Event()
    began = time.monotonic()

    def moved(done: int) -> None:
        nonlocal at
        at = done

    def speak() -> None:
        while not ended.wait(every_s):
            rate = at / (time.monotonic() - began)
            left = "" if not total or not rate else f", {max(total - at, 0) / rate:,.0f} s left"
            of = "" if not total else f" of {total:,} ({100 * at / total:.0f}%)"
            say(f"{what}: {at:,}{of} {unit}, {rate:,.0f} {unit}/s{left}")

    speaker = threading.Thread(target=speak, daemon=True)
    speaker.start()
    try:
        yield moved
    finally:
        ended.set()
        speaker.join()
