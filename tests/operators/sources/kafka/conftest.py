"""A deployment of a test's own on the broker of the run, a simulated tape, and a source driven by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from operators.quality.operator import cut_batch, joined_batches
from operators.sources.kafka import Start, TickStream, feeds_of
from operators.sources.kafka.operator import KafkaSource
from operators.sources.replay import TapeCursor
from operators.sources.simulator import simulate
from operators.sources.tape import Tape
from operators.timeline.aligner import Aligner
from operators.timeline.control import Credit, Drain, Meters
from operators.timeline.live import Live
from operators.timeline.stage import shard_places
from schemas.poison import Poison
from schemas.settings import Settings, load_settings
from schemas.ticks import END, Mark, TickBatch, Ticks, lead_key

_NUMBER = itertools.count()


@pytest.fixture(scope="session")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Tape:
    """Twenty thousand simulated ticks of eight symbols on four partitions of 64 shards."""
    path = tmp_path_factory.mktemp("tapes") / "made"
    simulate(path, 20_000, 7, 8)
    return Tape.open(path)


@pytest.fixture
def deployed(kafka: Any) -> Callable[..., Settings]:
    """Settings of a deployment whose topics have names of their own; `bootstrap`: another broker; further settings as overrides."""

    def settings(*overrides: str, bootstrap: str | None = None) -> Settings:
        prefix = f"source{next(_NUMBER)}."
        server = kafka.bootstrap if bootstrap is None else bootstrap
        given = (f"kafka.bootstrap_servers={server}", f"kafka.topic_prefix={prefix}", *overrides)
        return load_settings(None, given, env={})

    return settings


@dataclass
class Told:
    """What a source or cursor told, aligned: by shard (ticks, slices), and all marks; poison apart."""

    gates: dict[int, Aligner[TickBatch]]
    pieces: dict[int, list[tuple[Ticks, Any]]]
    marks: dict[int, list[int]]
    poison: list[Poison] = field(default_factory=list)
    batches: int = 0

    @classmethod
    def of(cls, feeds: dict[int, tuple[int, ...]]) -> Told:
        return cls({s: Aligner(f, cut_batch) for s, f in feeds.items()}, {s: [] for s in feeds}, {s: [] for s in feeds})

    def take(self, items: Iterable[Any]) -> None:
        for m in items:
            if isinstance(m, Poison):
                self.poison.append(m)
                continue
            gate = self.gates[m.shard]
            if isinstance(m, Mark):
                gate.mark(m.source, m.k)
                self.marks[m.shard].append(m.k)
            else:
                assert not m.ticks.flags.writeable
                gate.put(m.partition, m)
                self.batches += 1
            ready = gate.ready()
            if ready is not None:
                _, hi, found = ready
                ticks, slices = joined_batches([b for p in sorted(found) for b in found[p]])
                assert ticks.size == 0 or slices[-1] < hi
                self.pieces[m.shard].append((ticks, slices))

    def result(self) -> dict[int, tuple[bytes, bytes, list[int]]]:
        """By shard: the bytes of its ticks, their slices, its last two marks."""
        return {
            s: (
                b"".join(t.tobytes() for t, _ in found),
                np.concatenate([k for _, k in found]).tobytes() if found else b"",
                self.marks[s][-2:],
            )
            for s, found in self.pieces.items()
        }


@dataclass
class Driven:
    """A source's part driven by hand: `told` is what came out, `led` what for the followers in each partition, `live` what it shows."""

    source: KafkaSource
    part: Any
    told: Told
    live: Live
    led: dict[int, Told] = field(default_factory=dict)

    def step(self) -> bool:
        """One call; False where the source is at its end."""
        try:
            items = self.part.next_batch()
        except StopIteration:
            return False
        self.told.take(v for _, v in items if not isinstance(v, tuple))
        for p, led in self.led.items():
            led.take(v[1] for key, v in items if isinstance(v, tuple) and v[0] == p and key == lead_key(p, v[1].shard))
        return True

    def until(self, reached: Callable[[], bool]) -> None:
        """Steps until something is so."""
        while not reached():
            assert self.step()

    def run(self) -> Told:
        """Steps to the end of the stream."""
        while self.step():
            pass
        self.part.close()
        return self.told

    @property
    def rows(self) -> int:
        return self.source.ticks_this_attempt


def opened(
    settings: Settings,
    tape: Tape,
    snapshot: bytes | None = None,
    told: Told | None = None,
    partitions: Iterable[int] | None = None,
    start: str = "resume",
    batch_ticks: int = 65_536,
    credit: Credit | None = None,
    leaders: Mapping[int, Sequence[int]] | None = None,
    led: dict[int, Told] | None = None,
    run: Path | None = None,
) -> Driven:
    """A source of a deployment's ticks, to be driven by hand. `leaders`: by partition with followers, the shards that lead there;
    `run`: the folder of the run whose source it is."""
    live = Live()
    mine = tuple(range(settings.partitions) if partitions is None else partitions)
    shards = [s for s in shard_places(tape.instruments, settings) if s % settings.partitions in mine]
    stream = TickStream(settings, tape.instruments, shards, mine, live, leaders)
    credit = Credit(10**9, 10**9) if credit is None else credit
    begin = Start.parsed(start) if run is None else Start.parsed(start).noted_in(run)
    source = KafkaSource("ticks", settings, "test", stream, Drain(), credit, Meters(), live, begin, batch_ticks)
    part = source.build_part("ticks", "kafka", snapshot)
    if led is None:
        led = {p: Told.of(feeds_of(of, settings.partitions)) for p, of in (leaders or {}).items()}
    return Driven(source, part, Told.of(feeds_of(shards, settings.partitions)) if told is None else told, live, led)


@pytest.fixture
def reading() -> Callable[..., Driven]:
    """Opens sources; see `opened`."""
    return opened


@pytest.fixture
def by_cursor() -> Callable[..., Told]:
    """What a tape cursor tells of a tape under given settings."""

    def told(settings: Settings, tape: Tape, batch: int = 50_000) -> Told:
        places = shard_places(tape.instruments, settings)
        index = np.full(len(tape.instruments.symbols), -1, np.int32)
        for i, place in enumerate(places.values()):
            index[list(place.symbols)] = i
        feeds = feeds_of(list(places), settings.partitions)
        cursor = TapeCursor(tape, tape.partitions, list(places), index, list(feeds.values()), settings.slice_ns)
        out, position = Told.of(feeds), cursor.start()
        while not position.finished:
            position, messages = cursor.next(position, batch)
            out.take(messages)
        assert all(m[-1] == END for m in out.marks.values())
        return out

    return told
