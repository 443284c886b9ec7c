"""The tick network: its equations, its parameters, its state.

What it is. 64 input neurons (operators/encoding) drive 128 leaky integrate-and-fire neurons, and both layers' spikes drive leaky
read-outs, one for each delay at which skill is measured. Each symbol has its own state; the weights are shared.

Equations. At each tick that drives the network (`use` = 1), t the tick's time, h = t - (time of the symbol's last such tick) >= 0:

    V_j    <- max(V_j * exp(-h / tau_j) + sum over spiking inputs i of w_in[i, j],  -theta_j)     exact leak, delta synapses
    z_j     = V_j >= theta_j ;   V_j <- 0 where z_j                                               fire and reset to rest
    R_hg   <- R_hg * exp(-h / tau_g) + sum over spiking n of w_read[n, hg]                        read-out of head h, trace g
    N_g    <- N_g * exp(-h / tau_g) + 1                                                           leaky count of ticks
    score_h = scale * sum over g of R_hg / (N_g + c_g)                                            g = 0, 1, .., G in this order

Trace g = 0 has tau = 0: it holds the tick's own spikes (factor 0, N_0 = 1, c_0 = 0). Dividing by N_g + c_g makes a trace a mean over the
recent ticks and c_g = CALM_TICKS silent ones (divisive normalisation with its constant, Carandini and Heeger 2012): a busy minute does
not shout, and few ticks, which prove little, speak softly. A linear leaky read-out needs no
trace per neuron: one accumulator per head and trace carries them all, because decay and sum commute.

Numerics. Input and read-out weights are fixed-point integers, so the sums over spikes are exact and have no order: swapping
each neuron with its mirror image gives the exactly negated score. V is float32, R and N are float64, multiplied and added without
contraction; factors come from schemas.exact.exp64. At most one spike of a neuron in a tick. No refractory time.

Parameters
| name | dtype, shape | unit | meaning |
| --- | --- | --- | --- |
| w_in | int16 (I, H) | potential | input weights, |w| <= WEIGHT_MAX so that all I inputs at once fit int16 |
| theta | float32 (H,) | potential | threshold above rest; also minus the lowest potential |
| tau_ns | int64 (G,) | ns | time constants, shared by membranes and traces |
| w_read | int32 (I + H, 2 * HEAD_WIDTH) | 1 / READ_ONE | read-out weights, column head * HEAD_WIDTH + g |

Hidden neurons stand in G blocks of H / G, block g with membrane constant tau_ns[g]; in a block the second half mirrors the first.

State of a shard (S symbols)
| name | dtype, shape | meaning |
| --- | --- | --- |
| v | float32 (S, H) | membrane potential above rest |
| r | float64 (S, 2 * HEAD_WIDTH) | read-out accumulators |
| n | float64 (S, HEAD_WIDTH) | leaky count of ticks by trace |
| last_ns | int64 (S,) | time of the last tick that drove the network; NEVER before the first |
| score | float32 (S, 2) | the scores of the two heads as of that tick |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

INPUTS: Final = 64
HIDDEN: Final = 128
WEIGHT_MAX: Final = 511
HEADS: Final = 2
HEAD_WIDTH: Final = 8
"""Columns of one head: trace 0 (the tick's own spikes) and up to 7 leaky traces; unused ones are zero."""
CALM_TICKS: Final = 16.0
"""Silent ticks that every leaky trace counts beside those it has seen."""
READ_ONE: Final = 1 << 16
"""A read-out weight of 1.0 in w_read."""
READ_MAX: Final = 1 << 23
"""|w_read| is below this, so that all neurons at once fit int32."""
NEVER: Final = -(2**63)
DELAYS_NS: Final = (0, 150_000_000)
"""What each head is trained for, and is scored at: no delay, and one slice of 100 ms plus the median order latency."""
SHARES_E2: Final = (10, 20, 50, 100)
"""Shares of spells at which thresholds are frozen, in hundredths."""


@dataclass(frozen=True, eq=False)
class TickNetwork:
    """Weights and frozen decision rules. Arrays as in the table above, and:

    `calibration` float64 (M, 2, P): for each head-1 score size (row 0, ascending from 0) the share of hits (row 1, never
    decreasing, from 0.5). `thresholds` float64 (M, 2, 2, 4): size of score at which a predictor (network, imbalance) speaks, by
    delay and share (SHARES_E2). Row 0 is pooled over symbols, row 1 + k belongs to `symbols[k]`.
    `manifest`: where the model comes from (plain JSON values). `digest`: SHA-256 of the model file's bytes, b"" if never stored.
    """

    w_in: npt.NDArray[np.int16]
    theta: npt.NDArray[np.float32]
    tau_ns: npt.NDArray[np.int64]
    w_read: npt.NDArray[np.int32]
    calibration: npt.NDArray[np.float64]
    thresholds: npt.NDArray[np.float64]
    symbols: tuple[str, ...]
    manifest: dict[str, Any]
    digest: bytes = b""

    @property
    def id(self) -> int:
        """The first 64 bits of the digest: how rows name the model."""
        return int.from_bytes(self.digest[:8].ljust(8, b"\0"), "big")

    def row_of(self, symbol: str) -> int:
        """The row of `calibration` and `thresholds` for a symbol; 0 (pooled) for one that the model does not know."""
        return self.symbols.index(symbol) + 1 if symbol in self.symbols else 0
