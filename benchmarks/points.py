"""Every point of an InfluxDB bucket, for comparing two buckets."""

from __future__ import annotations

import csv
import io
import json
import urllib.request

Place = tuple[tuple[str, str], ...]
"""Tags, measurement, field and time of a value."""

_NOT_PLACE = frozenset(("", "result", "table", "_start", "_stop", "_value"))


def points_of(url: str, token: str, org: str, bucket: str) -> dict[Place, str]:
    """The value of every field of every point of a bucket, as the server's CSV shows it, by its place."""
    query = {"query": f'from(bucket: "{bucket}") |> range(start: 0) |> toString()', "dialect": {"annotations": [], "header": True}}
    request = urllib.request.Request(
        f"{url}/api/v2/query?org={org}",
        data=json.dumps(query).encode(),
        headers={"Authorization": f"Token {token}", "Content-Type": "application/json", "Accept": "application/csv"},
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        text = answer.read().decode()
    out: dict[Place, str] = {}
    for block in text.replace("\r\n", "\n").split("\n\n"):
        for row in csv.DictReader(io.StringIO(block.strip("\n"))):
            out[tuple(sorted((k, v) for k, v in row.items() if k not in _NOT_PLACE))] = row["_value"]
    return out
