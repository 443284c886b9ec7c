"""What InfluxDB should hold, declared, and brought about as often as wanted: organisation, buckets, downsampling tasks, tokens."""

from infra.influx.apply import Change, applied, shown, token_of
from infra.influx.declared import Declared, declared
from infra.influx.downsampling import downsample
from infra.influx.replays import prepare_replay_bucket, replay_bucket_name

__all__ = [
    "Change",
    "Declared",
    "applied",
    "declared",
    "downsample",
    "prepare_replay_bucket",
    "replay_bucket_name",
    "shown",
    "token_of",
]
