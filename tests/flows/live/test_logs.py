"""Structured logs: what stands in every line, and that no secret does."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from typing import Any

import pytest
import structlog
from pydantic import BaseModel, SecretStr

from flows.live.logs import heard, logging_to, secrets_of
from operators.timeline.live import Live
from tests.conftest import ROOT


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_every_line_has_time_level_and_who_says_it_and_what_was_bound() -> None:
    out = io.StringIO()
    with logging_to("signals", "demo", "run-7", stream=out) as log:
        log.bind(shard=3, slice=1234).warning("poison", topic="ticks", offset=9)
        logging.getLogger("kafka.client").error("connection %s lost", "b1")
    first, second = lines(out.getvalue())
    assert first.pop("time").endswith("Z")
    assert first == {
        "flow": "signals",
        "deployment": "demo",
        "run": "run-7",
        "shard": 3,
        "slice": 1234,
        "topic": "ticks",
        "offset": 9,
        "event": "poison",
        "level": "warning",
    }
    assert (second["event"], second["logger"], second["level"], second["flow"]) == (
        "connection b1 lost",
        "kafka.client",
        "error",
        "signals",
    )


def test_what_a_connector_tells_stands_in_the_log_of_its_process_while_that_runs() -> None:
    out, live = io.StringIO(), Live()
    live.tell("warning", "before", shard=1)
    with logging_to("book", "demo", "run-8", stream=out) as log, heard(live, log, "run-8"):
        live.tell("warning", "dead letters", shard=7, slice=1234, count=3)
        live.component("kafka").failing("no broker answers")
        live.tell("debug", "committed", slice=5)
        assert live.run == "run-8"
    live.tell("warning", "afterwards", shard=2)
    first, second = lines(out.getvalue())
    assert (first["event"], first["run"], first["shard"], first["slice"], first["count"]) == ("dead letters", "run-8", 7, 1234, 3)
    assert (second["event"], second["level"], second["component"]) == ("failing", "warning", "kafka")
    verbose = io.StringIO()
    with logging_to("book", "demo", "run-8", stream=verbose, level=logging.DEBUG) as log, heard(live, log, "run-8"):
        live.tell("debug", "committed", slice=5)
    assert [line["event"] for line in lines(verbose.getvalue())] == ["committed"]


def test_afterwards_logging_is_as_it_was() -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    with logging_to("signals", "demo", "r", stream=io.StringIO()):
        assert root.handlers != before[0]
    assert (root.handlers, root.level) == before
    assert not structlog.is_configured()


SECRET = 'pa"ss\\wörd'


@pytest.mark.parametrize("terminal", [False, True])
def test_a_secret_is_replaced_wherever_it_stands(terminal: bool) -> None:
    class Out(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    out = Out()
    with logging_to("book", "d", "r", (SECRET, "x"), stream=out) as log:
        log.info(f"connecting as {SECRET}", url=f"https://u:{SECRET}@host", tree={"deep": [SECRET]}, letter="x")
        try:
            raise ValueError(f"refused: {SECRET}")
        except ValueError:
            log.exception("failed")
        logging.getLogger("lib").error("told %s", SECRET)
    text = out.getvalue()
    for shown in (SECRET, json.dumps(SECRET)[1:-1], repr(SECRET)[1:-1], "wörd", "w\\u00f6rd"):
        assert shown not in text
    assert text.count("***") >= 5
    assert "Traceback" in text


class Inner(BaseModel):
    password: SecretStr = SecretStr("one")
    passed: dict[str, SecretStr] = {"sasl.password": SecretStr("two")}
    several: tuple[SecretStr, ...] = (SecretStr("three"),)
    host: str = "open"


class Outer(BaseModel):
    inner: Inner = Inner()
    nothing: SecretStr | None = None


def test_the_secrets_of_settings_are_found_at_any_depth() -> None:
    assert secrets_of(Outer()) == ("one", "two", "three")


REDIRECTED = """
import os, sys
from flows.live.logs import logging_to
with logging_to("trading", "d", "r") as log:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    log.info("still heard")
"""


def test_lines_arrive_though_the_engine_redirects_standard_error() -> None:
    ended = subprocess.run([sys.executable, "-c", REDIRECTED], cwd=ROOT, capture_output=True, text=True, timeout=50, check=True)
    assert [line["event"] for line in lines(ended.stderr)] == ["still heard"]
