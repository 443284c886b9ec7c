"""influxd built from its sources by Go and cargo: about five minutes from nothing on two cores, then 130 MB that stay in the cache.

What stands in the way, and what is done about it: influxd's go.mod has a `replace`, so `go install` refuses it; a module of our own
(influxd_module: go.mod, go.sum) imports it instead and repeats the replacement, which pins everything that goes into it as well. Its query
language, Flux, is a Rust library, built by cargo when Go asks pkg-config for it (InfluxData's one, which must come before the system's). It
names an old Rust toolchain in a file (RUSTUP_TOOLCHAIN overrules it) and takes warnings of newer compilers for errors (a RUSTC_WRAPPER that
caps lints; RUSTFLAGS does not reach the build scripts).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from infra.local.recipe import Recipe, Work, environment, first_on_path
from infra.local.tools import CARGO, CC, CLANG, GO, PKG_CONFIG

VERSION = "2.7.12"
PKG_CONFIG_VERSION = "v0.2.14"
MODULE = Path(__file__).with_name("influxd_module")
PROGRAM = "github.com/influxdata/influxdb/v2/cmd/influxd"
TAGS = "sqlite_foreign_keys,sqlite_json"


def _make(work: Work) -> None:
    module = work.folder / "module"
    tools = work.folder / "tools"
    shutil.copytree(MODULE, module)
    tools.mkdir()
    capped = tools / "rustc-capped"
    capped.write_text('#!/bin/sh\nexec "$@" --cap-lints allow\n')
    capped.chmod(0o755)
    go = environment(GOBIN=str(tools), GOFLAGS="-buildvcs=false")
    with work.step("fetching InfluxData's pkg-config"):
        work.run("go", "install", f"github.com/influxdata/pkg-config@{PKG_CONFIG_VERSION}", env=go)
    with work.step(f"fetching the sources of influxd {VERSION} (about a minute)"):
        work.run("go", "list", "-deps", "-tags", TAGS, PROGRAM, cwd=module, env=go)
    with work.step("compiling influxd (about four minutes)"):
        build = go | {
            "PATH": first_on_path(tools),
            "RUSTC_WRAPPER": str(capped),
            "RUSTUP_TOOLCHAIN": os.environ.get("RUSTUP_TOOLCHAIN", "stable"),
        }
        work.run("go", "build", "-tags", TAGS, "-o", str(work.folder / "influxd"), PROGRAM, cwd=module, env=build)
    shutil.rmtree(module)
    shutil.rmtree(tools)


INFLUX = Recipe("influxd", VERSION, (GO, CARGO, CC, CLANG, PKG_CONFIG), ("influxd",), _make)
