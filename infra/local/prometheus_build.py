"""prometheus and promtool: those on PATH, else out of Debian's package, which is unpacked into the cache without being installed.

The version is Debian's, which replaces it when it mends something: its mirror keeps no older one, so this one is not pinned.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from infra.local.recipe import Recipe, Work
from infra.local.tools import APT, DPKG

PROGRAMS = ("prometheus", "promtool")


def _on_path() -> dict[str, str]:
    found = {name: shutil.which(name) for name in PROGRAMS}
    return {name: path for name, path in found.items() if path is not None}


def _make(work: Work) -> None:
    if len(there := _on_path()) == len(PROGRAMS):
        with work.step("taking the ones on PATH"):
            for name, path in there.items():
                (work.folder / name).symlink_to(Path(path).resolve())
        return
    with work.step("fetching Debian's package"):
        if not work.run("apt-get", "download", "prometheus", may_fail=True):
            own = _own_lists(work.folder / "apt")
            work.run("apt-get", *own, "update")
            work.run("apt-get", *own, "download", "prometheus")
    with work.step("unpacking it"):
        (package,) = work.folder.glob("prometheus_*.deb")
        work.run("dpkg-deb", "--extract", str(package), "unpacked")
        for name in PROGRAMS:
            (work.folder / "unpacked/usr/bin" / name).rename(work.folder / name)
        package.unlink()
        shutil.rmtree(work.folder / "unpacked")
        shutil.rmtree(work.folder / "apt", ignore_errors=True)


def _own_lists(folder: Path) -> tuple[str, ...]:
    """Options with which apt-get keeps its lists in a folder, so that they can be fetched without being root."""
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    return ("-o", f"Dir::State::lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}", "-o", "APT::Sandbox::User=root")


PROMETHEUS = Recipe("prometheus", "debian", () if len(_on_path()) == len(PROGRAMS) else (APT, DPKG), PROGRAMS, _make)
