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
    "confluent-kafka",
    "influxdb-client",
    "prometheus-client",
    "structlog",
)
FREE_GIB = 2


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the application."""
    app.command("doctor")(doctor_command)
    app.command("bench")(bench_command)


def doctor_command(
    config: Annotated[
        Path | None, typer.Option("--config", help="Settings file (TOML); default spiketape.toml where there is one.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell what is installed, which servers answer, what is wrong, and how to mend it.

    Servers are wrong only where the settings name them: a replay needs none.

    Example: spiketape doctor
    """
    from infra.local.standing import RECIPES

    checks = [_python(), *map(_package, PACKAGES), _cpu(), _model(), _cache(), _room(Path.cwd())]
    checks += [*map(_local_server, RECIPES), *_servers(config)]
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
    from flows.model import model_for
    from schemas.errors import ModelError
    from schemas.settings import Settings

    try:
        model = model_for(Settings())
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


def _local_server(name: str) -> dict[str, Any]:
    from infra.local.standing import RECIPES, default_data, standing

    recipe = RECIPES[name]
    if recipe.finished:
        there = standing(name, default_data()).identity
        runs = "" if there is None else f", runs at port {there.ports['port']} (spiketape servers status)"
        return _check(f"local {name}", True, f"{recipe.version}, fetched{runs}")
    missing = "; ".join(f"{t.program} is missing: {t.how}" for t in recipe.missing_tools)
    return _check(f"local {name}", True, f"cannot be fetched, {missing}" if missing else "not fetched; make servers")


def _servers(config: Path | None) -> list[dict[str, Any]]:
    from flows.cli.options import settings_of
    from flows.servers_seen import influx_seen, kafka_seen
    from schemas.errors import UsageError
    from schemas.settings import Settings

    try:
        settings = settings_of(config, None)
    except UsageError as e:
        return [_check("settings", False, str(e), "mend the file or the environment variable that it names")]
    checks = []
    for name, seen, named in (
        ("kafka", kafka_seen(settings), settings.kafka != Settings().kafka),
        ("influx", influx_seen(settings), settings.influx != Settings().influx),
    ):
        mend = f"start it, or mend the settings in {name}.*; spiketape servers up --only {name} starts a local one and prints its settings"
        checks.append(_check(f"{name} of the settings", seen.answers or not named, seen.found, mend))
    return checks


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
