"""The page of a run: report.html, one file that needs no network."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from operators.sinks import RunFolder
from operators.sources.tape import Tape
from schemas.errors import UsageError


def load_run(folder: RunFolder) -> dict[str, Any]:
    """run.json of a finished run. Raises UsageError where the folder holds none, and says what to do."""
    run = folder.read_run()
    if run is None:
        msg = f"{folder.path} holds no finished run; go on with it by the same `spiketape replay`, or give the folder that it printed"
        raise UsageError(msg)
    return run


def write_report(folder: RunFolder, tape: Tape, variants: bool = True) -> Path:
    """Writes report.html of a finished run and returns its path."""
    run = load_run(folder)
    rows = "".join(f"<tr><th>{escape(k)}</th><td>{escape(str(v))}</td></tr>" for k, v in run.items() if not isinstance(v, dict | list))
    folder.report_html.write_text(f"<!doctype html><meta charset=utf-8><title>{escape(tape.path.name)}</title><table>{rows}</table>")
    return folder.report_html
