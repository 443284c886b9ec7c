"""The run folder: what a start in it means, and that two processes never share it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from operators.sinks import Decision, Identity, RunFolder, code_version
from operators.sinks import runfolder as module
from schemas.errors import LakeError, RefusedError

JOB = Identity(tape="t", settings="s", model="m", code="c")
ROOT = Path(__file__).resolve().parents[3]


def test_fresh_then_resume_then_finished(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.locked():
        assert folder.decide(JOB, fresh=False) is Decision.FRESH
        assert folder.identity() == JOB
    with folder.locked():
        assert folder.decide(JOB, fresh=False) is Decision.RESUME
        folder.write_run({"output_hash": "x"})
    with folder.locked():
        assert folder.decide(JOB, fresh=False) is Decision.FINISHED
        assert folder.read_run() == {"output_hash": "x"}


@pytest.mark.parametrize("field", ["tape", "settings", "model", "code"])
def test_another_job_is_refused_with_exit_code_3_and_named(tmp_path: Path, field: str) -> None:
    folder = RunFolder(tmp_path)
    with folder.locked():
        folder.decide(JOB, fresh=False)
        other = Identity(**{**{f: getattr(JOB, f) for f in ("tape", "settings", "model", "code")}, field: "other"})
        with pytest.raises(RefusedError, match=f"an unfinished run of another job: {field} differs") as e:
            folder.decide(other, fresh=False)
        assert e.value.exit_code == 3
        folder.write_run({})
        with pytest.raises(RefusedError, match="a finished run of another job"):
            folder.decide(other, fresh=False)
        assert folder.decide(other, fresh=True) is Decision.FRESH
        assert folder.identity() == other


def test_fresh_deletes_everything_of_the_run_and_nothing_else(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with folder.locked():
        folder.decide(JOB, fresh=False)
        for inner in (folder.lake / "signals", folder.recovery):
            inner.mkdir(parents=True)
            (inner / "x").write_text("x")
        folder.write_settings({})
        folder.write_run({})
        folder.report_html.write_text("")
        (tmp_path / "notes.txt").write_text("mine")
        assert folder.decide(JOB, fresh=True) is Decision.FRESH
    assert {p.name for p in tmp_path.iterdir()} == {"identity.json", "lock", "notes.txt"}


@pytest.mark.parametrize("fresh", [True, False])
def test_a_folder_that_is_no_run_folder_is_left_alone(tmp_path: Path, fresh: bool) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    folder = RunFolder(tmp_path)
    with folder.locked(), pytest.raises(RefusedError, match="holds no run; give another --out"):
        folder.decide(JOB, fresh=fresh)
    assert (tmp_path / "thesis.tex").exists()


def test_a_deletion_cut_short_anywhere_can_be_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.rmtree
    for survive in range(2):
        folder = RunFolder(tmp_path / str(survive))
        calls = 0

        def cut_short(path: Path, survive: int = survive) -> None:
            nonlocal calls
            calls += 1
            if calls > survive:
                raise OSError(5, "killed here")
            real(path)

        with folder.locked():
            folder.decide(JOB, fresh=False)
            folder.write_run({})
            for inner in (folder.lake, folder.recovery):
                inner.mkdir()
                (inner / "x").write_text("x")
            monkeypatch.setattr(module.shutil, "rmtree", cut_short)
            with pytest.raises(LakeError, match="cannot be deleted"):
                folder.decide(JOB, fresh=True)
            monkeypatch.setattr(module.shutil, "rmtree", real)
            assert folder.decide(JOB, fresh=False) is Decision.RESUME  # never "finished", and no recovery state without its lake
            assert not folder.recovery.exists()
            assert not list(folder.path.glob("*.part"))


def test_a_folder_in_use_is_refused_and_names_the_process(tmp_path: Path) -> None:
    code = f"""
import sys, time
from pathlib import Path
from operators.sinks import RunFolder
with RunFolder(Path({str(tmp_path)!r})).locked():
    print("held", flush=True)
    sys.stdin.read()
"""
    other = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    refused = pytest.raises(RefusedError, match=f"in use by process {other.pid}; .* kill -TERM {other.pid}")
    with refused, RunFolder(tmp_path).locked():
        pass
    other.kill()
    other.communicate()
    with RunFolder(tmp_path).locked():  # the system lets go of what a dead process held
        assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_run({"output_hash": "old"})
    with pytest.raises(ValueError, match="not JSON compliant"):
        folder.write_run({"skill": float("nan")})
    assert folder.read_run() == {"output_hash": "old"}


def test_a_damaged_json_is_a_clear_error(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.run_json.write_text('{"output_hash": ')
    with pytest.raises(LakeError, match="is no valid JSON"):
        folder.read_run()
    folder.run_json.write_text("[]")
    with pytest.raises(LakeError, match="holds no JSON object"):
        folder.read_run()


def test_the_code_version_follows_every_source_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def version_of(content: str) -> str:
        for name in module.SOURCES:
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "__init__.py").write_text("")
        (tmp_path / "flows" / "x.py").write_text(content)
        monkeypatch.setattr(module.schemas, "__file__", str(tmp_path / "schemas" / "__init__.py"))
        code_version.cache_clear()
        return code_version()

    one, two, again = version_of("a = 1"), version_of("a = 2"), version_of("a = 1")
    assert one == again
    assert one != two
    code_version.cache_clear()
    assert json.dumps(one)
