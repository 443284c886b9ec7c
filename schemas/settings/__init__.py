"""Every setting of spiketape, one pydantic model: file, then environment, then `--set`; an unknown key is an error."""

from schemas.settings.model import Settings, load_settings, settings_hash

__all__ = ["Settings", "load_settings", "settings_hash"]
