"""InfluxDB 2 on this machine: the real influxd, set up with one organisation, one bucket and a token."""

from __future__ import annotations

import json
import os
import secrets
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.local.errors import ServerError
from infra.local.server import LocalServer

ANSWERS_WITHIN_S = 10


class InfluxServer(LocalServer):
    """`program`: influxd; None builds it where it is not in the cache. `org`, `bucket`, `token`: what it is set up with the first time.

    A token that is not given is made by chance and kept in the folder, readable by its owner only.
    """

    name = "influx"
    stops_within_s = 30.0

    def __init__(
        self,
        data: Path,
        port: int | None = None,
        *,
        program: Path | None = None,
        org: str = "spiketape",
        bucket: str = "spiketape",
        token: str | None = None,
        options: Sequence[str] = (),
        detached: bool = False,
    ) -> None:
        super().__init__(data, port, detached=detached)
        self._program = program
        self.org = org
        self.bucket = bucket
        self._token = token
        self._options = tuple(options)

    @property
    def url(self) -> str:
        """Its address for clients."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        """The token of its owner, who may do everything."""
        if self._token is None:
            kept = self.data / "token"
            if not kept.exists():
                self.data.mkdir(parents=True, exist_ok=True)
                new = self.data / "token.new"
                with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                    file.write(secrets.token_urlsafe(32))
                new.replace(kept)
            self._token = kept.read_text()
        return self._token

    def healthy(self) -> bool:
        """Whether /health says pass."""
        try:
            return bool(self._asked("GET", "/health", within_s=2).get("status") == "pass")
        except (OSError, ValueError):
            return False

    def _prepare(self) -> None:
        if self._program is None:
            from infra.local.influx_build import INFLUX

            self._program = INFLUX.fetched() / "influxd"

    def _command(self) -> Sequence[str]:
        data = self.data.resolve()
        return [
            str(self._program),
            "run",
            f"--bolt-path={data / 'influxd.bolt'}",
            f"--engine-path={data / 'engine'}",
            f"--sqlite-path={data / 'influxd.sqlite'}",
            f"--http-bind-address=127.0.0.1:{self.port}",
            "--reporting-disabled",
            "--log-level=warn",
            *self._options,
        ]

    def _env(self) -> Mapping[str, str]:
        return {k: v for k, v in os.environ.items() if not k.startswith("INFLUXD_")}

    def _settle(self) -> None:
        if not self._asked("GET", "/api/v2/setup").get("allowed"):
            return
        owner = {"username": "owner", "password": secrets.token_urlsafe(24), "org": self.org, "bucket": self.bucket, "token": self.token}
        try:
            self._asked("POST", "/api/v2/setup", owner)
        except urllib.error.HTTPError as e:
            msg = f"influx on {self.data} could not be set up: {e.code} {e.read().decode(errors='replace')}"
            raise ServerError(msg) from e

    def _asked(self, method: str, path: str, body: Mapping[str, str] | None = None, within_s: float = ANSWERS_WITHIN_S) -> dict[str, Any]:
        content = None if body is None else json.dumps(body).encode()
        question = urllib.request.Request(self.url + path, content, {"Content-Type": "application/json"}, method=method)
        with _DIRECT.open(question, timeout=within_s) as answer:
            told: dict[str, Any] = json.load(answer)
            return told


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Reaches loopback addresses whatever proxies the environment names."""
