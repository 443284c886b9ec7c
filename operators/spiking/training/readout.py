"""Offline fit of the read-out: logistic regression on the leaky traces, weighted by spell, odd under mirroring.

The score must turn round when the market is mirrored, so a neuron and its mirror image carry opposite weights, and the regression
sees differences of their traces and has no intercept. That is the same as adding each example's mirror image to the data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from operators.encoding import INPUTS, MIRROR
from operators.spiking.model import HEAD_WIDTH, HEADS, HIDDEN, NEVER, READ_MAX, READ_ONE, TickNetwork
from operators.spiking.training.hidden import hidden_spikes, pair_of
from operators.spiking.training.labels import Targets
from operators.spiking.training.prepare import Prepared
from operators.spiking.training.trace_kernels import collect_traces
from schemas.ticks import Ints

Floats = npt.NDArray[np.float64]
RIDGES = (10_000.0, 3000.0, 1000.0, 300.0, 100.0, 30.0)
"""Penalties tried, in units of one example on columns scaled to mean square 1."""
CHUNK = 1 << 16


@dataclass(frozen=True, eq=False)
class Sample:
    """Chosen eligible ticks: `at` places in Targets, ascending in row; `weight`: so that each spell weighs 1 in all."""

    at: Ints
    weight: Floats


def pairs(groups: int) -> tuple[Ints, Ints]:
    """(plus, minus): neurons of both layers (inputs first) that are each other's mirror images; those that mirror themselves are not in."""
    mirror = np.concatenate([MIRROR, INPUTS + pair_of(groups)])
    plus = np.flatnonzero(np.arange(INPUTS + HIDDEN) < mirror)
    return plus, mirror[plus]


def draw_sample(targets: Targets, per_spell: int, most: int, seed: int) -> Sample:
    """Up to `per_spell` eligible ticks of each spell, its first one always, and at most about `most` in all.

    Where that would be too many, each spell gives fewer, and only then spells are left out, at random: what a spell teaches is
    mostly in one of its ticks.
    """
    spells = np.unique(targets.spell)
    per_spell = max(1, min(per_spell, most // max(spells.size, 1)))
    noise = _noise(seed, targets.row).astype(np.float64)
    first = np.r_[True, np.diff(targets.spell) > 0]
    order = np.lexsort((np.where(first, -1.0, noise), targets.spell))
    spell = targets.spell[order]
    starts = np.flatnonzero(np.r_[True, np.diff(spell) > 0])
    rank = np.arange(spell.size) - np.repeat(starts, np.diff(np.r_[starts, spell.size]))
    chosen = order[rank < per_spell]
    expected = chosen.size
    if expected > most:
        kept = _noise(seed + 1, spells) < np.uint64(int(2**64 * (most / expected)) - 1)
        chosen = chosen[np.isin(targets.spell[chosen], spells[kept])]
    chosen = chosen[np.argsort(targets.row[chosen], kind="stable")]
    _, inverse, counts = np.unique(targets.spell[chosen], return_inverse=True, return_counts=True)
    return Sample(chosen, 1.0 / counts[inverse])


def _noise(seed: int, keys: Ints) -> npt.NDArray[np.uint64]:
    """64 random bits of (seed, key), by the SplitMix64 finaliser over arrays."""
    offset = np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    z = keys.astype(np.uint64) * np.uint64(0xBF58476D1CE4E5B9) + offset
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def trace_matrix(data: Prepared, model: TickNetwork, rows: Ints, forget: bool = False) -> npt.NDArray[np.float32]:
    """What the read-out sees at ticks `rows` (ascending): float32 (m, (1 + G) * pairs), trace 0 first."""
    groups = model.tau_ns.size
    plus, minus = pairs(groups)
    h_indptr, h_neuron = hidden_spikes(data, model, forget)
    symbols = len(data.place.symbols)
    out = np.empty((rows.size, (groups + 1) * plus.size), np.float32)
    collect_traces(
        data.ticks, data.use, data.indptr, data.neuron, h_indptr, h_neuron, INPUTS, data.place.local, 1.0 / model.tau_ns.astype(np.float64),
        forget, rows, plus, minus, np.zeros((symbols, groups + 1, INPUTS + HIDDEN), np.float32), np.zeros((symbols, groups + 1)),
        np.full(symbols, NEVER, np.int64), out,
    )  # fmt: skip
    return out


def bounding_curvature(x: npt.NDArray[np.float32], weight: Floats) -> Floats:
    """What no logistic loss over these examples curves more than: a quarter of the weighted x' x (Boehning and Lindsay 1988). (P, P)."""
    total = np.zeros((x.shape[1], x.shape[1]))
    for at in range(0, len(x), CHUNK):
        part = x[at : at + CHUNK] * np.sqrt(0.25 * weight[at : at + CHUNK, None]).astype(np.float32)
        total += part.T @ part
    return total


def fit_logistic(
    x: npt.NDArray[np.float32],
    y: Floats,
    weight: Floats,
    ridge: float,
    curvature: Floats,
    start: Floats | None = None,
    steps: int = 20,
    smallest_move: float = 1e-3,
) -> Floats:
    """Weights of a logistic regression without intercept. x (m, P) of columns of like size, y +-1. Returns (P,).

    Steps with one `curvature` that bounds the loss's own: each lowers the loss, and where few labels are near certain, a dozen do.
    Ends where no weight moves by `smallest_move`.
    """
    beta = np.zeros(x.shape[1]) if start is None else start.copy()
    bound = curvature.copy()
    bound[np.diag_indices_from(bound)] += ridge
    inverse = np.linalg.inv(bound)
    for _ in range(steps):
        margin = y * (x @ beta.astype(np.float32)).astype(np.float64)
        wrong = 1.0 / (1.0 + np.exp(np.clip(margin, -30, 30)))
        move = inverse @ (x.T @ (weight * y * wrong).astype(np.float32) - ridge * beta)
        beta += move
        if np.abs(move).max() < smallest_move:
            break
    return beta


def log_loss(x: npt.NDArray[np.float32], y: Floats, weight: Floats, beta: Floats) -> float:
    """Mean logistic loss."""
    margin = np.clip(y * (x @ beta.astype(np.float32)), -30, 30)
    return float((weight * np.log1p(np.exp(-margin))).sum() / weight.sum())


def fit_head(x: npt.NDArray[np.float32], label: npt.NDArray[np.int8], weight: Floats) -> tuple[Floats, dict[str, float]]:
    """Read-out of one head: the ridge with the least loss on the last fifth, then a fit on all. Rows in order of time."""
    has = label != 0
    x, y, weight = x[has], label[has].astype(np.float64), weight[has]
    scale = np.sqrt(np.maximum(np.einsum("ij,ij,i->j", x, x, weight.astype(np.float32)) / weight.sum(), 1e-5)).astype(np.float32)
    x /= scale
    cut = int(0.8 * y.size)
    early, late = bounding_curvature(x[:cut], weight[:cut]), bounding_curvature(x[cut:], weight[cut:])
    losses: dict[float, float] = {}
    beta = None
    for ridge in RIDGES:
        beta = fit_logistic(x[:cut], y[:cut], weight[:cut], ridge, early, beta)
        losses[ridge] = log_loss(x[cut:], y[cut:], weight[cut:], beta)
        if losses[ridge] > min(losses.values()):
            break
    best = min(losses, key=lambda r: (losses[r], r))
    fitted = fit_logistic(x, y, weight, best, early + late, beta)
    return fitted / scale, {"ridge": best, "held_out_loss": losses[best], "examples": int(y.size)}


def with_readout(model: TickNetwork, heads: list[Floats]) -> TickNetwork:
    """The model with these regression weights ((1 + G) * pairs each), mirrored and in fixed point."""
    groups = model.tau_ns.size
    plus, minus = pairs(groups)
    w = np.zeros((INPUTS + HIDDEN, HEADS * HEAD_WIDTH), np.int32)
    for head, beta in enumerate(heads):
        fixed = np.clip(np.rint(beta.reshape(groups + 1, plus.size) * READ_ONE), 1 - READ_MAX, READ_MAX - 1).astype(np.int32)
        for g in range(groups + 1):
            w[plus, head * HEAD_WIDTH + g] = fixed[g]
            w[minus, head * HEAD_WIDTH + g] = -fixed[g]
    return replace(model, w_read=w)
