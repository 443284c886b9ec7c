"""The import report: what became of every row of the sources.

Each row that an importer reads ends in exactly one of three ways: it becomes a tick, it is merged into another tick (the bid half
of a quote), or it is refused with a reason. A row that holds several ticks (a depth message) counts once for each of its ticks. So

    rows_read == ticks + merged + refused

holds at the end of each import, or there is no tape. Refused rows are all in `rejected.jsonl` of the tape's folder, one JSON object
a line; `import_report.json` has the counts and the first examples.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final

from operators.sources.tape.disk import writing
from operators.sources.tape.format import REJECTED
from schemas.errors import SpiketapeError

EXAMPLES: Final = 10_000
TEXT_MAX: Final = 200
_SPOOL_BYTES: Final = 1 << 20


class ImportReport:
    """Counts rows while they are imported. `examples`: how many refused rows are kept whole in memory and in the summary.

    `actions`: corporate actions of the instruments; `actions_outside`: those of them that no tick of the tape lies before, or none after.
    """

    def __init__(self, examples: int = EXAMPLES) -> None:
        self.rows_read = 0
        self.ticks = 0
        self.rows_merged = 0
        self.rows_refused = 0
        self.actions = 0
        self.actions_outside = 0
        self._examples_max = examples
        self._examples: list[dict[str, Any]] = []
        self._by_reason: dict[tuple[str, str], int] = {}
        self._tape = Path()
        self._rejected: IO[bytes] = SpooledTemporaryFile(_SPOOL_BYTES)  # noqa: SIM115 - lives as long as the report

    def read(self, n: int = 1) -> None:
        """`n` more rows were read."""
        self.rows_read += n

    def merged(self, n: int = 1) -> None:
        """`n` rows became part of another tick."""
        self.rows_merged += n

    def refuse(self, file: str, line: int, reason: str, text: str) -> None:
        """A row cannot be used. `line`: from 1, 0 unknown; `reason`: few different ones, they are counted; `text`: the row."""
        self.rows_refused += 1
        self._by_reason[file, reason] = self._by_reason.get((file, reason), 0) + 1
        row = {"file": file, "line": int(line), "reason": reason, "text": text}
        with writing(self._tape):
            self._rejected.write(json.dumps(row).encode() + b"\n")
        if len(self._examples) < self._examples_max:
            self._examples.append(row | {"text": text[:TEXT_MAX]})

    def keep_rejected_in(self, folder: Path, tape: Path) -> None:
        """From now on refused rows are written to `rejected.jsonl` of a folder, those refused so far first; `tape` is named in errors."""
        earlier, self._tape = self._rejected, tape
        with writing(tape):
            self._rejected = (folder / REJECTED).open("wb")
            earlier.seek(0)
            while block := earlier.read(_SPOOL_BYTES):
                self._rejected.write(block)
        earlier.close()

    def close(self) -> None:
        """Ends `rejected.jsonl`."""
        with writing(self._tape):
            self._rejected.close()

    def check(self) -> None:
        """SpiketapeError where a row is not accounted for: a defect of the importer."""
        if self.rows_read != self.ticks + self.rows_merged + self.rows_refused:
            msg = (
                f"the importer lost count: {self.rows_read} rows read, but {self.ticks} ticks, {self.rows_merged} merged and "
                f"{self.rows_refused} refused; no tape was made, report this as a defect"
            )
            raise SpiketapeError(msg)

    def summary(self) -> dict[str, Any]:
        """What `import_report.json` holds."""
        return {
            "rows_read": self.rows_read,
            "ticks": self.ticks,
            "merged": self.rows_merged,
            "refused": self.rows_refused,
            "actions": self.actions,
            "actions_outside": self.actions_outside,
            "refused_by": [{"file": f, "reason": r, "rows": n} for (f, r), n in sorted(self._by_reason.items())],
            "rejected_file": REJECTED,
            "examples": self._examples,
        }
