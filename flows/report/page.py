"""The page of a run: report.html, one file that needs no network, in the order of realism.md section 8."""

from __future__ import annotations

from pathlib import Path

from flows.report import glance
from flows.report.findings import findings
from flows.report.html import Page
from flows.report.sections import SECTIONS
from operators.sinks import RunFolder
from operators.sources.tape import Tape
from schemas.durable import write_whole


def write_report(folder: RunFolder, tape: Tape, variants: bool = True) -> Path:
    """Writes report.html of a finished run and returns its path.

    Without `variants` the account is not run again with other settings, and the page says so. Raises UsageError where there is no finished
    run, LakeError where its lake cannot be read, SpiketapeError where the account computed anew is not the run's.
    """
    found = findings(folder, tape, variants)
    page = Page(f"Replay of {tape.path.name}", glance.subtitle(found))
    page.top(*glance.glance(found))
    for anchor, title, write in SECTIONS:
        page.section(anchor, title, *write(found, page))
    write_whole(folder.report_html, page.html().encode())
    return folder.report_html
