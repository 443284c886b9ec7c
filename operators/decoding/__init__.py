"""Scores to signals, last quotes, statistics, and skill as it is being measured."""

from operators.decoding.skill import SkillMeter
from operators.decoding.stage import DecisionRules, DecodingStage

__all__ = ["DecisionRules", "DecodingStage", "SkillMeter"]
