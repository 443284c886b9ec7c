"""The report of a replay: one HTML page (`write_report`) and tables in the terminal (terminal.py), in the order of realism.md section 8."""

from flows.report.page import load_run, write_report

__all__ = ["load_run", "write_report"]
