"""The endpoint of a long-running process: is it alive, is it ready, what does it count.

- `GET /health`: 200 while the process answers at all.
- `GET /ready`: 200 where all it needs from outside was reached and the watermark moves or need not; 503 otherwise. Both say in JSON how
  it stands, why, and each component's status. The component `clock` says where the machine's clock cannot be right; nothing hangs on it.
- `GET /metrics`: Prometheus's text, or OpenMetrics where it is asked for (flows/live/metrics.py).

It listens on `health.host`, by default only on this machine; there is no password, and nothing secret in what it says. With port 0 the
system chooses one. Where it listens is also written to a file of targets that Prometheus's `file_sd_configs` reads, and which goes away
when the process ends in order.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder

from flows.live.clock import Clock
from flows.live.metrics import LiveMetrics
from flows.live.watchdog import Progress, Standing, Watchdog
from operators.timeline.live import OK, Live
from schemas.errors import UsageError
from schemas.settings import Settings

ANNOUNCEMENT: Final = "health.json"
"""File in the run folder that says where the process listens."""
SLOWEST_REQUEST_S: Final = 5.0
"""A client that takes longer to ask is hung up on."""


@dataclass(frozen=True)
class Health:
    """A process under watch. `address`: host and port that it listens on; None where health is off."""

    progress: Progress
    address: tuple[str, int] | None


@contextmanager
def watched(live: Live, settings: Settings, flow: str, run: Path | None = None) -> Iterator[Health]:
    """Serves the endpoint and runs the watchdog while the block runs, as `settings.health` says.

    `run`: the run folder, for the file of targets. Raises UsageError where nobody may listen on that host and port.
    """
    chosen = settings.health
    progress = Progress(live, chosen.stall_s)
    watchdog = Watchdog(progress, chosen.stall_s) if chosen.stall_s else None
    server = None
    if chosen.enabled:
        server = HealthServer(live, progress, chosen.host, chosen.port, settings.deployment, flow)
        server.start()
        if run is not None:
            server.announce(run / ANNOUNCEMENT)
        structlog.get_logger().info("health endpoint", url=server.url)
    if watchdog is not None:
        watchdog.start()
    try:
        yield Health(progress, None if server is None else server.address)
    finally:
        if watchdog is not None:
            watchdog.stop()
        if server is not None:
            server.stop()


class HealthServer:
    """The HTTP server, in threads of its own. Raises UsageError where it cannot listen."""

    def __init__(self, live: Live, progress: Progress, host: str, port: int, deployment: str, flow: str) -> None:
        self._live = live
        self._progress = progress
        self._clock = Clock(live)
        self._labels = {"deployment": deployment, "flow": flow}
        self._registry = CollectorRegistry()
        self._registry.register(LiveMetrics(live, progress, deployment, flow))
        ProcessCollector(registry=self._registry)
        try:
            self._server = _Server((host, port), _handler_of(self))
        except (OSError, OverflowError) as e:
            msg = f"health.host {host}, health.port {port}: cannot listen there ({e}); choose another port, or 0 for a free one"
            raise UsageError(msg) from e
        self._announced: Path | None = None
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it listens on."""
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    @property
    def url(self) -> str:
        host, port = self.address
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stops listening and takes the file of targets away."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        if self._announced is not None:
            self._announced.unlink(missing_ok=True)

    def announce(self, path: Path) -> None:
        """Writes where it listens, for Prometheus's `file_sd_configs`."""
        part = path.with_name(path.name + ".part")
        target = self.url.removeprefix("http://")
        part.write_text(json.dumps([{"targets": [target], "labels": self._labels}]) + "\n", encoding="utf-8")
        part.replace(path)
        self._announced = path

    def answer(self, path: str, accept: str) -> tuple[int, str, bytes]:
        """Status, content type and body for a path; 404 for one that there is not."""
        if path == "/metrics":
            encoder, content_type = choose_encoder(accept)
            return 200, content_type, encoder(self._registry)
        if path not in ("/health", "/ready"):
            return 404, "application/json", _json({"error": f"no {path} here", "there": ["/health", "/ready", "/metrics"]})
        state = self._state()
        return (200 if path == "/health" or state["ready"] else 503), "application/json", _json(state)

    def _state(self) -> dict[str, Any]:
        live = self._live
        finding = self._progress.look()
        components = list(live.components.values())
        now = live.now_s()
        clock = self._clock.look()
        apart = [f"{c.name}: {c.why}" for c in components if c.status is not OK]
        return {
            **self._labels,
            "ready": not apart and finding.standing in (Standing.MOVING, Standing.WAITING),
            "standing": finding.standing.value,
            "reasons": list(dict.fromkeys((*apart, *finding.why))),
            "done_slice": live.done_slice,
            "waiting_for": sorted(live.waiting_for.copy()),
            "components": {
                **{c.name: {"status": c.status, "why": c.why, "for_s": round(now - c.since_s, 1)} for c in components},
                "clock": {"status": clock.status, "why": clock.why},
            },
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = False

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """A client that went away is no event; what else happens is logged, not printed."""
        structlog.get_logger().debug("health request failed", exc_info=True)


def _handler_of(server: HealthServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = SLOWEST_REQUEST_S
        server_version = "spiketape"
        sys_version = ""

        def do_GET(self) -> None:
            status, content_type, body = server.answer(self.path.partition("?")[0], self.headers.get("Accept", ""))
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Nothing: a scrape every few seconds is no news."""

    return Handler


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False) + "\n").encode()
