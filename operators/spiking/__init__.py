"""The spiking network: ticks' input spikes to scores; its model file. Training and evaluation are in operators.spiking.training."""

from operators.spiking.kernels import infer_tick
from operators.spiking.model import DELAYS_NS, SHARES_E2, TickNetwork
from operators.spiking.modelfile import DEFAULT_MODEL, decode_model, encode_model, load_model, save_model
from operators.spiking.origin import check_fits, origin_of
from operators.spiking.stage import SpikingStage

__all__ = [
    "DEFAULT_MODEL",
    "DELAYS_NS",
    "SHARES_E2",
    "SpikingStage",
    "TickNetwork",
    "check_fits",
    "decode_model",
    "encode_model",
    "infer_tick",
    "load_model",
    "origin_of",
    "save_model",
]
