"""Every flow as a dataflow by itself: `build` over settings, `live` for Bytewax's own runner."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bytewax.dataflow import Dataflow

from infra.topics import apply
from operators.sources.kafka import publish
from operators.sources.simulator import simulate
from operators.sources.tape import Tape
from schemas.settings import Settings, load_settings

NUMBER = itertools.count()


@pytest.fixture
def published_to(kafka: Any, tmp_path: Path) -> Callable[[], Settings]:
    """A deployment whose topics and instruments are there."""

    def settings() -> Settings:
        given = (f"kafka.bootstrap_servers={kafka.bootstrap}", f"kafka.topic_prefix=flows{next(NUMBER)}.")
        made = load_settings(None, given, env={})
        apply(made)
        simulate(tmp_path / "tape", 1_000, 3, 8)
        publish(made, Tape.open(tmp_path / "tape").instruments)
        return made

    return settings


@pytest.mark.parametrize("name", ["trading", "signals", "book", "venue", "record"])
def test_each_flow_is_built_from_settings(
    name: str, published_to: Callable[[], Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = published_to()
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(f"flows.{name}")
    options = [module.Options(tmp_path / "made")] if name == "record" else []
    flow = module.build(settings, *options)
    assert isinstance(flow, Dataflow)
    assert flow.flow_id == name
    monkeypatch.setenv("SPIKETAPE_KAFKA__BOOTSTRAP_SERVERS", settings.kafka.bootstrap_servers)
    monkeypatch.setenv("SPIKETAPE_KAFKA__TOPIC_PREFIX", settings.kafka.topic_prefix)
    assert [s.step_id for s in module.live().substeps] == [s.step_id for s in flow.substeps]
