"""Slices, marks and the aligner; what a stage is; how a stage becomes a Bytewax step."""
