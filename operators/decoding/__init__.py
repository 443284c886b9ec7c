"""Scores to signals, last quotes, statistics, and skill as it is being measured."""

from operators.decoding.skill import SkillMeter
from operators.decoding.stage import DecisionRules, DecodingStage
from operators.decoding.summary import summarise

__all__ = ["DecisionRules", "DecodingStage", "SkillMeter", "summarise"]
