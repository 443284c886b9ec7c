"""Ports that a server keeps over a restart.

They are taken from below the range from which the kernel gives ports to clients (32768 and up on Linux), so that no client gets the
port of a server while that is being restarted.
"""

from __future__ import annotations

import random
import socket

LOWEST, HIGHEST = 15_000, 30_000


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback address now."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A port of the loopback address on which nobody listens, chosen at random so that two who choose at once rarely meet."""
    while not is_free(port := random.SystemRandom().randrange(LOWEST, HIGHEST)):
        pass
    return port
