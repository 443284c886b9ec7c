"""The stages, one room each. No room imports its neighbour (only `book` composes others); all import schemas."""
