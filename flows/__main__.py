"""`python -m flows` is `spiketape`."""

from flows.cli import main

main()
