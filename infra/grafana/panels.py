"""What a panel of a dashboard shows, and Grafana's JSON for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

INFLUX: Final = {"type": "influxdb", "uid": "spiketape-influx"}
PROMETHEUS: Final = {"type": "prometheus", "uid": "spiketape-prometheus"}
COLUMNS: Final = 24
REFRESH: Final = "5s"
SCHEMA: Final = 39
"""Version of Grafana's dashboard model that this is written in; newer Grafanas migrate it."""


@dataclass(frozen=True)
class Flux:
    """A question to InfluxDB, in Flux with Grafana's variables."""

    text: str

    def target(self, ref: str) -> dict[str, Any]:
        """Grafana's form of it."""
        return {"refId": ref, "datasource": INFLUX, "query": self.text}


@dataclass(frozen=True)
class PromQL:
    """A question to Prometheus. `legend`: name of a series, made of its labels."""

    text: str
    legend: str

    def target(self, ref: str) -> dict[str, Any]:
        """Grafana's form of it."""
        return {"refId": ref, "datasource": PROMETHEUS, "expr": self.text, "legendFormat": self.legend}


@dataclass(frozen=True)
class Panel:
    """`says`: one line for who reads it; `unit`: Grafana's name of a unit; `kind`: timeseries, stat or table; `width` of 24 columns."""

    title: str
    says: str
    questions: tuple[Flux | PromQL, ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 12
    height: int = 8
    stacked: bool = False

    def json(self, number: int, x: int, y: int) -> dict[str, Any]:
        """Grafana's form of it at a place of the grid."""
        custom = {"fillOpacity": 20, "stacking": {"mode": "normal"}} if self.stacked else {"fillOpacity": 0}
        defaults: dict[str, Any] = {"unit": self.unit}
        if self.kind == "timeseries":
            defaults["custom"] = {"lineWidth": 1, "showPoints": "auto", "spanNulls": True, **custom}
        return {
            "id": number,
            "title": self.title,
            "description": self.says,
            "type": self.kind,
            "datasource": INFLUX if isinstance(self.questions[0], Flux) else PROMETHEUS,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [q.target(chr(ord("A") + i)) for i, q in enumerate(self.questions)],
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": {"legend": {"displayMode": "list", "placement": "bottom"}} if self.kind == "timeseries" else {},
        }


@dataclass(frozen=True)
class Variable:
    """A choice at the head of a dashboard, whose values a question gives. `several`: more than one, or all, may be chosen."""

    name: str
    label: str
    question: Flux | PromQL
    several: bool = True

    def json(self) -> dict[str, Any]:
        """Grafana's form of it."""
        from_influx = isinstance(self.question, Flux)
        shared = {"name": self.name, "label": self.label, "type": "query", "refresh": 2, "sort": 1}
        choice = {"multi": self.several, "includeAll": self.several, "allValue": ".*" if self.several else None}
        current = {"text": "All", "value": "$__all"} if self.several else {}
        asks = {"datasource": INFLUX if from_influx else PROMETHEUS, "query": self.question.text, "definition": self.question.text}
        return {**shared, **choice, **asks, "current": current}


@dataclass(frozen=True)
class Dashboard:
    """`uid` is also the name of its file."""

    uid: str
    title: str
    variables: tuple[Variable, ...]
    rows: tuple[tuple[Panel, ...], ...]

    def json(self) -> dict[str, Any]:
        """Grafana's form of it."""
        return {
            "uid": self.uid,
            "title": self.title,
            "tags": ["spiketape"],
            "schemaVersion": SCHEMA,
            "editable": False,
            "refresh": REFRESH,
            "time": {"from": "now-15m", "to": "now"},
            "timezone": "utc",
            "templating": {"list": [v.json() for v in self.variables]},
            "panels": _placed(self.rows),
        }


def _placed(rows: Sequence[Sequence[Panel]]) -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = []
    y = 0
    for row in rows:
        x = 0
        for panel in row:
            panels.append(panel.json(len(panels) + 1, x, y))
            x += panel.width
        if x > COLUMNS:
            msg = f"the row of {row[0].title!r} is {x} columns wide, there are {COLUMNS}"
            raise ValueError(msg)
        y += max(panel.height for panel in row)
    return panels
