"""Prometheus on this machine."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from infra.local.errors import ServerError
from infra.local.server import LocalServer

NOTHING_TO_SCRAPE = "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"


def promtool() -> Path:
    """The program that checks rules and configurations; fetched where it is not in the cache."""
    from infra.local.prometheus_build import PROMETHEUS

    return PROMETHEUS.fetched() / "promtool"


class PrometheusServer(LocalServer):
    """`config`: the text of its prometheus.yml. `home`: folder with the programs; None fetches them where they are not in the cache."""

    name = "prometheus"

    def __init__(
        self, data: Path, port: int | None = None, *, config: str = NOTHING_TO_SCRAPE, home: Path | None = None, detached: bool = False
    ) -> None:
        super().__init__(data, port, detached=detached)
        self.config = config
        self._home = home

    @property
    def url(self) -> str:
        """Its address for clients."""
        return f"http://127.0.0.1:{self.port}"

    def healthy(self) -> bool:
        """Whether /-/ready answers."""
        try:
            with _DIRECT.open(f"{self.url}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def reload(self, config: str) -> None:
        """Gives it another configuration. Raises ServerError with what it says where it does not like that."""
        self.config = config
        self._configured.write_text(config)
        try:
            _DIRECT.open(urllib.request.Request(f"{self.url}/-/reload", method="POST"), timeout=10).close()
        except urllib.error.HTTPError as e:
            msg = f"prometheus refuses the configuration: {e.read().decode(errors='replace')}"
            raise ServerError(msg) from e

    @property
    def _configured(self) -> Path:
        return self.data / "prometheus.yml"

    def _prepare(self) -> None:
        if self._home is None:
            from infra.local.prometheus_build import PROMETHEUS

            self._home = PROMETHEUS.fetched()
        self._configured.write_text(self.config)

    def _command(self) -> Sequence[str]:
        data = self.data.resolve()
        return [
            str(self._home / "prometheus" if self._home else "prometheus"),
            f"--config.file={self._configured.resolve()}",
            f"--storage.tsdb.path={data / 'store'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--web.enable-lifecycle",
            "--log.level=warn",
        ]


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Reaches loopback addresses whatever proxies the environment names."""
