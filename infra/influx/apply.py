"""Brings about what is declared; what is there already and as declared is left alone, so that it may be done at any time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from influxdb_client import (
    Authorization,
    BucketRetentionRules,
    InfluxDBClient,
    Permission,
    PermissionResource,
    TaskCreateRequest,
    TaskUpdateRequest,
)
from influxdb_client import Bucket as StoredBucket
from influxdb_client.rest import ApiException

from infra.influx.connection import connected
from infra.influx.declared import DAY_S, Bucket, Declared, DownsamplingTask, TokenRights, declared, token_description
from schemas.errors import InfluxError, RefusedError
from schemas.settings.sections import InfluxSettings

_MOST: Final = 100
Rights = frozenset[tuple[str, str]]
"""(read or write, bucket id)."""


@dataclass(frozen=True, slots=True)
class Change:
    """What was done: `what` organisation, bucket, task or token; its name; `done`: made, or changed and how."""

    what: str
    name: str
    done: str


def applied(settings: InfluxSettings, shorten: bool = False) -> list[Change]:
    """Makes and mends what is declared, in the order organisation, buckets, tasks, tokens; returns what had to be done.

    A retention that becomes shorter deletes points, so it is refused (RefusedError) unless `shorten`. Raises InfluxError.
    """
    wanted = declared(settings)
    changes: list[Change] = []
    with connected(settings) as client:
        org = _organisation(client, wanted.org, changes)
        ids = {b.name: _bucket(client, org, b, shorten, changes) for b in wanted.buckets}
        for task in wanted.tasks:
            _task(client, org, task, changes)
        for token in wanted.tokens:
            _token(client, org, token, ids, changes)
    return changes


def _organisation(client: InfluxDBClient, name: str, changes: list[Change]) -> str:
    found = org_id_of(client, name)
    if found is None:
        found = str(client.organizations_api().create_organization(name).id)
        changes.append(Change("organisation", name, "made"))
    return found


def org_id_of(client: InfluxDBClient, name: str) -> str | None:
    """The id of an organisation; None where there is none of the name."""
    try:
        found = client.organizations_api().find_organizations(org=name)
    except ApiException as e:
        if e.status == 404:
            return None
        raise
    return str(found[0].id) if found else None


def _bucket(client: InfluxDBClient, org: str, wanted: Bucket, shorten: bool, changes: list[Change]) -> str:
    api = client.buckets_api()
    rules = [BucketRetentionRules(type="expire", every_seconds=wanted.retention_s)]
    there = stored_bucket(client, org, wanted.name)
    if there is None:
        made = api.create_bucket(bucket_name=wanted.name, retention_rules=rules, description=wanted.holds)
        changes.append(Change("bucket", wanted.name, f"made, kept {_kept(wanted.retention_s)}"))
        return str(made.id)
    kept = _retention(there)
    if kept != wanted.retention_s:
        if wanted.retention_s and (kept == 0 or wanted.retention_s < kept) and not shorten:
            msg = (
                f"bucket {wanted.name} is kept {_kept(kept)}, the settings say {_kept(wanted.retention_s)}: a shorter retention deletes "
                "points; allow that with --shorten, or change influx.retention_days and influx.downsampled_days"
            )
            raise RefusedError(msg)
        there.retention_rules = rules
        api.update_bucket(bucket=there)
        changes.append(Change("bucket", wanted.name, f"kept {_kept(wanted.retention_s)}, before {_kept(kept)}"))
    return str(there.id)


def stored_bucket(client: InfluxDBClient, org: str, name: str) -> StoredBucket | None:
    """The bucket of a name in the organisation of an id."""
    try:
        found = client.buckets_api().find_buckets(name=name, org_id=org, limit=_MOST).buckets
    except ApiException as e:
        if e.status == 404:
            return None
        raise
    return next((b for b in found if b.name == name), None)


def _retention(bucket: StoredBucket) -> int:
    return int(bucket.retention_rules[0].every_seconds) if bucket.retention_rules else 0


def _kept(seconds: int) -> str:
    return f"{seconds / DAY_S:g} days" if seconds else "for ever"


def _task(client: InfluxDBClient, org: str, wanted: DownsamplingTask, changes: list[Change]) -> None:
    api = client.tasks_api()
    there = [t for t in api.find_tasks(name=wanted.name, org_id=org, limit=_MOST) if t.name == wanted.name]
    if not there:
        api.create_task(task_create_request=TaskCreateRequest(flux=wanted.flux, org_id=org, status="active", description=wanted.name))
        changes.append(Change("task", wanted.name, "made"))
        return
    first, *more = there
    if first.flux != wanted.flux or first.status != "active":
        api.update_task_request(first.id, TaskUpdateRequest(flux=wanted.flux, status="active"))
        changes.append(Change("task", wanted.name, "changed to what is declared"))
    for other in more:
        api.delete_task(other.id)
        changes.append(Change("task", wanted.name, "a second one of the name removed"))


def _token(client: InfluxDBClient, org: str, wanted: TokenRights, ids: dict[str, str], changes: list[Change]) -> None:
    """A token's rights cannot be changed, so one with other rights is replaced."""
    api = client.authorizations_api()
    rights = frozenset([*(("read", ids[b]) for b in wanted.reads), *(("write", ids[b]) for b in wanted.writes)])
    there = _authorizations(client, org, wanted.description)
    fitting = [a for a in there if _rights(a) == rights and a.status == "active"]
    if not fitting:
        permissions = [Permission(action, PermissionResource(type="buckets", id=b, org_id=org)) for action, b in sorted(rights)]
        request = Authorization(org_id=org, permissions=permissions, description=wanted.description, status="active")
        api.create_authorization(authorization=request)
        changes.append(Change("token", wanted.description, "replaced: its rights were others" if there else "made"))
    for other in [a for a in there if a not in fitting[:1]]:
        api.delete_authorization(other)
        if fitting:
            changes.append(Change("token", wanted.description, "a second one of the description removed"))


def _authorizations(client: InfluxDBClient, org: str, description: str) -> list[Any]:
    return [a for a in client.authorizations_api().find_authorizations(org_id=org) if a.description == description]


def _rights(authorization: Any) -> Rights:
    return frozenset((p.action, p.resource.id or p.resource.type) for p in authorization.permissions)


def shown(settings: InfluxSettings) -> list[dict[str, str]]:
    """What is declared beside what there is: rows of `what`, `name`, `declared`, `found`. Raises InfluxError."""
    wanted: Declared = declared(settings)
    with connected(settings) as client:
        org = org_id_of(client, wanted.org)
        rows = [_row("organisation", wanted.org, "there", None if org is None else "there")]
        if org is None:
            return rows
        for b in wanted.buckets:
            bucket = stored_bucket(client, org, b.name)
            rows.append(
                _row("bucket", b.name, f"kept {_kept(b.retention_s)}", None if bucket is None else f"kept {_kept(_retention(bucket))}")
            )
        for t in wanted.tasks:
            tasks = client.tasks_api().find_tasks(name=t.name, org_id=org, limit=_MOST)
            rows.append(_row("task", t.name, "active", _task_state(tasks, t)))
        for token in wanted.tokens:
            rights = _named(token.reads, token.writes)
            rows.append(_row("token", token.description, rights, _token_state(client, org, token)))
    return rows


def _row(what: str, name: str, wanted: str, found: str | None) -> dict[str, str]:
    return {"what": what, "name": name, "declared": wanted, "found": "missing" if found is None else found}


def _task_state(tasks: Iterable[Any], wanted: DownsamplingTask) -> str | None:
    for task in tasks:
        if task.name == wanted.name:
            return str(task.status) if task.flux == wanted.flux else f"{task.status}, with another text"
    return None


def _token_state(client: InfluxDBClient, org: str, wanted: TokenRights) -> str | None:
    for authorization in _authorizations(client, org, wanted.description):
        named = {str(b.id): b.name for b in client.buckets_api().find_buckets_iter(org_id=org)}
        rights = [(action, named.get(b, b)) for action, b in _rights(authorization)]
        reads, writes = ([name for action, name in rights if action == kind] for kind in ("read", "write"))
        return _named(reads, writes)
    return None


def _named(reads: Iterable[str], writes: Iterable[str]) -> str:
    return "; ".join(f"may {kind} {', '.join(sorted(names))}" for kind, names in (("read", reads), ("write", writes)) if names)


def token_of(settings: InfluxSettings, name: str) -> str:
    """The token `writer` or `reader`: a secret, to be handed to whoever runs the flow. Raises InfluxError where it was not made."""
    with connected(settings) as client:
        org = org_id_of(client, settings.org)
        found = [] if org is None else _authorizations(client, org, token_description(settings, name))
    if not found:
        msg = f"{settings.url} has no token {token_description(settings, name)!r}: make it with `spiketape influx apply`"
        raise InfluxError(msg)
    return str(found[0].token)
