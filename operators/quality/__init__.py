"""The gate every tick passes: validity, sessions and conditions as bits, dead letters, quality score."""

from operators.quality.stage import UNKNOWN_KEY, QualityStage

__all__ = ["UNKNOWN_KEY", "QualityStage"]
