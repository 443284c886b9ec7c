"""The committed reference is what the code prints now, and says something about everything in it."""

from __future__ import annotations

from flows.reference import DEAD_LETTERS, REASON_GROUPS, SETTINGS, exit_codes, meaning, reference, settings_leaves
from operators.risk import RULES
from schemas.orders import Reason
from schemas.settings import Settings
from schemas.tables import DeadLetterReason
from tests.conftest import ROOT


def test_the_committed_reference_is_what_the_command_prints() -> None:
    assert (ROOT / "docs" / "reference.md").read_text() == reference(), "run: python -m flows.reference > docs/reference.md"


def test_every_setting_has_a_meaning_and_none_is_told_twice() -> None:
    leaves = dict(settings_leaves())
    for leaf in leaves.items():
        assert len(meaning(leaf)) > 10, leaf[0]
    assert {n for n in SETTINGS if n not in leaves or leaves[n].description} == set()


def test_settings_are_all_there() -> None:
    def count(tree: dict[str, object]) -> int:
        return sum(count(v) if isinstance(v, dict) and v else 1 for v in tree.values())

    assert len(dict(settings_leaves())) == count(Settings().model_dump())


def test_every_code_of_the_rows_is_in_the_reference() -> None:
    text = reference()
    assert set(DEAD_LETTERS) == set(DeadLetterReason)
    names = [*DeadLetterReason, *Reason, *RULES]
    assert [n.name for n in names if f"| {n.name} |" not in text] == []


def test_every_order_reason_is_in_one_group() -> None:
    for reason in Reason:
        assert sum(low <= reason <= high for low, high, _ in REASON_GROUPS) == 1, reason.name


def test_exit_codes_are_those_of_the_interface() -> None:
    codes = exit_codes()
    assert set(codes) == {0, 1, 2, 3, 4, 5, 6, 130, 143}
    assert codes[3] == ("refused because of what is already there", ("RefusedError", "TopicError"))
    assert codes[5][1] == ("StateMismatchError",)
    assert codes[130] == ("drained after a signal", ())
    assert codes[143] == ("drained after a signal", ("DrainedError",))
