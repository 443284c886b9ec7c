"""Where a run's rows go: the ledger of what was said, the lake that holds it, and what reads it back.

The pure part; the Bytewax sink is in `operator.py`.
"""

from operators.sinks.columns import Columns
from operators.sinks.diff import Difference, RowDifference, diff
from operators.sinks.lake import Lake
from operators.sinks.layout import Codebook
from operators.sinks.ledger import Ledger, chain_table, output_hash
from operators.sinks.reading import LakeReader
from operators.sinks.runfolder import Decision, Identity, RunFolder, code_version
from operators.sinks.totals import Totals
from operators.sinks.verify import Problem, VerifyReport, verify

__all__ = [
    "Codebook",
    "Columns",
    "Decision",
    "Difference",
    "Identity",
    "Lake",
    "LakeReader",
    "Ledger",
    "Problem",
    "RowDifference",
    "RunFolder",
    "Totals",
    "VerifyReport",
    "chain_table",
    "code_version",
    "diff",
    "output_hash",
    "verify",
]
