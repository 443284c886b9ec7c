"""Input for the tick network's benchmarks: the input spikes of a stretch of a tape, as the stages before the network make them."""

from __future__ import annotations

from pathlib import Path

from benchmarks.place import plain_settings
from flows.offline import ShardChain, gated_ranges
from flows.replay import cursor_of
from flows.trading import Stages
from operators.sources.tape import Tape
from operators.spiking import load_model
from operators.timeline.stage import ShardPlace
from schemas.ranges import SpikeRange


def spike_ranges(path: Path, batch_ticks: int) -> tuple[Stages, list[tuple[ShardPlace, SpikeRange]]]:
    """The stages of a tape, and the spikes of its first range of about `batch_ticks` ticks, by shard."""
    tape = Tape.open(path)
    stages = Stages(plain_settings(), tape.instruments, load_model(None))
    chains = {shard: ShardChain(stages, shard) for shard in stages.shards}
    gated = next(gated_ranges(chains, cursor_of(tape, stages), batch_ticks))
    leads = {lead.symbol: lead for _, series in gated.values() for lead in series}
    out = []
    for shard, (own, _) in gated.items():
        place = stages.places[shard]
        featuring, encoding = stages.features(place), stages.encoding(place)
        _, featured = featuring.step(featuring.start(), (own, tuple(leads[i] for i in place.leaders)))
        _, spikes = encoding.step(encoding.start(), featured)
        out.append((place, spikes))
    return stages, out
