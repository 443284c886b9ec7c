"""One request of lines to InfluxDB, and what its answer means."""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import urlencode

import urllib3

from operators.sinks.influx.lines import Lines
from schemas.settings.sections import InfluxSettings

GZIP_LEVEL: Final = 1
"""Lines shrink about eightfold at the first level; higher ones cost more time than they save."""
_GZIP_FORM: Final = 16 + zlib.MAX_WBITS
_DROPPED: Final = re.compile(r"dropped=(\d+)")
_LONGEST_PAUSE_S: Final = 3600.0
_LONGEST_TOLD: Final = 500


class Meaning(Enum):
    """What is to be done after an answer."""

    TAKEN = "taken"
    LATER = "later"  # the server is away, busy or set up otherwise: the same lines again, after a pause
    REFUSED = "refused"  # some of these lines will never be taken
    TOO_LARGE = "too_large"


@dataclass(frozen=True, slots=True)
class Answer:
    """`why`: what the server said, or what hindered the request; `pause_s`: what it asks for; `dropped`: lines it says it dropped."""

    meaning: Meaning
    why: str = ""
    pause_s: float | None = None
    dropped: int | None = None


class InfluxClient:
    """Writes lines to one bucket over one connection that is kept. Used by one thread. The token is in no message."""

    def __init__(self, settings: InfluxSettings, bucket: str) -> None:
        query = urlencode({"org": settings.org, "bucket": bucket, "precision": "ns"})
        self.url = settings.url.rstrip("/")
        self._address = f"{self.url}/api/v2/write?{query}"
        self._gzip = settings.gzip
        self._headers = {"Authorization": f"Token {settings.token.get_secret_value()}", "Content-Type": "text/plain; charset=utf-8"}
        if self._gzip:
            self._headers["Content-Encoding"] = "gzip"
        timeout = urllib3.Timeout(total=settings.timeout_s)
        self._pool = urllib3.PoolManager(num_pools=1, maxsize=1, timeout=timeout, retries=False, ca_certs=settings.ca_file or None)

    def write(self, lines: Lines) -> Answer:
        """Sends lines in one request."""
        body = lines.content
        if self._gzip:
            packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_FORM)
            body = packer.compress(body) + packer.flush()
        try:
            response = self._pool.request("POST", self._address, body=body, headers=self._headers)
        except (urllib3.exceptions.HTTPError, OSError) as e:
            return Answer(Meaning.LATER, f"{self.url} does not answer ({type(e).__name__}: {_reason(e)})")
        return answer_of(response.status, response.headers.get("Retry-After"), response.data, self.url)

    def close(self) -> None:
        """Lets the connection go."""
        self._pool.clear()


def answer_of(status: int, retry_after: str | None, body: bytes, url: str) -> Answer:
    """What a status, with its Retry-After and body, means."""
    if 200 <= status < 300:
        return Answer(Meaning.TAKEN)
    told = _told(body)
    if status in (400, 422):
        dropped = _DROPPED.search(told)
        return Answer(Meaning.REFUSED, f"{status}: {told}", dropped=int(dropped.group(1)) if dropped else None)
    if status == 413:
        return Answer(Meaning.TOO_LARGE, f"{status}: {told}")
    if status in (401, 403):
        return Answer(Meaning.LATER, f"{url} refuses the token ({status}: {told}); check influx.token, influx.org and influx.bucket")
    if status == 404:
        return Answer(Meaning.LATER, f"{url}: {told}; `spiketape influx apply` makes the organisation and its buckets")
    return Answer(Meaning.LATER, f"{url} answers {status}: {told}", _seconds(retry_after))


def _told(body: bytes) -> str:
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        message = body.decode(errors="replace")
    return str(message).strip()[:_LONGEST_TOLD] or "no words"


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After in seconds; a date is left to the own pauses."""
    try:
        return None if retry_after is None else min(max(float(retry_after), 0.0), _LONGEST_PAUSE_S)
    except ValueError:
        return None


def _reason(e: BaseException) -> str:
    """The last words of an error, without the address of an object."""
    return str(e).rsplit(": ", 1)[-1][:_LONGEST_TOLD]
