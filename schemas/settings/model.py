"""Settings: the model, where its values come from, and the hash that says whether two runs are the same job."""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.errors import UsageError
from schemas.settings.sections import (
    AccountSettings,
    BookSettings,
    ControlSettings,
    FeatureSettings,
    GateSettings,
    HealthSettings,
    InfluxSettings,
    KafkaSettings,
    LakeSettings,
    ReplaySettings,
    RiskSettings,
    SignalSettings,
    TimeGuardSettings,
    VenueSettings,
)

ENV_PREFIX = "SPIKETAPE_"
CONNECTION_SECTIONS = ("kafka", "influx", "health", "control")
"""Sections that say where a run happens: no part of its identity, and never shown in an error, since they may hold secrets."""
ENV_NOT_SETTINGS = frozenset({"SPIKETAPE_TEST_DATA", "SPIKETAPE_CACHE"})


class Settings(BaseModel):
    """All settings. Frozen; a run's identity but for CONNECTION_SECTIONS. How it is executed (workers, batches, epochs) is no setting."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    deployment: str = Field("spiketape", pattern=r"^[A-Za-z0-9_.-]{1,48}$")
    slice_ms: int = Field(100, ge=1, le=60_000)
    shards: int = Field(64, ge=1, le=4096)
    partitions: int = Field(4, ge=1, le=1024)
    profile: Literal["research", "strict"] = "research"
    max_open_slices: int = Field(2000, ge=1, description="how far, in batches of slices, the leading source may run ahead")
    account: AccountSettings = AccountSettings()
    time_guard: TimeGuardSettings = TimeGuardSettings()
    gate: GateSettings = GateSettings()
    features: FeatureSettings = FeatureSettings()
    signal: SignalSettings = SignalSettings()
    risk: RiskSettings = RiskSettings()
    book: BookSettings = BookSettings()
    venue: VenueSettings = VenueSettings()
    lake: LakeSettings = LakeSettings()
    replay: ReplaySettings = ReplaySettings()
    kafka: KafkaSettings = KafkaSettings()
    control: ControlSettings = ControlSettings()
    health: HealthSettings = HealthSettings()
    influx: InfluxSettings = InfluxSettings()

    @property
    def slice_ns(self) -> int:
        """W, the length of a slice in nanoseconds of event time."""
        return self.slice_ms * 1_000_000


def settings_hash(settings: Settings) -> str:
    """SHA-256 over the canonical JSON of all settings but CONNECTION_SECTIONS, hexadecimal."""
    tree = settings.model_dump(mode="json", exclude=set(CONNECTION_SECTIONS))
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def load_settings(
    file: Path | None = None,
    overrides: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    base: Mapping[str, Any] | None = None,
) -> Settings:
    """Settings from `base`, then `file` (TOML), then `SPIKETAPE_` variables (`__` nests), then `key.sub=value` overrides.

    Raises UsageError naming the setting, what was given and what is allowed.
    """
    tree: dict[str, Any] = {}
    if file is not None:
        try:
            tree = tomllib.loads(file.read_text(encoding="utf-8"))
        except OSError as e:
            msg = f"settings file {file} cannot be read: {e.strerror}"
            raise UsageError(msg) from e
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
            msg = f"settings file {file} is not valid TOML: {e}"
            raise UsageError(msg) from e
    for name, value in (os.environ if env is None else env).items():
        if name.startswith(ENV_PREFIX) and name not in ENV_NOT_SETTINGS:
            _put(tree, name[len(ENV_PREFIX) :].lower().split("__"), value, name)
    for override in overrides:
        name, sep, value = override.partition("=")
        if not sep:
            msg = f"--set {override!r}: expected key=value, such as risk.max_drawdown=0.1"
            raise UsageError(msg)
        _put(tree, name.strip().split("."), value, f"--set {name}")
    for key, value in (base or {}).items():
        _put(tree, key.split("."), value, key)
    try:
        return Settings.model_validate(tree)
    except ValidationError as e:
        lines = [f"  {'.'.join(str(p) for p in d['loc'])}: {d['msg']}{_given(d['loc'], d['input'])}" for d in e.errors()]
        msg = "settings are not valid:\n" + "\n".join(lines)
        raise UsageError(msg) from e


def _given(place: tuple[int | str, ...], value: Any) -> str:
    """What was given, unless it may be a secret."""
    return "" if place[:1] and place[0] in CONNECTION_SECTIONS else f" (given: {value!r})"


def _put(tree: dict[str, Any], path: list[str], value: Any, where: str) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            msg = f"{where}: {part!r} is a value, not a section"
            raise UsageError(msg)
    tree[path[-1]] = value
