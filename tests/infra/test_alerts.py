"""Alert rules: each is tested by promtool, speaks of metrics that exist, and fires in a real Prometheus that scrapes a live endpoint."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.live.health import ANNOUNCEMENT, watched
from flows.live.metrics import HISTOGRAMS, JUDGED, METRICS, PREFIX
from infra.local import PrometheusServer
from infra.local.prometheus_build import PROMETHEUS
from operators.timeline.live import Live
from schemas.settings import load_settings
from tests.conftest import ROOT
from tests.servers import home

ALERTS = ROOT / "infra" / "prometheus" / "alerts.yml"
TESTS = ALERTS.with_name("alerts_test.yml")


def names(pattern: str, file: Path) -> list[str]:
    return re.findall(pattern, file.read_text())


@pytest.mark.parametrize("what", [("check", "rules", ALERTS.name), ("test", "rules", TESTS.name)])
def test_promtool_finds_the_rules_right(what: tuple[str, ...]) -> None:
    ended = subprocess.run(
        [home(PROMETHEUS) / "promtool", *what], cwd=ALERTS.parent, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    alerts = names(r"- alert: (\w+)", ALERTS)
    assert len(set(alerts)) == len(alerts) > 10
    assert set(names(r"alertname: (\w+), exp_alerts: \[\]", TESTS)) == set(alerts)
    assert set(names(r"alertname: (\w+)\n +exp_alerts:\n", TESTS)) == set(alerts)


def test_the_alerts_speak_of_metrics_that_there_are() -> None:
    told = {PREFIX + m.name for m in METRICS} | {PREFIX + n for n, _ in JUDGED} | {f"{PREFIX}{n}_bucket" for n, _, _ in HISTOGRAMS}
    used = {name for line in ALERTS.read_text().splitlines() if "do:" not in line for name in re.findall(r"\bspiketape_\w+", line)}
    assert used
    assert used <= told


def test_the_documentation_has_every_metric_and_every_alert() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    rows = [(m.name, "counter" if m.name.endswith("_total") else "gauge", m.label, m.says) for m in METRICS]
    rows += [(n, "histogram", "sink", says) for n, says, _ in HISTOGRAMS] + [(n, "gauge", "", says) for n, says in JUDGED]
    lines = [f"| `{PREFIX}{name}` | {kind} | {f'`{label}`' if label else '-'} | {says} |" for name, kind, label, says in rows]
    assert [line for line in lines if line not in text] == []
    assert [a for a in names(r"- alert: (\w+)", ALERTS) if f"| {a} |" not in text] == []


def asked(server: PrometheusServer, path: str) -> Any:
    with urllib.request.urlopen(server.url + path, timeout=10) as answer:
        return json.load(answer)["data"]


def until(there: Callable[[], bool]) -> None:
    """Waits for what the scrape after next must show."""
    for _ in range(600):
        if there():
            return
        time.sleep(0.1)
    pytest.fail("it did not come within a minute")


def test_a_prometheus_finds_a_process_by_its_run_folder_sees_its_numbers_and_fires(prometheus: PrometheusServer, tmp_path: Path) -> None:
    """The targets come from the file that the process writes; the rules are those of the repository."""
    live = Live()
    settings = load_settings(None, ["health.stall_s=3600", "deployment=watched"], {})
    with watched(live, settings, "book", tmp_path) as health:
        assert health.address is not None
        before = prometheus.config
        prometheus.reload(
            f"""
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{ALERTS}]
scrape_configs:
  - job_name: spiketape
    file_sd_configs: [{{files: [{tmp_path / ANNOUNCEMENT}], refresh_interval: 1s}}]
"""
        )
        try:
            live.arrived(0, messages=3, ticks=777)
            live.transaction_s("rows").observe(0.004)
            live.spool_bytes, live.spool_limit_bytes = 96, 100

            def value(query: str) -> float | None:
                result = asked(prometheus, "/api/v1/query?" + urllib.parse.urlencode({"query": query}))["result"]
                return float(result[0]["value"][1]) if result else None

            until(lambda: value('spiketape_ticks_total{deployment="watched", flow="book", job="spiketape"}') == 777)
            until(lambda: value('spiketape_transaction_seconds_bucket{sink="rows", le="0.005"}') == 1)
            assert value("up") == 1

            def firing() -> set[str]:
                alerts = asked(prometheus, "/api/v1/alerts")["alerts"]
                return {a["labels"]["alertname"] for a in alerts if a["state"] == "firing"}

            until(lambda: firing() == {"SpoolFull"})
            live.spool_bytes = 0
            until(lambda: firing() == set())
        finally:
            prometheus.reload(before)
