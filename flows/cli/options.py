"""Options that several commands have: where settings come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from schemas.settings import Settings

DEFAULT_CONFIG = Path("spiketape.toml")

Config = Annotated[Path | None, typer.Option("--config", help="Settings file (TOML); default spiketape.toml where there is one.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="A setting, as in kafka.bootstrap_servers=host:9092; may be repeated.")]


def settings_of(config: Path | None, overrides: list[str] | None, base: Mapping[str, Any] | None = None) -> Settings:
    """The settings of a command with these two options. `base`: what its other options say, by the setting's name."""
    from schemas.settings import load_settings

    if config is None and DEFAULT_CONFIG.is_file():
        config = DEFAULT_CONFIG
    return load_settings(config, overrides or (), base=base)
