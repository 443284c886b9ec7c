"""Where compiled kernels are kept: a cache folder named by the hash of all kernel sources.

Numba's own cache looks at the file of the compiled function only. A function that another file's kernel calls, or a constant that it
takes from there, may change without the caller being compiled again: wrong machine code, silently. So the folder changes with
any source file that defines a compiled function or is imported by one. `NUMBA_CACHE_DIR`, where it is set, is left alone.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

KEPT = 4
"""Folders of other versions of the code that are kept; the oldest go."""

_ROOT = Path(__file__).resolve().parent.parent


_IMPORTED = re.compile(rb"^from ((?:schemas|operators)[\w.]*) import", re.MULTILINE)


def kernel_sources() -> dict[Path, bytes]:
    """Every source file that declares a compiled function, and every file of this repository that one imports, with its content."""
    found: dict[Path, bytes] = {}
    for package in ("schemas", "operators"):
        for file in (_ROOT / package).rglob("*.py"):
            content = file.read_bytes()
            if b"from numba import" in content:
                found[file] = content
    waiting = list(found.values())
    while waiting:
        for name in _IMPORTED.findall(waiting.pop()):
            file = _ROOT / (name.decode().replace(".", "/") + ".py")
            if file not in found and file.is_file():
                found[file] = file.read_bytes()
                waiting.append(found[file])
    return dict(sorted(found.items()))


def use_own_cache() -> None:
    """Sets NUMBA_CACHE_DIR before any kernel is declared. Where no folder can be made, Numba's default stays."""
    if "NUMBA_CACHE_DIR" in os.environ:
        return
    digest = hashlib.sha256()
    for file, content in kernel_sources().items():
        digest.update(file.relative_to(_ROOT).as_posix().encode() + b"\0" + content)
    base = Path(os.environ.get("SPIKETAPE_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spiketape")
    folder = base / "numba" / digest.hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.touch()
    except OSError:
        return
    if not os.access(folder, os.W_OK):
        return
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    with suppress(OSError):
        others = sorted((p for p in folder.parent.iterdir() if p != folder), key=lambda p: p.stat().st_mtime)
        for old in others[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
