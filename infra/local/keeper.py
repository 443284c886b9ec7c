"""Runs a server for as long as whoever asked for it lives: `python keeper.py COMMAND...`, a script without imports of this package.

Standard input is the life line: its other end is held by the process that wants the server, and closes when that ends, kill -9 included.
Then the server's whole process group is killed. The server's process id is told on standard output; what the server prints goes to
standard error, which is its log. Should the keeper itself be killed, the kernel kills the server (Linux, PR_SET_PDEATHSIG).
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading

PR_SET_PDEATHSIG = 1


def main() -> int:
    """Starts the command, waits until it or the life line ends, and leaves nothing behind."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)

    def die_with_keeper() -> None:
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    held = tuple(int(fd) for fd in os.environ.pop("KEEPER_FDS", "").split(",") if fd)
    server = subprocess.Popen(
        sys.argv[1:],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno(),
        start_new_session=True,
        preexec_fn=die_with_keeper,  # noqa: PLW1509 - there is no other thread yet
        pass_fds=held,
    )
    print(server.pid, flush=True)

    def kill_at_end_of_line() -> None:
        while os.read(0, 4096):
            pass
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)

    threading.Thread(target=kill_at_end_of_line, daemon=True).start()
    code = server.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
