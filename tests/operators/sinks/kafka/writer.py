"""A process that a test kills: writes orders through the sink, with snapshots in a file, as a flow with a recovery store does.

`python writer.py BOOTSTRAP PREFIX HISTORY ROWS BACK SLOW`: HISTORY holds a line `n<TAB>snapshot in base64` for each epoch; it goes on BACK
epochs before the last, as if the store had lost these, and says `n` on standard output after each epoch. SLOW: seconds between writes.
"""

from __future__ import annotations

import base64
import sys
import time
from pathlib import Path

import numpy as np

from operators.sinks.kafka.operator import KafkaSink
from schemas.errors import SpiketapeError
from schemas.instruments import Instrument, InstrumentList
from schemas.order_wire import BookTurn
from schemas.settings import load_settings
from schemas.tables import ORDER, Rows

INSTRUMENTS = InstrumentList(instruments=(Instrument(symbol="AAPL", price_exponent=4, size_exponent=0, tick_size=100, lot_size=1),))
BATCH = 7
BATCHES_AN_EPOCH = 5


def orders(first: int, count: int) -> Rows:
    a = np.zeros(count, ORDER)
    a["n"] = np.arange(first, first + count)
    a["slice"], a["price"] = a["n"] // 4, 3 * a["n"]
    a["type"] = a["side"] = a["state"] = 1
    return Rows("orders", "main", a)


def main(bootstrap: str, prefix: str, history: Path, rows: int, back: int, slow: float) -> None:
    overrides = [f"kafka.bootstrap_servers={bootstrap}", f"kafka.topic_prefix={prefix}", "kafka.transaction_ms=3"]
    settings = load_settings(overrides=overrides, env={})
    epochs = [line.split("\t") for line in history.read_text().splitlines()] if history.exists() else []
    epochs = epochs[: max(0, len(epochs) - back)]
    history.write_text("".join(f"{n}\t{raw}\n" for n, raw in epochs))
    n, resume = (int(epochs[-1][0]), base64.b64decode(epochs[-1][1])) if epochs else (0, None)
    part = KafkaSink(settings, INSTRUMENTS, "rows").build_part("sink", "main", resume)
    print("began", n, flush=True)
    while n < rows:
        for _ in range(BATCHES_AN_EPOCH):
            count = min(BATCH, rows - n)
            part.write_batch([orders(n, count), BookTurn(n, n + count)] if count else [])
            n += count
            time.sleep(slow)
        raw = base64.b64encode(part.snapshot()).decode()
        part_file = history.with_suffix(".part")
        part_file.write_text(history.read_text() + f"{n}\t{raw}\n" if history.exists() else f"{n}\t{raw}\n")
        part_file.replace(history)
        print(n, flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), float(sys.argv[6]))
    except SpiketapeError as e:
        print(f"{type(e).__name__}: {e}", file=sys.stderr)
        sys.exit(e.exit_code)
