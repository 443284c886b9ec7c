"""Where ticks come from: tapes, importers of recorded files, the market simulator and the replay of a tape."""
