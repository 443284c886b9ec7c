"""What every test may ask for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest_plugins = ["tests.servers", "tests.disks"]

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def market_data() -> Path:
    """The folder of recorded markets; the test is skipped, with the reason, where it is missing."""
    path = Path(os.environ.get("SPIKETAPE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (path / "README.md").is_file():
        pytest.skip(f"recorded markets are not at {path}; set SPIKETAPE_TEST_DATA to their folder")
    return path


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    def told(self, code: int, *words: str) -> None:
        """Asserts that the command failed with `code` and told why in one clear message that has all `words`."""
        assert self.code == code, self.err
        assert "Traceback" not in self.err
        assert "panicked" not in self.err
        assert self.err.count("error: ") + self.err.count("─ Error ─") == 1, self.err
        for word in words:
            assert word in self.err


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs the command line in this process (no start-up to wait for); what it does not catch fails the test."""
    from flows import terminal
    from flows.cli import main

    monkeypatch.setattr(terminal.stderr, "_file", None)
    monkeypatch.setenv("COLUMNS", "120")

    def call(*arguments: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["spiketape", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as e:
            code = int(e.code or 0)
        return Ended(code, *capfd.readouterr())

    return call
