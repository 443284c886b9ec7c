"""Book and venue as two processes, with nothing between them but messages: topics that keep everything, deliveries at any time.

What a broker and its clients would do is written here in plain lines: a topic is a list of bytes, a reader has a place in it, a crash
puts a process back to a snapshot together with its places, and what it then says again is in the topic twice or is left out, as the
topic's token says.
"""

from __future__ import annotations

import itertools
import pickle
from dataclasses import dataclass, field

from operators.book import BookStage
from operators.execution import VenueStage
from operators.timeline.state import copied
from schemas.control import Accepted, ControlLog, Refused
from schemas.order_wire import BookTurn, VenueTurn, decode_book_turn, decode_venue_turn, encode_turn
from schemas.ranges import SliceOut
from schemas.slice_wire import decode_slice_out, encode_slice_out
from schemas.ticks import END


@dataclass
class Topic:
    """`exact`: turns that are already there are left out, one that straddles is cut, as the Kafka sink does; else all are appended."""

    exact: bool
    messages: list[bytes] = field(default_factory=list)
    hi: int | None = None

    def publish(self, turn: BookTurn | VenueTurn) -> None:
        if self.exact and self.hi is not None:
            turn = turn.cut(self.hi)[1]
            if turn is None:
                return
            assert turn.lo == self.hi
        self.hi = turn.hi if self.hi is None else max(self.hi, turn.hi)
        self.messages.append(encode_turn(turn))


@dataclass
class Told:
    """What a run left behind beside its rows: both topics, how often something crashed, what became of control messages."""

    requests: list[bytes]
    reports: list[bytes]
    crashes: int
    judged: list[Accepted | Refused]


class Process:
    """A stage with the places in its two inputs: what the shards say, and the other's turns."""

    def __init__(self, make, pieces, turns, decode, out) -> None:
        self.make, self.pieces, self.turns, self.decode, self.out = make, pieces, turns, decode, out
        self.stage = make()
        self.state = self.stage.start()
        self.at = [0, 0, 0]
        self.snapshots = [self.snapshot()]

    def snapshot(self):
        return pickle.dumps((self.at, copied(self.state)))

    def ready(self):
        inputs = (self.pieces, self.turns.messages)
        return [i for i in (0, 1) if self.at[i] < len(inputs[i])]

    def take(self, i):
        x = self.pieces[self.at[0]]() if i == 0 else self.decode(self.turns.messages[self.at[1]])
        self.at[i] += 1
        return self.give(x)

    def give(self, x):
        self.state, said = self.stage.step(self.state, x)
        for item in said:
            if isinstance(item, BookTurn | VenueTurn):
                self.out.publish(item)
        return said

    def crash(self, rng):
        """Back to one of the last snapshots, with code that was started anew."""
        self.stage = self.make()
        self.at, self.state = pickle.loads(self.snapshots[int(rng.integers(max(0, len(self.snapshots) - 4), len(self.snapshots)))])
        self.at = list(self.at)


class Written:
    """Rows as a store holds them: by table, key and n. What is written again must be the same."""

    def __init__(self) -> None:
        self.rows = {}

    def add(self, rows) -> None:
        for r in rows:
            kept = self.rows.setdefault((r.table, r.key), {})
            for row in r.a:
                n = int(row["n"])
                assert kept.setdefault(n, row.tobytes()) == row.tobytes(), f"{r.table}/{r.key}/{n} was written with other content"
                assert n == 0 or n - 1 in kept

    def tables(self):
        return {k: b"".join(rows[n] for n in range(len(rows))) for k, rows in self.rows.items() if rows}


def written(rows, summary):
    w = Written()
    w.add(rows)
    return {**w.tables(), "summary": summary}


def pieces_of(market, cuts, begin):
    """The ranges in which the shards say what they say, the last one the END."""
    bounds = [begin, *sorted({c for c in cuts if market.first < c < market.last}), market.last, END]
    return list(itertools.pairwise(bounds))


def run_apart(market, rng, *, cuts=20, exact=True, crash=0.0, begin=None, acts=(), snapshot=0.2):
    """Book and venue apart, over the whole market, in a random order. Returns what `written` does, and Told.

    `acts`: (slice that the book has reached when it comes, Command); after a crash they come again, and the book is given the log of what
    was accepted and the slice up to which its turns are out. The rows include the account's summary, under "summary".
    """
    begin = market.first if begin is None else begin
    book_cuts, venue_cuts = (rng.integers(market.first, market.last, cuts).tolist() for _ in range(2))

    def out(lo, hi):
        return lambda: tuple(
            decode_slice_out(encode_slice_out(SliceOut(o.shard, lo, hi, o.signals, o.quotes, o.rows, o.gated)))
            for o in (market.out(s, lo, min(hi, market.last)) for s in market.shards)
        )

    def gated(lo, hi):
        def make():
            found = [market.out(s, lo, min(hi, market.last)).gated for s in market.shards]
            return tuple(type(g)(g.shard, lo, hi, g.ticks, g.slices, g.gate, (), g.read, 0) for g in found)

        return make

    requests, reports = Topic(exact), Topic(exact)
    store, judged, crashes = Written(), [], 0

    def make_book():
        log = ControlLog(tuple(a.message for a in judged if isinstance(a, Accepted)))
        return BookStage(market.instruments, market.settings, market.shards, log, requests.hi or 0)

    book = Process(
        make_book,
        [out(lo, hi) for lo, hi in pieces_of(market, book_cuts, begin)],
        reports,
        decode_venue_turn,
        requests,
    )
    venue = Process(
        lambda: VenueStage(market.instruments, market.settings, market.shards),
        [gated(lo, hi) for lo, hi in pieces_of(market, venue_cuts, begin)],
        requests,
        decode_book_turn,
        reports,
    )
    while True:
        ready = [(p, i) for p in (book, venue) for i in p.ready()]
        if not ready:
            break
        process, i = ready[int(rng.integers(len(ready)))]
        while book.at[2] < len(acts) and book.state["at"] >= acts[book.at[2]][0]:
            book.at[2] += 1
            judged += book.give(acts[book.at[2] - 1][1])
        for item in process.take(i):
            if isinstance(item, tuple):
                store.add(item)
        if rng.random() < snapshot:
            process.snapshots.append(process.snapshot())
        if crash and rng.random() < crash:
            (book, venue)[int(rng.integers(2))].crash(rng)
            crashes += 1
    assert requests.hi == reports.hi == END
    assert book.state["over"] == venue.state["over"] == 2
    assert not book.state["waiting"]
    assert not venue.state["waiting"]
    told = Told(requests.messages, reports.messages, crashes, judged)
    return {**store.tables(), "summary": book.stage.summary(book.state)}, told
