"""Training and evaluation of the tick network. Composes the rooms before the network offline; the flow never imports this."""

from operators.spiking.training.evaluate import evaluate
from operators.spiking.training.labels import Targets, find_targets
from operators.spiking.training.prepare import Prepared, prepare, prepare_ticks
from operators.spiking.training.train import train, trained

__all__ = ["Prepared", "Targets", "evaluate", "find_targets", "prepare", "prepare_ticks", "train", "trained"]
