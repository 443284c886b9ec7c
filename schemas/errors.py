"""Typed errors. Each says what was expected, what was found, where, and what to do; each carries an exit code."""

from __future__ import annotations


class SpiketapeError(Exception):
    """Base of every error a user may see. `exit_code` is the process's (spec: 1 failed, 2 wrong use, 3 refused, ...)."""

    exit_code = 1


class UsageError(SpiketapeError):
    """A wrong option, setting or argument."""

    exit_code = 2


class RefusedError(SpiketapeError):
    """Refused because of what is already there (another run, a lock, a finished tape)."""

    exit_code = 3


class StateMismatchError(SpiketapeError):
    """The state in the recovery store does not fit the flow (step ids, versions)."""

    exit_code = 5


class TapeError(SpiketapeError):
    """A tape that is missing, unfinished, damaged or of another format."""


class WireError(SpiketapeError):
    """Bytes that are not a valid tick batch. `reason` is a short stable code for dead letters."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class InstrumentError(SpiketapeError):
    """An instrument whose definition cannot be used (overflow, unknown calendar, ...)."""


class ModelError(SpiketapeError):
    """A model file that is missing, damaged or does not fit the settings."""


class LakeError(SpiketapeError):
    """The local lake cannot be written or does not hold what it should."""


class SavepointError(SpiketapeError):
    """A savepoint or a recovery store that is missing, unfinished or damaged."""


class BrokerError(SpiketapeError):
    """The Kafka broker was away for too long, or answered that something cannot be done."""


class FencedError(SpiketapeError):
    """A newer instance of this process has taken over: this one may write nothing more."""

    exit_code = 4


class InfluxError(SpiketapeError):
    """InfluxDB answered that something cannot be done, or the spool in front of it does not hold what it should."""


class DrainedError(SpiketapeError):
    """Asked to end by a signal while something outside was waited for. Nothing is lost: the next start goes on from the last epoch."""

    exit_code = 143

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum


class TopicError(RefusedError):
    """A topic cannot be read as this flow must read it.

    `reason`: `gap`, `truncated`, `partitions`, `missing`, `instruments` or `stream`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
