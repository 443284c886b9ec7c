"""The report of a replay: one HTML page (`write_report`) and tables in the terminal (terminal.py), in the order of realism.md section 8."""

from flows.report.findings import load_run
from flows.report.page import write_report

__all__ = ["load_run", "write_report"]
