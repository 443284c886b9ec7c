"""Files of any bytes: each import ends with a tape's feeds whose rows add up, or with a typed error. Never a traceback."""

from __future__ import annotations

import gzip
import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from operators.sources.importers import ColumnMapping
from schemas.errors import SpiketapeError

EQUITY = b"".join(b"%d,1800100,300,0,0,P,1,0\n%d,0,0,1818000,3000,Q,1,0\n" % (i, i) for i in range(40))
FOREX = b"".join(b"%d,1.386%02d,1.38690\n" % (i, i) for i in range(40))
MESSAGES = b"".join(b"34200.%03d,%d,11,5,1010000,-1\n" % (i, 1 + i % 7) for i in range(40))
BOOKS = b"".join(b"1010000,%d,1000000,7\n" % (i + 1) for i in range(40))
CSV = b"t,p,q,s\n" + b"".join(b"%d,1.%d,%d,buy\n" % (i, i, i) for i in range(40))
BINANCE = b"".join(
    b'%d {"data":{"e":"trade","E":%d,"T":%d,"s":"BTCUSDT","t":%d,"p":"1.00","q":"1.5","m":true,"M":true}}\n'
    b'%d {"data":{"e":"depthUpdate","E":%d,"s":"BTCUSDT","U":%d,"u":%d,"b":[["1.00","2"]],"a":[["2.00","0"]]}}\n'
    % (10**18, 10**12 + i, 10**12 + i, i, 10**18, 10**12 + i, i, i)
    for i in range(40)
)
CSV_COLUMNS = ColumnMapping.parse("ts=t,unit=ms,price=p,size=q,side=s,name=X")


def zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("20140502_eurusd_tick_quote.csv", data)
    return out.getvalue()


FILES: list[tuple[str, str, bytes, Callable[[bytes], bytes]]] = [
    ("lean_equity", "ibm/20131007_quote.zip", EQUITY, zipped),
    ("lean_forex", "oanda/20140502_quote.zip", FOREX, zipped),
    ("lobster", "X_2012-06-21_34200000_57600000_message_1.csv", MESSAGES, bytes),
    ("binance_raw", "btcusdt.gz", BINANCE, gzip.compress),
    ("columns", "x.csv", CSV, bytes),
    ("auto", "x.csv.gz", CSV, gzip.compress),
]


def mutate(data: bytes, chance: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(chance.choice((1, 2, 5, 50))):
        place = chance.randrange(len(out) or 1)
        match chance.randrange(5):
            case 0:
                out[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                del out[place : place + chance.randrange(40)]
            case 2:
                out[place:place] = chance.choice(
                    (b"\n", b",", b"NaN", b"-", b"9" * 30, b"e9", b'"', b"\x00", b"[", b"{}", b"\r\n", b"1e999")
                )
            case 3:
                out[place:place] = out[place // 2 : place // 2 + chance.randrange(60)]
            case _:
                del out[place:]
        if not out:
            break
    return bytes(out)


@pytest.mark.parametrize(("fmt", "name", "data", "pack"), FILES, ids=[f[0] for f in FILES])
@pytest.mark.parametrize("where", ["text", "file"])
def test_mutated_files(fmt, name, data, pack, where, tmp_path: Path, read_all) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    (tmp_path / "X_2012-06-21_34200000_57600000_orderbook_1.csv").write_bytes(BOOKS)
    sources = [tmp_path] if fmt == "lobster" else [path]
    opened, errors = 0, []
    for seed in range(120):
        chance = random.Random(seed)
        path.write_bytes(pack(mutate(data, chance)) if where == "text" else mutate(pack(data), chance))
        try:
            read_all(sources, fmt, CSV_COLUMNS)
            opened += 1
        except SpiketapeError as e:
            errors.append(str(e))
    assert opened > 0 or where == "file"
    assert all(len(e) > 20 for e in errors)
