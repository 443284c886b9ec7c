"""The run folder: what is in it, who may use it, and what a start in it means.

run.json, settings.json, report.html, lake/, recovery/, variants.json (what the report computed), begin.json (where a live run began at the
end of the log), and two files of its own:
identity.json says which job the folder holds, lock is held by the process that uses it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from enum import Enum
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import schemas
from operators.sinks.delta import failure
from schemas.durable import PART, write_whole
from schemas.errors import LakeError, RefusedError

DELETED: Final = (
    "run.json",
    "recovery",
    "lake",
    "spool",
    "starts.jsonl",
    "begin.json",
    "settings.json",
    "variants.json",
    "report.html",
    "identity.json",
)
"""What a run may hold, in the order in which it is deleted: cut short anywhere, the rest is no run that is gone on with."""
SOURCES: Final = ("schemas", "operators", "flows")


class Decision(Enum):
    """What a start in a folder means."""

    FRESH = "fresh"  # nothing is there (any more)
    RESUME = "resume"  # an unfinished run of the same job
    FINISHED = "finished"  # a finished run of the same job: report it, run nothing


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes two starts the same job: hexadecimal hashes. Workers, batches, epochs and speed are not part of it."""

    tape: str
    settings: str
    model: str
    code: str


class RunFolder:
    """The paths of a run, and its JSON files, written whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run_json = path / "run.json"
        self.settings_json = path / "settings.json"
        self.report_html = path / "report.html"
        self.variants_json = path / "variants.json"
        self.lake = path / "lake"
        self.recovery = path / "recovery"
        self._identity = path / "identity.json"
        self._lock = path / "lock"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder for this process while the block runs; makes it if need be.

        Raises RefusedError naming the process that uses it, LakeError where the folder cannot be written. The system releases
        the lock of a process that dies.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = self._lock.open("a+")
        except OSError as e:
            raise failure(self.path, "written", e) from e
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as e:
                file.seek(0)
                owner = file.read().strip() or "unknown"
                msg = f"run folder {self.path} is in use by process {owner}; wait for it to end, or stop it with: kill -TERM {owner}"
                raise RefusedError(msg) from e
            file.seek(0)
            file.truncate()
            with suppress(OSError):  # on a full disk the lock holds all the same, without a name
                file.write(str(os.getpid()))
                file.flush()
            yield

    def decide(self, identity: Identity, fresh: bool) -> Decision:
        """What to do in this folder; call it with the lock held. With `fresh` what is there is deleted.

        Raises RefusedError (exit code 3) where the folder holds another job, naming what differs, or is no run folder.
        """
        self._sweep()
        there = {p.name for p in self.path.iterdir()} - {self._lock.name}
        if not there:
            self._begin(identity)
            return Decision.FRESH
        if not (self._identity.name in there or (fresh and not there - set(DELETED))):
            msg = f"{self.path} is not empty and holds no run; give another --out"
            raise RefusedError(msg)
        if fresh:
            self._delete()
            self._begin(identity)
            return Decision.FRESH
        held = self._held()
        if held is None:
            msg = f"{self._identity} went away while it was read; run the same command again"
            raise LakeError(msg)
        if held != asdict(identity):
            differ = [name for name, value in asdict(identity).items() if held.get(name) != value]
            state = "a finished run" if self.run_json.exists() else "an unfinished run"
            msg = (
                f"{self.path} holds {state} of another job: {', '.join(differ)} differ{'s' if len(differ) == 1 else ''}; "
                "give another --out, or --fresh to delete it and start over"
            )
            raise RefusedError(msg)
        return Decision.FINISHED if self.run_json.exists() else Decision.RESUME

    def identity(self) -> Identity | None:
        """Which job the folder holds; None where it holds none."""
        held = self._held()
        try:
            return None if held is None else Identity(**held)
        except TypeError:
            return None

    def write_run(self, run: Mapping[str, Any]) -> None:
        """Writes run.json, with which the run is finished: call it last."""
        write_json(self.run_json, run)

    def read_run(self) -> dict[str, Any] | None:
        """run.json, or None where the run is not finished."""
        return read_json(self.run_json)

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Writes settings.json."""
        write_json(self.settings_json, settings)

    def read_settings(self) -> dict[str, Any] | None:
        """settings.json, or None."""
        return read_json(self.settings_json)

    def write_variants(self, variants: Mapping[str, Any]) -> None:
        """Writes variants.json: what the report computed by running the account again with other settings."""
        write_json(self.variants_json, variants)

    def read_variants(self) -> dict[str, Any] | None:
        """variants.json, or None."""
        return read_json(self.variants_json)

    def _held(self) -> dict[str, Any] | None:
        return read_json(self._identity)

    def _begin(self, identity: Identity) -> None:
        write_json(self._identity, asdict(identity))

    def _delete(self) -> None:
        """Deletes what a run wrote. Folders leave by a rename: cut short anywhere, the rest is a folder that can be gone on with."""
        try:
            for name in DELETED:
                path = self.path / name
                if path.exists():
                    path.replace(path.with_name(name + PART))
                    self._sweep()
        except OSError as e:
            raise failure(self.path, "deleted", e) from e

    def _sweep(self) -> None:
        """Removes what a write or a deletion that was cut short has left."""
        for path in self.path.glob("*" + PART):
            if path.name.removesuffix(PART) not in DELETED:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON file whole or not at all, and to the disk. Raises LakeError."""
    content = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        write_whole(path, content.encode())
    except OSError as e:
        raise failure(path, "written", e) from e


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None where the file is not there. Raises LakeError where it is something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as e:
        raise failure(path, "read", e) from e
    except ValueError as e:
        msg = f"{path} is no valid JSON ({e}); start over with --fresh"
        raise LakeError(msg) from e
    if not isinstance(value, dict):
        msg = f"{path} holds no JSON object; start over with --fresh"
        raise LakeError(msg)
    return value


@lru_cache(maxsize=1)
def code_version() -> str:
    """SHA-256, hexadecimal, of the package's version and all source files of schemas, operators and flows: names and contents."""
    try:
        number = version("spiketape")
    except PackageNotFoundError:
        number = "unknown"
    digest = hashlib.sha256(number.encode())
    root = Path(schemas.__file__).parent.parent
    for package in SOURCES:
        for file in sorted((root / package).rglob("*.py")):
            content = file.read_bytes()
            digest.update(f"\n{file.relative_to(root).as_posix()} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()
