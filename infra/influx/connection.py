"""The management client of influxdb-client, with errors that say what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import urllib3
from influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException

from schemas.errors import InfluxError
from schemas.settings.sections import InfluxSettings


@contextmanager
def connected(settings: InfluxSettings) -> Iterator[InfluxDBClient]:
    """A client while the block runs. Raises InfluxError for whatever the server refuses, and where it does not answer."""
    client = InfluxDBClient(
        settings.url,
        settings.token.get_secret_value(),
        org=settings.org,
        timeout=round(settings.timeout_s * 1000),
        ssl_ca_cert=settings.ca_file or None,
    )
    try:
        yield client
    except ApiException as e:
        if e.status in (401, 403):
            msg = f"{settings.url} refuses the token for this ({_told(e)}): set influx.token to one that may, such as the owner's"
        else:
            msg = f"{settings.url} answers {e.status}: {_told(e)}"
        raise InfluxError(msg) from e
    except (urllib3.exceptions.HTTPError, OSError) as e:
        why = str(e).rsplit(": ", 1)[-1]
        msg = f"{settings.url} does not answer ({why}): start InfluxDB, or set influx.url to where it is"
        raise InfluxError(msg) from e
    finally:
        client.close()


def _told(e: ApiException) -> str:
    try:
        return str(json.loads(e.body)["message"])
    except (ValueError, KeyError, TypeError):
        return str(e.body or e.reason or "no words")
