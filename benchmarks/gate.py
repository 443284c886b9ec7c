"""A proxy in front of an InfluxDB that answers in its place where it is told to: busy, failing, for once or until told otherwise."""

from __future__ import annotations

import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

import urllib3

from flows.live.deployment import Influx

BUSY: Final = (429, {"Retry-After": "0.2"})
"""What a busy server answers, and when it wants to be asked again, in seconds."""

Reply = tuple[int, dict[str, str]]


class Gate:
    """Answers itself as often as `answers` says and as long as `busy` (status, headers), else passes on what the server says. It does not
    answer at all where the server does not.

    `asked`: requests so far; `taken`: bodies that the server took, in order, where `keep` says so.
    """

    def __init__(self, server: Influx, *, keep: bool = False) -> None:
        self.token, self.org = server.token, server.org
        self.answers: list[Reply] = []
        self.busy = False
        self.asked = 0
        self.refused = 0
        self.taken: list[bytes] = []
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                gate.asked += 1
                reply = gate.answers.pop(0) if gate.answers else BUSY if gate.busy else None
                if reply is not None:
                    gate.refused += 1
                    self._answer(*reply, b'{"code":"busy","message":"try later"}')
                    return
                wanted = {k: v for k, v in self.headers.items() if k not in ("Host", "Content-Length")}
                try:
                    answer = urllib3.request("POST", server.url + self.path, body=body, headers=wanted, retries=False)
                except urllib3.exceptions.HTTPError:
                    self.close_connection = True
                    return
                if keep and answer.status == 204:
                    gate.taken.append(zlib.decompress(body, 16 + zlib.MAX_WBITS))
                self._answer(answer.status, {}, answer.data)

            def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if status != 204:
                    self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nothing on the error output."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
