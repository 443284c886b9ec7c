"""Each figure of GOALS has a command here; `spiketape bench` runs them."""
