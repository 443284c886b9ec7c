"""Commands about the installation: doctor, bench."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.terminal import Json, print_json, say, stdout, table

PACKAGES = (
    "bytewax",
    "numpy",
    "numba",
    "polars",
    "pyarrow",
    "deltalake",
    "pydantic",
    "safetensors",
    "scikit-learn",
    "plotly",
    "typer",
    "rich",
)
FREE_GIB = 2


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the application."""
    app.command("doctor")(doctor_command)
    app.command("bench")(bench_command)


def doctor_command(as_json: Json = False) -> None:
    """Tell what is installed, what is wrong, and how to mend it.

    Example: spiketape doctor
    """
    checks = [_python(), *map(_package, PACKAGES), _cpu(), _model(), _cache(), _room(Path.cwd())]
    wrong = [c for c in checks if not c["ok"]]
    if as_json:
        print_json({"ok": not wrong, "checks": checks})
    else:
        rows = [("ok" if c["ok"] else "WRONG", c["what"], c["found"], c["mend"]) for c in checks]
        stdout.print(table("", ("", "what", "found", "how to mend it"), rows))
    if wrong:
        raise typer.Exit(1)


def _check(what: str, ok: bool, found: str, mend: str = "") -> dict[str, Any]:
    return {"what": what, "ok": ok, "found": found, "mend": "" if ok else mend}


def _python() -> dict[str, Any]:
    ok = (3, 11) <= sys.version_info[:2] <= (3, 12)
    return _check(
        "Python", ok, platform.python_version(), "Bytewax 0.21.1 has wheels for 3.11 and 3.12: make setup PYTHON=/path/to/python3.12"
    )


def _package(name: str) -> dict[str, Any]:
    try:
        return _check(name, True, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return _check(name, False, "missing", "make setup")


def _cpu() -> dict[str, Any]:
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    best = next((f for f in ("avx512f", "avx2", "sse4.2") if features.get(f)), "baseline")
    override = os.environ.get("NUMBA_CPU_NAME")
    found = f"{llvm.get_host_cpu_name()}, {best}, {os.cpu_count()} cores" + (f", NUMBA_CPU_NAME={override}" if override else "")
    return _check("CPU", True, found)


def _model() -> dict[str, Any]:
    from operators.spiking import load_model
    from schemas.errors import ModelError

    try:
        model = load_model()
    except ModelError as e:
        return _check("default model", False, str(e), "git checkout operators/spiking/models, or spiketape train")
    return _check("default model", True, model.digest.hex()[:16])


def _cache() -> dict[str, Any]:
    from infra.place import cache_dir

    path = cache_dir()
    at = path
    while not at.exists():
        at = at.parent
    return _check("cache folder", os.access(at, os.W_OK), str(path), "set SPIKETAPE_CACHE to a folder that can be written")


def _room(path: Path) -> dict[str, Any]:
    free = shutil.disk_usage(path).free / 2**30
    return _check("free disk here", free >= FREE_GIB, f"{free:.1f} GiB", f"at least {FREE_GIB} GiB are wanted for tapes and runs")


def bench_command(
    names: Annotated[list[str] | None, typer.Argument(help="Benchmarks to run; default all.")] = None,
    as_json: Json = False,
) -> None:
    """Measure the figures of GOALS, each beside a peer or a physical limit in the same run.

    Example: spiketape bench replay two_workers
    """
    from benchmarks.run import run_benchmarks

    results = run_benchmarks(names or [], say)
    if as_json:
        print_json(results)
        return
    columns = ("value", "unit", "goal", "met", "spread", "peer", "peer_value", "ratio")
    stdout.print(table("benchmarks", ("name", *columns), [(n, *(r[c] for c in columns)) for n, r in results.items()]))
    for name, r in results.items():
        stdout.print(f"[bold]{name}[/bold]: {r['note']}", highlight=False)
