"""What can go wrong with local servers."""

from __future__ import annotations

from schemas.errors import SpiketapeError


class ServerError(SpiketapeError):
    """A local server that does not start, does not answer, or ended by itself."""


class FetchError(SpiketapeError):
    """A server that could not be fetched or built: which step, what it said, what to do."""


class MissingToolsError(FetchError):
    """Programs that are needed to fetch or build a server and are not there; the message says how to install them."""
