"""Programs of the system that making a server needs, and how they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from infra.local.errors import MissingToolsError


@dataclass(frozen=True)
class Tool:
    """A program on PATH. `package`: Debian's name for it, empty where Debian's is too old; `otherwise`: where it comes from then."""

    program: str
    package: str = ""
    otherwise: str = ""

    @property
    def there(self) -> bool:
        """Whether it is on PATH."""
        return shutil.which(self.program) is not None

    @property
    def how(self) -> str:
        """How to get it."""
        return f"apt-get install {self.package}" if self.package else self.otherwise


JAVA = Tool("java", "openjdk-17-jre-headless")
MAVEN = Tool("mvn", "maven")
GO = Tool("go", otherwise="Go 1.23 or newer from https://go.dev/dl (Debian's is too old)")
CARGO = Tool("cargo", otherwise="Rust from https://rustup.rs (Debian's is too old)")
CC = Tool("gcc", "gcc")
CLANG = Tool("clang", "clang")
PKG_CONFIG = Tool("pkg-config", "pkg-config")
DPKG = Tool("dpkg-deb", otherwise="Debian or Ubuntu; elsewhere put prometheus and promtool of https://prometheus.io/download on PATH")
APT = Tool("apt-get", otherwise="Debian or Ubuntu; elsewhere put prometheus and promtool of https://prometheus.io/download on PATH")


def demand(name: str, missing: Sequence[Tool], say: Callable[[str], None]) -> None:
    """Sees to it that the tools are there: in CI (environment variable CI) root installs Debian's packages, otherwise nothing is installed.

    Raises MissingToolsError, which says what to install, for those that are not there then.
    """
    packages = sorted({t.package for t in missing if t.package})
    if packages and os.environ.get("CI") and os.geteuid() == 0 and APT.there:
        say(f"{name}: apt-get install {' '.join(packages)} (because CI is set)")
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], env=quiet, check=False, capture_output=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", *packages], env=quiet, check=False, capture_output=True)
        missing = [t for t in missing if not t.there]
    if missing:
        ways = "\n".join(f"  {t.program}: {t.how}" for t in missing)
        msg = f"{name} cannot be had here, programs are missing:\n{ways}"
        raise MissingToolsError(msg)
