"""What a long-running process writes on standard error: one JSON object a line, or a line for people on a terminal.

Every line has the time (UTC), the level, the event, and what the process is: flow, deployment, and `run`, the correlation id of this
start: the lines that the process writes to the topic `audit` have it too, and so have its run folder's `starts.jsonl` (`start`) and
run.json. What is about a shard, a slice, a partition says which. Connectors and steps say what they have to say by `Live.tell`
(`heard`), once for each thing that happened, never for each tick.

Secrets never get out: whatever a line says, the values of secret settings are replaced in it.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TextIO

import structlog
from pydantic import BaseModel, SecretStr
from structlog.typing import Processor

from operators.timeline.live import Live

HIDDEN: Final = "***"
SHORTEST_SECRET: Final = 3
"""A secret of fewer characters is no secret, and replacing it would garble every line."""

Log = structlog.stdlib.BoundLogger


class _Masked(logging.Formatter):
    """Formats as another formatter does, then replaces secrets, also where JSON has escaped their characters."""

    def __init__(self, inner: logging.Formatter, secrets: Sequence[str]) -> None:
        super().__init__()
        self._inner = inner
        long = {s for s in secrets if len(s) >= SHORTEST_SECRET}
        self._secrets = sorted(long | {json.dumps(s)[1:-1] for s in long} | {repr(s)[1:-1] for s in long}, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        text = self._inner.format(record)
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text


@contextmanager
def logging_to(
    flow: str,
    deployment: str,
    run: str,
    secrets: Sequence[str] = (),
    stream: TextIO | None = None,
    level: int = logging.INFO,
) -> Iterator[Log]:
    """Sets logging up for this process while the block runs, and gives its log.

    `run`: the correlation id of this start. `stream`: None for standard error as it is now: the engine may redirect it later, what is
    logged still arrives.
    """
    out = _own_standard_error() if stream is None else stream
    identity = {"flow": flow, "deployment": deployment, "run": run}

    def identified(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {**identity, **event}

    shared: list[Processor] = [
        identified,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    terminal = out.isatty()
    last: list[Processor] = (
        [structlog.dev.ConsoleRenderer(timestamp_key="time")]
        if terminal
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        _Masked(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
                processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
            ),
            secrets,
        )
    )
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    root.handlers[:] = [handler]
    root.setLevel(level)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    try:
        yield structlog.get_logger()
    finally:
        structlog.reset_defaults()
        root.handlers[:], root.level = before
        handler.flush()
        if stream is None:
            out.close()


@contextmanager
def heard(live: Live, log: Log, run: str) -> Iterator[None]:
    """What is told to `live` while the block runs stands in the log; `run`: the correlation id of this start."""

    def tell(level: str, event: str, **fields: Any) -> None:
        getattr(log, level)(event, **fields)

    before, live.run, live.tell = live.tell, run, tell
    try:
        yield
    finally:
        live.tell = before


def _own_standard_error() -> TextIO:
    return os.fdopen(os.dup(sys.stderr.fileno()), "w", buffering=1, encoding="utf-8", errors="backslashreplace")


def secrets_of(value: object) -> tuple[str, ...]:
    """The plain values of every secret in settings, for `logging_to`; also through mappings and sequences."""
    if isinstance(value, SecretStr):
        return (value.get_secret_value(),)
    if isinstance(value, BaseModel):
        return tuple(s for name in type(value).model_fields for s in secrets_of(getattr(value, name)))
    if isinstance(value, Mapping):
        return tuple(s for v in value.values() for s in secrets_of(v))
    if isinstance(value, list | tuple):
        return tuple(s for v in value for s in secrets_of(v))
    return ()
