"""Execution: the paper venue, which fills orders from the tape. The public face of the pure part."""

from operators.execution.desk_kernels import LOOKAHEAD_SLICES, Floor, Rules, hand_out, look_ahead
from operators.execution.layout import NO_EVENT
from operators.execution.request_kernels import UNKNOWN_EXEC_N
from operators.execution.venue import PaperVenue, VenueInput
from operators.execution.venue_pass import VenuePass
from operators.execution.venue_stage import VenueStage
from operators.execution.window import SymbolTicks, TickWindow

__all__ = [
    "LOOKAHEAD_SLICES",
    "NO_EVENT",
    "UNKNOWN_EXEC_N",
    "Floor",
    "PaperVenue",
    "Rules",
    "SymbolTicks",
    "TickWindow",
    "VenueInput",
    "VenuePass",
    "VenueStage",
    "hand_out",
    "look_ahead",
]
