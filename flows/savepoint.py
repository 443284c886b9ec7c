"""Savepoints: a run folder as of one moment, copied while its flow runs or after it ended, and put back.

A savepoint is a folder with `manifest.json` (whose it is, of which release, every file with its SHA-256) and `run/`, what is needed to go
on: the recovery store, copied first and as of one moment, and the lake and whatever else the run folder holds, copied after it, so that
they are never behind it. It gets its name when it is complete; what was cut short ends in `.part`, and the next one removes it.

Restoring never touches a folder in use, nor one of another job. While it is under way the folder has no `identity.json`, so no
run starts in it; cut short anywhere, the same command does it again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from flows.folder_copy import FileSum, copy_folder, copy_lake, sums_of, synced
from flows.recovery_store import copy_store, read_store
from operators.sinks.delta import failure
from operators.sinks.runfolder import RunFolder, code_version, read_json, write_json
from schemas.durable import PART
from schemas.errors import LakeError, RefusedError, SavepointError, UsageError

MANIFEST: Final = "manifest.json"
CONTENT: Final = "run"
VERSION: Final = 1
RESTORING: Final = "restoring.json"
"""In a run folder that a savepoint is being put into."""
LEFT_OUT: Final = ("lock", "health.json", "report.html", RESTORING)
"""What belongs to a process or can be made again."""
APART: Final = ("recovery", "lake")
"""What is not copied file by file."""
_CODE: Final = re.compile("[0-9a-f]{64}")
"""A release, in the identity of a run that is bound to one."""
JOB: Final = ("tape", "settings", "model")
"""Of an identity: what must be the same whatever the release."""


@dataclass(frozen=True)
class Savepoint:
    """A complete savepoint. `identity`: the job it belongs to; `epoch`: of the recovery store; `lake`: whether it holds the lake."""

    path: Path
    made: str
    identity: dict[str, Any]
    epoch: int
    lake: bool
    files: tuple[FileSum, ...]

    @property
    def size_bytes(self) -> int:
        return sum(f.size_bytes for f in self.files)

    def as_json(self) -> dict[str, Any]:
        return {
            "savepoint": str(self.path),
            "made": self.made,
            "epoch": self.epoch,
            "lake": self.lake,
            "files": len(self.files),
            "bytes": self.size_bytes,
        }


def save(run: Path, out: Path, keep: int, with_lake: bool = True) -> tuple[Savepoint, tuple[Path, ...]]:
    """Makes a savepoint of a run folder in the folder `out`, then removes all but the latest `keep` of the same job there.

    `with_lake`: whether the lake is copied too; without it a savepoint can be put back only where the lake is. Returns the savepoint and
    those removed. Raises SavepointError, RefusedError, LakeError.
    """
    if keep < 1:
        msg = f"--keep {keep}: at least 1 is kept"
        raise UsageError(msg)
    folder = RunFolder(run)
    identity = read_json(run / "identity.json")
    if identity is None:
        msg = f"{run} holds no run: nothing to save"
        raise SavepointError(msg)
    with _alone_in(out):
        for stale in out.glob("*" + PART):
            shutil.rmtree(stale)
        made = datetime.now(UTC)
        final = _free_name(out, made.strftime("%Y%m%dT%H%M%SZ"))
        part = final.with_name(final.name + PART)
        try:
            content = part / CONTENT
            content.mkdir(parents=True)
            finished = folder.read_run()
            if finished is not None:
                write_json(content / folder.run_json.name, finished)
            copy_store(folder.recovery, content / "recovery")
            store = read_store(content / "recovery")
            if with_lake and folder.lake.is_dir():
                copy_lake(folder.lake, content / "lake")
            copy_folder(run, content, leave_out=(*LEFT_OUT, *APART, folder.run_json.name))
            files = sums_of(content)
            savepoint = Savepoint(final, made.isoformat(), identity, store.epoch, (content / "lake").is_dir(), files)
            _write_manifest(part, savepoint, store.steps)
            synced(part)
            part.rename(final)
            synced(out)
        except OSError as e:
            shutil.rmtree(part, ignore_errors=True)
            raise failure(part, "written", e) from e
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        ours = [p for p in savepoints_in(out) if _identity_of(p) == identity]
        gone = tuple(ours[:-keep])
        for old in gone:
            leaving = old.with_name(old.name + PART)
            old.rename(leaving)
            shutil.rmtree(leaving)
    return savepoint, gone


def savepoints_in(folder: Path) -> list[Path]:
    """The complete savepoints in a folder, oldest first."""
    return sorted(m.parent for m in folder.glob(f"*/{MANIFEST}") if not m.parent.name.endswith(PART))


def opened(path: Path) -> Savepoint:
    """The savepoint in a folder, or the latest of those in it. Raises SavepointError where there is none or its manifest is damaged.

    Only the manifest is checked here; `restore` checks every file.
    """
    if not (path / MANIFEST).exists():
        inside = savepoints_in(path)
        if not inside:
            msg = f"{path} holds no savepoint"
            raise SavepointError(msg)
        path = inside[-1]
    try:
        manifest = read_json(path / MANIFEST)
    except LakeError:
        manifest = None
    if manifest is None or manifest.pop("digest", None) != _digest(manifest):
        msg = f"{path / MANIFEST} is not what was written: the savepoint is damaged, take another"
        raise SavepointError(msg)
    if manifest["version"] != VERSION:
        msg = f"{path}: a savepoint of version {manifest['version']}, this code knows {VERSION}"
        raise SavepointError(msg)
    files = tuple(FileSum(f["path"], f["bytes"], f["sha256"]) for f in manifest["files"])
    return Savepoint(path, manifest["made"], manifest["identity"], manifest["epoch"], manifest["lake"], files)


def restore(savepoint: Savepoint, run: Path, other_code: bool = False) -> tuple[str, ...]:
    """Puts a savepoint into a run folder: a new one, or one of the same job, whose state it replaces.

    What the folder holds beside its state (the lake, a spool) is newer and stays: rows and points that come again are left out.
    `other_code`: whether a savepoint of a run that is bound to another release may be put in; the flow then migrates its state, or refuses
    it when it starts. Live runs are bound to no release.
    Returns what was put in. Raises RefusedError for a folder in use, of another job, or with a finished run, SavepointError for a
    damaged savepoint; the folder is then as it was.
    """
    made_by, code = str(savepoint.identity.get("code")), code_version()
    bound = _CODE.fullmatch(made_by) is not None and made_by != code
    if bound and not other_code:
        msg = (
            f"{savepoint.path} was made by another release ({made_by[:12]}, this is {code[:12]}): restore it with that release, "
            "or let this one take its state over with --force"
        )
        raise RefusedError(msg)
    folder = RunFolder(run)
    with folder.locked():
        _may_take(folder, savepoint)
        names = sorted({f.path.partition("/")[0] for f in savepoint.files} - {"identity.json"})
        wanted = [n for n in names if n == "recovery" or not (run / n).exists()]
        try:
            _stage(savepoint, run, wanted)
            _switch(savepoint, run, wanted, {**savepoint.identity, "code": code if bound else made_by})
        except OSError as e:
            raise failure(run, "written", e) from e
    return tuple(wanted)


def _may_take(folder: RunFolder, savepoint: Savepoint) -> None:
    """Raises RefusedError where the folder must not take the savepoint."""
    held = read_json(folder.path / "identity.json")
    there = sorted(p.name for p in folder.path.iterdir() if p.name != "lock" and not p.name.endswith(PART))
    if held is None and there and not (folder.path / RESTORING).exists():
        msg = f"{folder.path} is not empty and holds no run; give another --to"
        raise RefusedError(msg)
    if held is None:
        return
    differ = [name for name in JOB if held.get(name) != savepoint.identity.get(name)]
    if differ:
        listed = ", ".join(differ) + (" differs" if len(differ) == 1 else " differ")
        msg = f"{folder.path} holds another job than {savepoint.path}: {listed}; give another --to"
        raise RefusedError(msg)
    if folder.run_json.exists():
        msg = f"{folder.path} holds a finished run; give another --to"
        raise RefusedError(msg)


def _stage(savepoint: Savepoint, run: Path, wanted: list[str]) -> None:
    """Copies what is wanted beside what is there, and checks every copied file against the manifest."""
    for name in (*savepoint_names(savepoint), "replaced"):
        _removed(run / (name + PART))
    try:
        for name in wanted:
            source = savepoint.path / CONTENT / name
            if source.is_dir():
                shutil.copytree(source, run / (name + PART))
            elif source.exists():
                shutil.copy2(source, run / (name + PART))
        for name in wanted:
            expected = {f.path: f for f in savepoint.files if f.path.partition("/")[0] == name}
            found = {f.path: f for f in sums_of(run / (name + PART), name)}
            for path in sorted(expected.keys() | found.keys()):
                if expected.get(path) != found.get(path):
                    what = "is missing" if path not in found else "does not belong to it" if path not in expected else "has changed"
                    msg = f"{savepoint.path / CONTENT / path} {what}: the savepoint is damaged, take another; nothing was restored"
                    raise SavepointError(msg)
    except BaseException:
        for name in wanted:
            _removed(run / (name + PART))
        raise
    for name in wanted:
        synced(run / (name + PART))


def _switch(savepoint: Savepoint, run: Path, wanted: list[str], identity: Mapping[str, Any]) -> None:
    """Puts the staged files in place. Without `identity.json` no run starts here until all of them are."""
    write_json(run / RESTORING, {"savepoint": str(savepoint.path)})
    (run / "identity.json").unlink(missing_ok=True)
    synced(run)
    for name in wanted:
        if (run / name).exists():
            (run / name).rename(run / ("replaced" + PART))
        (run / (name + PART)).rename(run / name)
        _removed(run / ("replaced" + PART))
    synced(run)
    write_json(run / "identity.json", identity)
    (run / RESTORING).unlink()
    synced(run)


def savepoint_names(savepoint: Savepoint) -> list[str]:
    """What a savepoint holds of a run folder: files and folders at its top."""
    return sorted({f.path.partition("/")[0] for f in savepoint.files})


def _removed(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write_manifest(part: Path, savepoint: Savepoint, steps: Mapping[str, int]) -> None:
    manifest = {
        "version": VERSION,
        "made": savepoint.made,
        "identity": savepoint.identity,
        "steps": dict(steps),
        "epoch": savepoint.epoch,
        "lake": savepoint.lake,
        "files": [{"path": f.path, "bytes": f.size_bytes, "sha256": f.sha256} for f in savepoint.files],
    }
    write_json(part / MANIFEST, {**manifest, "digest": _digest(manifest)})


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _identity_of(path: Path) -> dict[str, Any] | None:
    try:
        return opened(path).identity
    except SavepointError:
        return None


def _free_name(out: Path, name: str) -> Path:
    taken = {p.name.removesuffix(PART) for p in out.iterdir()}
    n = 1
    while f"{name}-{n:02d}" in taken:
        n += 1
    return out / f"{name}-{n:02d}"


@contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """Holds the folder of savepoints; the second to ask is refused."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as e:
        raise failure(out, "written", e) from e
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            msg = f"another savepoint is being made in {out}; try again when it is done"
            raise RefusedError(msg) from e
        yield
    finally:
        os.close(descriptor)
