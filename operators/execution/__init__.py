"""Execution: the paper venue, which fills orders from the tape. The public face of the pure part."""

from operators.execution.request_kernels import UNKNOWN_EXEC_N
from operators.execution.venue import PaperVenue, VenueInput
from operators.execution.venue_pass import VenuePass
from operators.execution.venue_stage import VenueStage
from operators.execution.window import SymbolTicks, TickWindow

__all__ = ["UNKNOWN_EXEC_N", "PaperVenue", "SymbolTicks", "TickWindow", "VenueInput", "VenuePass", "VenueStage"]
