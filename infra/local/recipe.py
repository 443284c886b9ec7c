"""How a server gets into the user's cache: once, under a pinned version, whole or not at all.

A recipe works in a folder of its own beside the place; only when everything is there is that folder renamed into the place. So what stands
in the place is finished, whatever interrupted an earlier attempt, and what an earlier attempt left is thrown away by the next one. What
Maven, Go and cargo had fetched until then is in their own caches, so the next attempt goes on from there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.local.errors import FetchError
from infra.local.tools import Tool, demand
from infra.place import cache_dir

Say = Callable[[str], None]

LOG_TAIL_LINES = 15


def servers_dir() -> Path:
    """Where built servers stand."""
    return cache_dir() / "servers"


@dataclass(frozen=True)
class Work:
    """One attempt of a recipe. `folder`: what is made here becomes the place. `log`: what the commands print. `say`: tells the steps."""

    name: str
    folder: Path
    log: Path
    say: Say

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Tells a step when it begins, and its seconds when it is done."""
        self.say(f"{self.name}: {what} ...")
        began = time.monotonic()
        yield
        self.say(f"{self.name}: {what}: {time.monotonic() - began:.1f} s")

    def run(self, *command: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, may_fail: bool = False) -> bool:
        """Runs a command of the recipe, and returns whether it succeeded; all its children end with it.

        Raises FetchError with the end of what it printed, unless it `may_fail`.
        """
        with self.log.open("ab") as log:
            log.write(f"$ {' '.join(command)}\n".encode())
            log.flush()
            child = subprocess.Popen(
                command, cwd=cwd or self.folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
            try:
                code = child.wait()
            except BaseException:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                raise
        if code and not may_fail:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
            msg = (
                f"{self.name} could not be made: {command[0]} ended with {code}. Mend this and run `spiketape servers fetch` again, which "
                f"goes on from what is already fetched. The end of {self.log}:\n{tail}"
            )
            raise FetchError(msg)
        return code == 0


@dataclass(frozen=True)
class Recipe:
    """`name` and `version` name the place; `tools` are needed to make it, `files` must be there at the end (paths in the place)."""

    name: str
    version: str
    tools: tuple[Tool, ...]
    files: tuple[str, ...]
    make: Callable[[Work], None]

    @property
    def place(self) -> Path:
        """The folder of the finished server, there or not."""
        return servers_dir() / f"{self.name}-{self.version}"

    @property
    def finished(self) -> bool:
        """Whether it is there."""
        return self.place.is_dir()

    @property
    def missing_tools(self) -> tuple[Tool, ...]:
        """Tools that are needed and not there; none where the server is finished."""
        return () if self.finished else tuple(t for t in self.tools if not t.there)

    def fetched(self, say: Say | None = None) -> Path:
        """The folder of the finished server, which is made first where it is missing; a second caller waits for the first.

        Raises MissingToolsError where tools are missing, FetchError where a step fails.
        """
        tell = say or (lambda _: None)
        if self.finished:
            return self.place
        demand(self.name, self.missing_tools, tell)
        self.place.parent.mkdir(parents=True, exist_ok=True)
        with (self.place.parent / f"{self.place.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                tell(f"{self.name}: another process is making it, waiting")
                fcntl.flock(lock, fcntl.LOCK_EX)
            if not self.finished:
                self._made(tell)
        return self.place

    def _made(self, say: Say) -> None:
        began = time.monotonic()
        for left in self.place.parent.glob(f"{self.place.name}.making-*"):
            shutil.rmtree(left)
        log = self.place.parent / f"{self.place.name}.log"
        log.unlink(missing_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{self.place.name}.making-", dir=self.place.parent))
        try:
            self.make(Work(self.name, folder, log, say))
            lacking = [f for f in self.files if not (folder / f).exists()]
            if lacking:
                msg = f"{self.name} {self.version} was made without {', '.join(lacking)}; what the steps printed is in {log}"
                raise FetchError(msg)
            folder.chmod(0o755)
            folder.rename(self.place)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        say(f"{self.name} {self.version}: in {self.place} after {time.monotonic() - began:.1f} s")


def environment(**added: str) -> dict[str, str]:
    """The environment of this process with variables added or replaced."""
    return {**os.environ, **added}


def first_on_path(folder: Path) -> str:
    """PATH with a folder before all others."""
    return os.pathsep.join((str(folder), os.environ.get("PATH", os.defpath)))
