"""The command line: `spiketape`."""

from flows.cli.app import main

__all__ = ["main"]
