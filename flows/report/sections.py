"""The sections of the page, in order. Each takes the findings and the page (for its figures) and returns its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from flows.report.assumptions import model_section, venue_section
from flows.report.data_part import left_out_section, refusals_section, spikes_section
from flows.report.findings import Findings
from flows.report.html import Cell, Page
from flows.report.order_part import fills_section, mark_out_section, trades_section
from flows.report.profit_part import profit_section
from flows.report.skill_part import skill_section
from flows.report.variant_part import break_even_section, controls_section, variants_section

SECTIONS: Final[tuple[tuple[str, str, Callable[[Findings, Page], list[Cell]]], ...]] = (
    ("skill", "Skill", skill_section),
    ("profit", "Profit and loss", profit_section),
    ("variants", "Other fill rules, latencies, slices", variants_section),
    ("break-even", "Break-even fee", break_even_section),
    ("controls", "Random control and oracle", controls_section),
    ("mark-outs", "Mark-outs", mark_out_section),
    ("fills", "Orders and fills", fills_section),
    ("trades", "Trades and inventory", trades_section),
    ("refusals", "Refusals by rule", refusals_section),
    ("left-out", "Data left out", left_out_section),
    ("venue", "What the venue assumes", venue_section),
    ("model", "Model", model_section),
    ("spikes", "Spikes", spikes_section),
)
