"""The stages, one room each. No room imports its neighbour (only `book` composes others); all import schemas."""

import schemas as schemas  # names the folder of compiled kernels before any kernel is declared
