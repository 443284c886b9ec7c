"""What documents and alert rules tell people to type, and the alerts that they name, are there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from flows.cli.app import app
from tests.conftest import ROOT

ALERTS = ROOT / "infra" / "prometheus" / "alerts.yml"
TEXTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ALERTS)
MAIN: Any = typer.main.get_command(app)


def unknown_commands(text: str) -> list[str]:
    """Of `spiketape COMMAND`, in backticks, at the beginning of a line or behind a colon or bracket, those that there are not."""
    found = []
    for name, below in re.findall(r"(?m)(?:^|[`$(:] ?)spiketape ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?", text):
        command = MAIN.commands.get(name)
        subcommands = getattr(command, "commands", None)
        if command is None or (subcommands is not None and below and below not in subcommands):
            found.append(f"{name} {below}".strip())
    return found


def test_a_command_that_is_not_there_is_found() -> None:
    text = "do: spiketape control exclude.\n`spiketape control exclude-partition 3`, `spiketape replays`\nspiketape run trading"
    assert unknown_commands(text) == ["control exclude", "replays"]


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.name)
def test_every_command_that_is_named_is_there(path: Path) -> None:
    assert unknown_commands(path.read_text()) == []


def test_every_alert_that_failures_names_is_there() -> None:
    named = set(re.findall(r"\balert (\w+)", (ROOT / "docs" / "failures.md").read_text()))
    assert len(named) >= 2
    assert named <= set(re.findall(r"- alert: (\w+)", ALERTS.read_text()))
