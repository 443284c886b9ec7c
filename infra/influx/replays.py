"""The buckets of replays: one for each, so that nothing of a replay ever meets live data."""

from __future__ import annotations

import re

from influxdb_client import BucketRetentionRules

from infra.influx.apply import org_id_of, stored_bucket
from infra.influx.connection import connected
from schemas.errors import InfluxError
from schemas.settings.sections import InfluxSettings


def replay_bucket_name(settings: InfluxSettings, run: str) -> str:
    """The bucket of the replay into a run folder named `run`: `influx.replay_bucket`, signs other than letters, digits, `.`, `_` as `-`."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", settings.replay_bucket.format(bucket=settings.bucket, run=run))


def prepare_replay_bucket(settings: InfluxSettings, run: str, fresh: bool) -> str:
    """Makes the bucket of a replay where it is missing, and returns its name. `fresh` (the run starts over): an old one is emptied.

    A run that is resumed keeps its bucket: what it writes again are the same points. Raises InfluxError, also for a name that is the
    live bucket's.
    """
    name = replay_bucket_name(settings, run)
    if name == settings.bucket:
        msg = f"influx.replay_bucket {settings.replay_bucket!r} gives the live bucket {name!r}, where no replay writes; put {{run}} into it"
        raise InfluxError(msg)
    with connected(settings) as client:
        org = org_id_of(client, settings.org)
        if org is None:
            msg = f"{settings.url} has no organisation {settings.org!r}: make it with `spiketape influx apply`"
            raise InfluxError(msg)
        api = client.buckets_api()
        there = stored_bucket(client, org, name)
        if there is not None and fresh:
            api.delete_bucket(there)
            there = None
        if there is None:
            forever = [BucketRetentionRules(type="expire", every_seconds=0)]
            api.create_bucket(bucket_name=name, retention_rules=forever, description=f"replay into {run}")
    return name
