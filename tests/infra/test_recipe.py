"""How servers get into the cache: whole or not at all, whatever interrupts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from infra.local import FetchError, MissingToolsError
from infra.local.recipe import Recipe, Work
from infra.local.tools import Tool
from tests.servers import home

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("SPIKETAPE_CACHE", str(tmp_path))
    return tmp_path


def made_of(work: Work) -> None:
    """A server of two files."""
    with work.step("first half"):
        work.run("sh", "-c", "echo 1 > one")
    with work.step("second half"):
        work.run("sh", "-c", "echo 2 > two")


def recipe(make: object = made_of, tools: tuple[Tool, ...] = ()) -> Recipe:
    """A recipe of a small server."""
    return Recipe("small", "1.0", tools, ("one", "two"), make)  # type: ignore[arg-type]


def test_finished_server_is_made_once_and_each_step_is_told_with_its_time(cache: Path) -> None:
    told: list[str] = []
    place = recipe().fetched(told.append)
    assert place == cache / "servers/small-1.0"
    assert sorted(p.name for p in place.iterdir()) == ["one", "two"]
    assert [t.split(": ")[1] for t in told[:4]] == ["first half ...", "first half", "second half ...", "second half"]
    assert told[1].endswith(" s")
    told.clear()
    assert recipe().fetched(told.append) == place
    assert told == []


def test_failed_step_leaves_nothing_that_looks_finished_and_says_what_failed(cache: Path) -> None:
    def half(work: Work) -> None:
        work.run("sh", "-c", "echo 1 > one")
        work.run("sh", "-c", "echo the disk is full >&2; exit 3")

    with pytest.raises(FetchError, match=r"(?s)sh ended with 3.*the disk is full"):
        recipe(half).fetched()
    assert not recipe().finished
    assert [p.name for p in (cache / "servers").iterdir() if p.is_dir()] == []
    assert recipe().fetched().is_dir()


def test_server_that_lacks_a_file_at_the_end_is_not_finished() -> None:
    def forgetful(work: Work) -> None:
        work.run("sh", "-c", "echo 1 > one")

    with pytest.raises(FetchError, match="without two"):
        recipe(forgetful).fetched()
    assert not recipe().finished


INTERRUPTED = """
import signal
from infra.local.recipe import Recipe

signal.signal(signal.SIGINT, signal.default_int_handler)  # where the tests run as a shell's background job, it begins ignored

def make(work):
    work.run("sh", "-c", "echo 1 > one")
    print("half", flush=True)
    work.run("sleep", "600")

Recipe("small", "1.0", (), ("one", "two"), make).fetched()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_attempt_is_thrown_away_by_the_next(cache: Path, number: signal.Signals) -> None:
    child = subprocess.Popen([sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)
    assert child.stdout is not None
    assert child.stdout.readline() == "half\n"
    child.send_signal(number)
    child.wait()
    child.stdout.close()
    assert not recipe().finished
    place = recipe().fetched()
    assert sorted(p.name for p in place.parent.iterdir() if p.is_dir()) == ["small-1.0"]
    assert (place / "two").read_text() == "2\n"


def test_two_builders_at_once_make_it_once(cache: Path) -> None:
    made: list[Path] = []
    begun, go_on = threading.Event(), threading.Event()

    def slow(work: Work) -> None:
        made.append(work.folder)
        begun.set()
        assert go_on.wait(30)
        made_of(work)

    waits = threading.Event()
    first = threading.Thread(target=recipe(slow).fetched)
    second = threading.Thread(target=recipe(slow).fetched, args=(lambda text: waits.set() if "another process" in text else None,))
    first.start()
    assert begun.wait(30)
    second.start()
    assert waits.wait(30)
    go_on.set()
    first.join()
    second.join()
    assert len(made) == 1
    assert recipe().finished


def test_missing_programs_are_named_with_how_to_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    tools = (Tool("no-such-program", "no-such-package"), Tool("nor-this", otherwise="from https://example.org"))
    with pytest.raises(
        MissingToolsError, match=r"(?s)no-such-program: apt-get install no-such-package.*nor-this: from https://example.org"
    ):
        recipe(tools=tools).fetched()
    assert recipe(tools=tools).missing_tools == tools


def test_in_ci_root_installs_debians_packages_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "apt-get").write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n[ "$1" = install ] && touch {fake}/wanted && chmod +x {fake}/wanted\n'
    )
    (fake / "apt-get").chmod(0o755)
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("PATH", f"{fake}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    told: list[str] = []
    assert recipe(tools=(Tool("wanted", "wanted-package"),)).fetched(told.append).is_dir()
    assert (tmp_path / "asked").read_text().splitlines() == ["update -qq", "install -y -qq wanted-package"]
    assert told[0] == "small: apt-get install wanted-package (because CI is set)"


def test_a_server_that_cannot_be_made_skips_a_test_and_fails_it_in_ci(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What tests/servers.py does for every test that wants one."""

    def failing(work: Work) -> None:
        work.run("sh", "-c", "exit 3")

    assert home(recipe()) == recipe().place
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="sh ended with 3"):
        home(Recipe("failing", "1.0", (), ("one",), failing))
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="(?s)CI is set, so this server must be there: .*sh ended with 3"):
        home(Recipe("failing", "1.0", (), ("one",), failing))
