"""The market simulator: seeded, with the truth beside the tape (equations and parameters: model.py)."""

from operators.sources.simulator.generation import SimulationSummary, TruthChunk, generate, simulate, simulated_instruments
from operators.sources.simulator.layout import TRUTH
from operators.sources.simulator.model import MARKET, REGIME_NAMES, Market
from operators.sources.simulator.truth import best_achievable, pooled, skill_of

__all__ = [
    "MARKET",
    "REGIME_NAMES",
    "TRUTH",
    "Market",
    "SimulationSummary",
    "TruthChunk",
    "best_achievable",
    "generate",
    "pooled",
    "simulate",
    "simulated_instruments",
    "skill_of",
]
