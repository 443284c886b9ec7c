"""The real servers on this machine without Docker: fetched or built once, then started, killed and restarted at will."""

from infra.local.errors import FetchError, MissingToolsError, ServerError
from infra.local.influx import InfluxServer
from infra.local.kafka import KafkaServer
from infra.local.prometheus import PrometheusServer, promtool
from infra.local.server import LocalServer

__all__ = ["FetchError", "InfluxServer", "KafkaServer", "LocalServer", "MissingToolsError", "PrometheusServer", "ServerError", "promtool"]
