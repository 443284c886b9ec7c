"""Control messages: what is signed, what is refused and why, the audit's lines and the log that a replay reads."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from schemas.control import (
    LIMITS,
    REFUSALS,
    Accepted,
    ControlLog,
    ControlRefusedError,
    Refusal,
    Refused,
    audit_line,
    called,
    canonical,
    check_bare,
    limit_of,
    partition_of,
    sign,
    verified,
)
from schemas.errors import UsageError
from schemas.messages import ControlMessage
from schemas.settings import load_settings, settings_hash
from schemas.settings.sections import RiskSettings

KEY = SecretStr("a key for tests only")
SETTINGS = load_settings(None, (), {})


def message(kind: str = "pause", name: str = "m1", effective: int | None = None, **arguments: str) -> ControlMessage:
    return ControlMessage(id=name, kind=kind, arguments=arguments, reason="a test", effective_slice=effective)


def refused(call, *arguments) -> Refusal:
    with pytest.raises(ControlRefusedError) as e:
        call(*arguments)
    return e.value.reason


def test_a_signed_message_is_verified_and_says_the_same() -> None:
    m = message("change_limit", limit="max_drawdown", value="0.1")
    assert verified(sign(m, KEY, "d"), KEY, "d") == m


def test_the_signature_is_that_of_key_deployment_and_canonical_content() -> None:
    """Computed here by hand: the form is a promise to other programs that send messages."""
    import hashlib
    import hmac

    text = b'{"account":null,"arguments":{},"effective_slice":null,"id":"m1","kind":"pause","reason":"a test"}'  # keys sorted, no spaces
    assert canonical(message()) == text
    signature = hmac.new(b"a key for tests only", b"spiketape control 1\0d\0" + text, hashlib.sha256).hexdigest()
    assert json.loads(sign(message(), KEY, "d"))["signature"] == signature


def test_what_is_signed_otherwise_is_refused() -> None:
    data = sign(message(), KEY, "d")
    assert refused(verified, data, SecretStr("another key, as long"), "d") is Refusal.SIGNATURE
    assert refused(verified, data, KEY, "e") is Refusal.SIGNATURE
    other = json.loads(data)
    other["message"]["kind"] = "resume"
    assert refused(verified, json.dumps(other).encode(), KEY, "d") is Refusal.SIGNATURE
    other["message"]["kind"] = "explode"
    assert refused(verified, json.dumps(other).encode(), KEY, "d") is Refusal.UNKNOWN_KIND
    assert refused(verified, data, SecretStr(""), "d") is Refusal.NO_KEY
    assert refused(verified, b" " * 20_000 + data, KEY, "d") is Refusal.TOO_LARGE
    stamped = json.loads(data)
    stamped["message"]["effective_slice"] = 3
    assert refused(verified, json.dumps(stamped).encode(), KEY, "d") is Refusal.SIGNATURE


@settings(max_examples=300, deadline=None)
@given(data=st.one_of(st.binary(max_size=300), st.text(max_size=200).map(str.encode)), at=st.integers(0, 400), byte=st.integers(0, 255))
def test_no_bytes_raise_anything_else(data: bytes, at: int, byte: int) -> None:
    changed = bytearray(sign(message(), KEY, "d"))
    changed[at % len(changed)] = byte
    for content in (data, bytes(changed)):
        called(content)
        try:
            read = verified(content, KEY, "d")
        except ControlRefusedError:
            continue
        assert read == message()


def test_deep_json_is_refused() -> None:
    deep = b"[" * 10_000
    assert refused(verified, deep, KEY, "d") is Refusal.MALFORMED
    assert called(deep) == ""


def test_a_short_key_and_a_stamped_message_are_not_signed() -> None:
    with pytest.raises(UsageError, match="at least 16 bytes, given 5"):
        sign(message(), SecretStr("short"), "d")
    with pytest.raises(UsageError, match="stamped by the book"):
        sign(message(effective=1), KEY, "d")


def test_the_key_is_shown_nowhere() -> None:
    s = load_settings(None, ("control.key=a key for tests only",), {})
    assert "tests only" not in repr(s) + json.dumps(s.model_dump(mode="json"))
    assert settings_hash(s) == settings_hash(SETTINGS)
    with pytest.raises(UsageError) as e:
        load_settings(None, ("control.key.x=a key for tests only",), {})
    assert "tests only" not in str(e.value)


LIMIT_CASES = {
    ("max_drawdown", "0.1"): Decimal("0.1"),
    ("max_drawdown", "0.00000001"): Decimal("0.00000001"),
    ("max_open_orders", "7"): Decimal(7),
    ("max_gross_fraction", "10"): Decimal(10),
    ("max_drawdown", "1"): Refusal.OUT_OF_BOUNDS,
    ("max_drawdown", "0"): Refusal.OUT_OF_BOUNDS,
    ("max_drawdown", "-0.1"): Refusal.OUT_OF_BOUNDS,
    ("max_drawdown", "0.123456789"): Refusal.OUT_OF_BOUNDS,
    ("max_drawdown", "1e-3"): Refusal.OUT_OF_BOUNDS,
    ("max_drawdown", "nan"): Refusal.OUT_OF_BOUNDS,
    ("max_drawdown", ""): Refusal.OUT_OF_BOUNDS,
    ("max_gross_fraction", "10.1"): Refusal.OUT_OF_BOUNDS,
    ("max_position_fraction", "1.5"): Refusal.OUT_OF_BOUNDS,
    ("max_open_orders", "2.5"): Refusal.OUT_OF_BOUNDS,
    ("max_open_orders", "0"): Refusal.OUT_OF_BOUNDS,
    ("stop_spreads", "3"): Refusal.ARGUMENTS,
    ("capital", "3"): Refusal.ARGUMENTS,
}


@pytest.mark.parametrize(("name", "value"), LIMIT_CASES)
def test_limits_have_the_bounds_of_their_settings(name: str, value: str) -> None:
    m, expected = message("change_limit", limit=name, value=value), LIMIT_CASES[name, value]
    if isinstance(expected, Refusal):
        assert refused(limit_of, m, RiskSettings()) is expected
    else:
        assert limit_of(m, RiskSettings()) == (name, expected)


def test_every_changeable_limit_is_a_setting() -> None:
    assert set(LIMITS) <= set(RiskSettings.model_fields)
    assert set(REFUSALS) == set(Refusal)


def test_partitions_are_those_of_the_deployment() -> None:
    assert partition_of(message("exclude_partition", partition="3"), SETTINGS) == 3
    for given_ in ("4", "-1", "x", "", "1.0", "٣"):
        assert refused(partition_of, message("exclude_partition", partition=given_), SETTINGS) is Refusal.OUT_OF_BOUNDS


def test_arguments_are_those_of_the_kind() -> None:
    assert refused(check_bare, message("pause", limit="x")) is Refusal.ARGUMENTS
    assert refused(limit_of, message("change_limit", limit="max_drawdown"), RiskSettings()) is Refusal.ARGUMENTS
    assert refused(partition_of, message("exclude_partition"), SETTINGS) is Refusal.ARGUMENTS
    check_bare(message("resume"))


def lines(*messages: ControlMessage) -> list[bytes]:
    return [audit_line(Accepted(m.effective_slice, m)) for m in messages]


def test_the_audits_lines_are_the_log() -> None:
    a, b = message(name="a", effective=5), message("exclude_partition", "b", 9, partition="2")
    told = [*lines(a), b'{"version":1,"event":"started"}', b"", audit_line(Refused("x", Refusal.SIGNATURE, "no")), *lines(b, a)]
    log = ControlLog.of_lines(told, "audit")
    assert log.messages == (a, b)
    assert log.digest == ControlLog((a, b)).digest != ControlLog((a,)).digest


def test_a_log_that_cannot_be_read_names_its_line(tmp_path) -> None:
    a = message(name="a", effective=5)
    other = json.loads(lines(a)[0])
    cases = [
        (["not json"], "line 1: expected a line of the topic audit"),
        ([*lines(a), '{"event":"x"}'], "line 2: expected a line"),
        ([json.dumps({**other, "slice": 6})], "slice 6 beside effective_slice 5"),
        ([json.dumps({**other, "version": 9})], "version 9"),
        ([json.dumps({**other, "message": {}})], "line 1"),
        ([*lines(a), *lines(message("resume", "a", 5))], "message a was accepted before, in other words"),
        (lines(message(name="b", effective=7), a), "effective from slice 5, after one of slice 7"),
    ]
    for told, text in cases:
        path = tmp_path / "log"
        path.write_text("\n".join(t.decode() if isinstance(t, bytes) else t for t in told))
        with pytest.raises(UsageError, match=text):
            ControlLog.read(path)
    with pytest.raises(UsageError, match="cannot be read"):
        ControlLog.read(tmp_path / "missing")
