"""What all local servers have in common: start, health, stop, kill, restart, pause, with the same data and port each time."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from infra.local.errors import ServerError
from infra.local.ports import free_port, is_free
from infra.local.process import LOG, POLL_S, FolderLock, Identity, log_tail, spawn, start_time


class LocalServer(ABC):
    """A server on the loopback address of this machine.

    `data`: its folder, made where it is missing; a server that is started on it again finds what it had. `port`: a fixed one; None
    takes the one that the folder had last, else a free one. `detached`: it outlives this process (`servers up`); otherwise it dies with it.
    """

    name: ClassVar[str]
    ports: ClassVar[tuple[str, ...]] = ("port",)
    starts_within_s: ClassVar[float] = 60.0
    stops_within_s: ClassVar[float] = 20.0

    def __init__(self, data: Path, port: int | None = None, *, detached: bool = False) -> None:
        self.data = data
        self.detached = detached
        self._ports = {} if port is None else {"port": port}
        self._child: subprocess.Popen[str] | None = None

    @abstractmethod
    def _prepare(self) -> None:
        """Writes what the server needs in its folder; called with the ports known and the lock held, before each start."""

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """The command that runs the server in the foreground."""

    @abstractmethod
    def healthy(self) -> bool:
        """Whether it answers now."""

    def _settle(self) -> None:  # noqa: B027 - most servers have nothing to settle
        """What is done once the server answers, at each start: nothing, unless a server says otherwise."""

    def _env(self) -> Mapping[str, str]:
        return os.environ

    @property
    def port(self) -> int:
        """The port on which clients reach it."""
        return self.ports_used["port"]

    @property
    def ports_used(self) -> dict[str, int]:
        """All its ports by name. Raises ServerError where it has not been started in this folder yet."""
        if set(self._ports) != set(self.ports):
            there = Identity.read(self.data)
            if there is None:
                msg = f"{self.name} has no port yet: start it first"
                raise ServerError(msg)
            self._ports = {**there.ports, **self._ports}
        return self._ports

    @property
    def identity(self) -> Identity | None:
        """The process that serves this folder now, whoever started it; None where none runs."""
        there = Identity.read(self.data)
        return there if there is not None and there.alive else None

    @property
    def running(self) -> bool:
        """Whether a process serves this folder now."""
        return self.identity is not None

    def start(self) -> Self:
        """Starts it and returns when it answers.

        Raises RefusedError where one runs on this folder already, ServerError with the end of its log where it ends or does not answer.
        """
        with FolderLock(self.data, self.name) as lock:
            self._choose_ports()
            self._prepare()
            pid, self._child = spawn(self._command(), self.data, self._env(), lock, self.detached)
            Identity(pid, start_time(pid) or "ended", self._ports).write(self.data)
        try:
            self._await_health()
            self._settle()
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """Asks it to end, kills it where that takes too long. Nothing happens where it does not run."""
        if (there := self.identity) is not None:
            there.end(self.stops_within_s)
        self._reap()

    def kill(self) -> None:
        """kill -9, at once; returns when it is gone."""
        if (there := self.identity) is not None:
            there.kill()
        self._reap()

    def restart(self) -> Self:
        """Starts it again with the same data and ports, after stopping it where it runs."""
        self.stop()
        return self.start()

    def pause(self) -> None:
        """Freezes it (SIGSTOP): connections stay open, nothing is answered."""
        self._demand().signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets a paused server go on."""
        self._demand().signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _demand(self) -> Identity:
        there = self.identity
        if there is None:
            msg = f"{self.name} does not run on {self.data}: start it first"
            raise ServerError(msg)
        return there

    def _choose_ports(self) -> None:
        last = Identity.read(self.data)
        wanted = self._ports
        known = {} if last is None else {name: port for name, port in last.ports.items() if is_free(port)}
        self._ports = {name: wanted.get(name) or known.get(name) or free_port() for name in self.ports}
        for name, port in self._ports.items():
            if not is_free(port):
                msg = f"{self.name} cannot have {name.replace('_', ' ')} {port}: another process listens there; end that or choose another"
                raise ServerError(msg)

    def _await_health(self) -> None:
        until = time.monotonic() + self.starts_within_s
        while not self.healthy():
            if not self.running:
                raise ServerError(f"{self.name} ended while it started. {self._last_words()}")
            if time.monotonic() > until:
                raise ServerError(f"{self.name} does not answer {self.starts_within_s:.0f} s after its start. {self._last_words()}")
            time.sleep(POLL_S)

    def _last_words(self) -> str:
        return f"The end of {self.data / LOG}:\n{log_tail(self.data)}"

    def _reap(self) -> None:
        if self._child is not None:
            for pipe in (self._child.stdin, self._child.stdout):
                if pipe is not None:
                    pipe.close()
            self._child.wait()
            self._child = None
