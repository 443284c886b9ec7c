"""Small file systems of a test's own, to be filled up. Mounting one takes root, or sudo without a password."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A file system of its own in memory, by size (`1m`); called again it has another size.

    Where none can be mounted the test is skipped; with the variable CI set it fails.
    """
    rights = [] if os.geteuid() == 0 else ["sudo", "-n"]
    path = tmp_path / "small-disk"
    path.mkdir()

    def of_size(size: str) -> Path:
        owner = f"size={size},uid={os.getuid()},gid={os.getgid()}"
        how = ["-o", f"remount,{owner}"] if os.path.ismount(path) else ["-t", "tmpfs", "-o", owner, "tmpfs"]
        try:
            subprocess.run([*rights, "mount", *how, str(path)], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as e:
            why = f"no tmpfs can be mounted here, so no disk filled up: {getattr(e, 'stderr', '') or e}"
            if os.environ.get("CI"):
                pytest.fail(f"CI is set, so there must be one: {why}")
            pytest.skip(why)
        return path

    yield of_size
    if os.path.ismount(path):
        subprocess.run([*rights, "umount", "-l", str(path)], check=True)
