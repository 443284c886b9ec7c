"""The vocabulary of features: column j of `FeatureRange.x` is FEATURE_NAMES[j]. Formulas: operators/features/__init__.py.

Parity says what happens when the market is mirrored (every price move turned round, bid and ask sides swapped): a feature of
parity -1 changes its sign, one of parity +1 stays. Training mirrors its data, so this holds bit for bit.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

ODD_FEATURES: Final = (
    "return_fast",
    "return_slow",
    "imbalance",
    "imbalance_fast",
    "imbalance_slow",
    "imbalance_shift",
    "microprice",
    "sign_flow_fast",
    "sign_flow_slow",
    "size_flow_fast",
    "size_flow_slow",
    "order_flow_fast",
    "order_flow_slow",
    "last_direction",
    "lead_fast",
    "lead_slow",
    "trade_side",
    "mid_step",
    "queue_lean",
)
EVEN_FEATURES: Final = (
    "spread",
    "volatility",
    "volatility_ratio",
    "change_age",
    "persistence",
)
FEATURE_NAMES: Final = ODD_FEATURES + EVEN_FEATURES
FEATURE_PARITY: Final[npt.NDArray[np.int8]] = np.array([-1] * len(ODD_FEATURES) + [1] * len(EVEN_FEATURES), np.int8)
FEATURE_PARITY.flags.writeable = False
FORMULAS: Final = 1
"""Raised with each change of a feature's formula or scaling, so that models trained before it are refused (operators/spiking/origin.py)."""
FEATURE_LIMIT: Final = 3.0
"""Every scaled feature lies in [-FEATURE_LIMIT, FEATURE_LIMIT]."""
