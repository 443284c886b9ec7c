"""Spikes of one symbol over a short stretch of the tape: the network's 64 inputs and 128 hidden neurons, and the rates of their areas.

Computed anew with the stages of the run from two minutes before the stretch, because a run keeps counts of spikes, not spikes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from flows.offline import ShardChain, gated_ranges
from flows.replay import cursor_of
from flows.report.market import BATCH_TICKS
from flows.trading import Stages
from operators.encoding.code import DELTAS, POPULATIONS
from operators.sources.tape import Tape
from operators.spiking import infer_tick
from operators.spiking.kernels import working_arrays
from operators.spiking.model import HIDDEN, INPUTS, NEVER
from operators.spiking.stage import network_arguments, network_scratch, network_state, state_arguments
from schemas.ticks import Ints

WARM_NS = 120 * 10**9
STRETCH_NS = 20 * 10**9
BIN_NS = 500_000_000
MOST_TICKS = 40_000
MOST_SPIKES = 12_000


@dataclass(frozen=True, eq=False)
class Raster:
    """Spikes over [from_ns, to_ns): `ts_ns` int64 (m,) and `neuron` int64 (m,), inputs 0..63, hidden ones from 64 on.

    The stretch is shorter than STRETCH_NS where there are more than MOST_SPIKES.

    `areas`: names and first neurons; `rates` float64 (areas, bins): spikes per neuron and second in bins of half a second.
    """

    symbol: str
    from_ns: int
    to_ns: int
    ts_ns: Ints
    neuron: Ints
    areas: tuple[tuple[str, int, int], ...]
    rates: npt.NDArray[np.float64]


def areas_of(model_tau_ns: Ints) -> tuple[tuple[str, int, int], ...]:
    """(name, first neuron, neuron after the last): what says where the price stands, what says changes, hidden neurons by time constant."""
    first_delta = min(d.first for d in DELTAS)
    assert max(p.first + p.neurons for p in POPULATIONS) == first_delta
    width = HIDDEN // model_tau_ns.size
    hidden = [(f"hidden, {tau / 1e9:g} s", INPUTS + g * width, INPUTS + (g + 1) * width) for g, tau in enumerate(model_tau_ns.tolist())]
    return (("input, levels", 0, first_delta), ("input, changes", first_delta, INPUTS), *hidden)


def raster_of(tape: Tape, stages: Stages, symbol: int, from_ns: int) -> Raster | None:
    """The stretch of a symbol from `from_ns` on; None where it has no tick there."""
    to_ns = from_ns + STRETCH_NS
    chosen = stages.settings.replay.model_copy(update={"from_ns": from_ns - WARM_NS, "to_ns": to_ns, "warm_up_ns": 0})
    near = replace(stages, settings=stages.settings.model_copy(update={"replay": chosen}))
    shard = next(s for s, place in near.places.items() if symbol in place.symbols)
    place = near.places[shard]
    features, encoding = near.features(place), near.encoding(place)
    feature_state, code_state = features.start(), encoding.start()
    model, state, scratch = network_arguments(near.model), network_state(1), network_scratch()
    fired = working_arrays(scratch)[1]
    times: list[int] = []
    neurons: list[Ints] = []
    chains = {s: ShardChain(near, s) for s in near.shards}
    for gated in gated_ranges(chains, cursor_of(tape, near), BATCH_TICKS):
        leads = {lead.symbol: lead for _, series in gated.values() for lead in series}
        feature_state, x = features.step(feature_state, (gated[shard][0], tuple(leads[i] for i in place.leaders)))
        code_state, spikes = encoding.step(code_state, x)
        ticks, indptr, inputs = spikes.gated.ticks, spikes.spikes.indptr, spikes.spikes.neuron
        used = np.flatnonzero((ticks["symbol"] == symbol) & (spikes.use > 0))[-MOST_TICKS:]
        for t, ts in zip(used.tolist(), ticks["ts_ns"][used].tolist(), strict=True):
            own = inputs[indptr[t] : indptr[t + 1]]
            if near.forget:
                state["last_ns"][:] = NEVER
            infer_tick(0, ts, own, model, state_arguments(state), scratch)
            if ts >= from_ns:
                spiked = np.concatenate([own.astype(np.int64), INPUTS + np.flatnonzero(fired)])
                times += [ts] * spiked.size
                neurons.append(spiked)
    if not times:
        return None
    ts_ns, neuron = np.array(times, np.int64), np.concatenate(neurons)
    areas = areas_of(near.model.tau_ns)
    if ts_ns.size > MOST_SPIKES:
        to_ns = from_ns + max(1, (int(ts_ns[MOST_SPIKES]) - from_ns) // BIN_NS) * BIN_NS
        ts_ns, neuron = ts_ns[ts_ns < to_ns], neuron[ts_ns < to_ns]
    bins = np.arange(from_ns, to_ns + 1, BIN_NS)
    rates = np.array([np.histogram(ts_ns[(neuron >= a) & (neuron < b)], bins)[0] / (b - a) / (BIN_NS / 1e9) for _, a, b in areas])
    name = stages.instruments.symbols[symbol]
    return Raster(name, from_ns, to_ns, ts_ns, neuron, areas, rates)
