"""Features to spikes of 64 input neurons: receptive fields and send-on-delta pairs, their mirror image and their inverse."""

from operators.encoding.code import CODE_DIGEST, DELTAS, INPUTS, MIRROR, NEURON_NAMES, POPULATIONS, Delta, Population
from operators.encoding.inverse import estimated_deltas, estimated_populations, kept_information, words
from operators.encoding.stage import EncodingError, EncodingStage

__all__ = [
    "CODE_DIGEST",
    "DELTAS",
    "INPUTS",
    "MIRROR",
    "NEURON_NAMES",
    "POPULATIONS",
    "Delta",
    "EncodingError",
    "EncodingStage",
    "Population",
    "estimated_deltas",
    "estimated_populations",
    "kept_information",
    "words",
]
