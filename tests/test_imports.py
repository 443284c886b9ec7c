"""Imports point one way: flows -> operators -> schemas; no room imports its neighbour. By reading every import, wherever it stands."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("schemas", "operators", "infra", "flows", "benchmarks", "tests")
MAY_IMPORT = {
    "schemas": {"schemas"},
    "operators": {"schemas", "operators"},
    "infra": {"schemas", "operators", "infra"},
    "flows": {"schemas", "operators", "infra", "flows"},
}
"""By package: which of ours it may import."""
COMPOSES = {
    "book": {"orders", "risk", "portfolio", "execution"},
    "spiking/training": {"quality", "features", "encoding", "decoding"},
}
"""By room, or a folder of one: the rooms that it puts together. Training runs the stages of the flow offline; the flow never imports it."""
FOR_ALL = {"timeline"}
"""The room that says what a stage is, which every other one may import."""
LATE = {("flows/cli/other_commands.py", "benchmarks")}
"""What is imported only when its command is called: `bench` runs the benchmarks of a checkout."""


def imports(source: str) -> Iterator[str]:
    """Every module that a file imports, as `a.b.c`; of `from a import b` both a and a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "no relative imports"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def wrong(file: str, source: str) -> list[str]:
    """The imports of a file that break the rule. `file`: its path from the root."""
    package, *inner = Path(file).parts
    found = set()
    for module in imports(source):
        top, *names = module.split(".")
        if top not in OURS:
            continue
        if top not in MAY_IMPORT[package]:
            if (file, top) not in LATE:
                found.add(module)
        elif package == top == "operators" and names and len(inner) > 1 and (ROOT / "operators" / names[0]).is_dir():
            allowed = {inner[0], *FOR_ALL} if inner[0] not in FOR_ALL else FOR_ALL
            for folder, rooms in COMPOSES.items():
                if "/".join(inner).startswith(folder + "/"):
                    allowed |= rooms
            if names[0] not in allowed:
                found.add(module)
    return sorted(found)


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_imports_point_one_way(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert len(files) > 10
    broken = {name: bad for f in files if (bad := wrong(name := f.relative_to(ROOT).as_posix(), f.read_text(encoding="utf-8")))}
    assert broken == {}


@pytest.mark.parametrize(
    ("file", "source", "bad"),
    [
        ("schemas/x.py", "import operators.book", ["operators.book"]),
        ("operators/features/x.py", "from operators.encoding import MIRROR", ["operators.encoding", "operators.encoding.MIRROR"]),
        ("operators/features/x.py", "from operators import encoding", ["operators.encoding"]),
        ("operators/features/x.py", "def f():\n    import flows.replay", ["flows.replay"]),
        ("operators/features/x.py", "from operators.timeline.stage import State\nfrom schemas.ticks import Ints", []),
        ("operators/timeline/x.py", "import operators.sinks", ["operators.sinks"]),
        ("operators/book/x.py", "import operators.risk", []),
        ("operators/book/x.py", "import operators.decoding", ["operators.decoding"]),
        ("operators/spiking/training/x.py", "import operators.encoding", []),
        ("operators/spiking/x.py", "import operators.encoding", ["operators.encoding"]),
        ("flows/x.py", "import tests.servers", ["tests.servers"]),
        ("flows/cli/x.py", "import benchmarks.run", ["benchmarks.run"]),
    ],
)
def test_the_rule_finds_what_breaks_it(file: str, source: str, bad: list[str]) -> None:
    assert wrong(file, source) == bad


def test_the_flow_never_imports_training() -> None:
    """It brings scikit-learn, and a live process must not wait for that; commands import it when they are called."""
    for file in (ROOT / "flows").rglob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert not any("spiking.training" in m for m in imports(ast.unparse(node))), file
