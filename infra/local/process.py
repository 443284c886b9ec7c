"""A server process of this machine: started in its own session, known again by process id and start time, ended with its children.

A running server holds the lock of its folder itself (an inherited file lock), so a folder is in use exactly as long as a server runs on it,
whoever started that and however it ended.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.local.errors import ServerError
from schemas.errors import RefusedError

KEEPER = Path(__file__).with_name("keeper.py")
LOG, LOCK, IDENTITY = "server.log", "server.lock", "server.json"
LOG_TAIL_BYTES = 2000
POLL_S = 0.02


@dataclass(frozen=True)
class Identity:
    """Which process serves a folder: its `pid`, and its `ports` by name.

    `started` is the kernel's start time of that pid, so that another process which was given the same pid later is not taken for it.
    """

    pid: int
    started: str
    ports: dict[str, int]

    @classmethod
    def read(cls, folder: Path) -> Identity | None:
        """What the folder says about its last server; None where none has run."""
        try:
            return cls(**json.loads((folder / IDENTITY).read_text()))
        except FileNotFoundError:
            return None

    def write(self, folder: Path) -> None:
        """Leaves it in the folder, at once or not at all."""
        new = folder / (IDENTITY + ".new")
        new.write_text(json.dumps(asdict(self)))
        new.replace(folder / IDENTITY)

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        return start_time(self.pid) == self.started

    def signal(self, number: int) -> None:
        """Sends a signal to the process and its children; nothing happens where it has ended."""
        if self.alive:
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                return

    def end(self, patience_s: float) -> None:
        """Asks the process to end, kills it and its children where it does not within `patience_s`, returns when it is gone."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        if not self.gone(patience_s):
            self.kill()

    def kill(self) -> None:
        """kill -9 for the process and its children; returns when it is gone."""
        self.signal(signal.SIGKILL)
        if not self.gone(30):
            msg = f"process {self.pid} is still there 30 s after kill -9: it waits for a disk or a debugger; look at /proc/{self.pid}/stack"
            raise ServerError(msg)

    def gone(self, patience_s: float) -> bool:
        """Waits until the process has ended; False where it has not within `patience_s`."""
        until = time.monotonic() + patience_s
        while self.alive:
            if time.monotonic() > until:
                return False
            time.sleep(POLL_S)
        return True


def start_time(pid: int) -> str | None:
    """When a process started, in the kernel's own words; None where there is none, or only its corpse (a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
        told = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        state, _, started = told.stdout.strip().partition(" ")
        return None if state.startswith("Z") else started.strip() or None
    return None if fields[0] in "ZX" else fields[19]


class FolderLock:
    """The lock of a server's folder. Raises RefusedError, naming who is there, where another server or another start holds it."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self.fd)
            there = Identity.read(folder)
            who = (
                "another start of it"
                if there is None or not there.alive
                else f"process {there.pid} at port {next(iter(there.ports.values()))}"
            )
            msg = f"{name} already runs on {folder}: {who}. Use that one (spiketape servers status), or stop it (spiketape servers down)"
            raise RefusedError(msg) from None

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def spawn(
    command: Sequence[str], folder: Path, env: Mapping[str, str], lock: FolderLock, detached: bool
) -> tuple[int, subprocess.Popen[str]]:
    """Starts a server whose output goes to the log of its folder; it inherits the folder's lock.

    `detached`: it survives this process. Otherwise a keeper (keeper.py) kills it when this process ends in whatever way.
    Returns the server's pid and the child of this process (server or keeper), which must be waited for.
    """
    with (folder / LOG).open("ab") as log:
        if detached:
            server = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(env),
                text=True,
                start_new_session=True,
                pass_fds=(lock.fd,),
            )
            return server.pid, server
        keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(KEEPER), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**env, "KEEPER_FDS": str(lock.fd)},
            text=True,
            start_new_session=True,
            pass_fds=(lock.fd,),
        )
        assert keeper.stdout is not None
        told = keeper.stdout.readline()
        if not told:
            msg = f"{command[0]} could not be started:\n{log_tail(folder)}"
            raise ServerError(msg)
        return int(told), keeper


def log_tail(folder: Path) -> str:
    """The last lines that a server has written to its log."""
    try:
        return (folder / LOG).read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
    except FileNotFoundError:
        return "(it has written no log)"
