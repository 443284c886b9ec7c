"""When a process that does not move is stalled, and when it need not move."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from flows.live.watchdog import FIRST_S, STALL_EXIT, Progress, Standing
from operators.timeline.live import Live
from tests.conftest import ROOT

STALL_S = 60.0


class World:
    """A `Live` with a clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.live = Live(clock=lambda: self.now_s)
        self.progress = Progress(self.live, STALL_S)
        self.live.component("kafka").ok()

    def after(self, seconds: float) -> Standing:
        self.now_s += seconds
        return self.progress.look().standing


def moving() -> World:
    """Two partitions read up to slice 10, everything done, messages left to read."""
    world = World()
    for p in (0, 1):
        world.live.arrived(p, messages=1)
        world.live.mark(p, 10)
        world.live.lag(p, 5)
    world.live.done(10)
    assert world.after(0) is Standing.MOVING
    return world


def test_input_that_nobody_reads_is_a_stall_after_the_time_allowed_and_not_before() -> None:
    world = moving()
    assert world.after(STALL_S) is Standing.MOVING
    assert world.after(0.5) is Standing.STALLED
    finding = world.progress.look()
    assert finding.still_s == STALL_S + 0.5
    assert "slice 10" in finding.why[0]
    assert "10 messages" in finding.why[0]


def test_a_move_by_one_slice_begins_the_time_anew() -> None:
    world = moving()
    world.after(STALL_S - 1)
    world.live.done(11)
    assert world.after(2) is Standing.MOVING
    assert world.after(STALL_S - 1) is Standing.MOVING
    assert world.after(2) is Standing.STALLED


def test_slices_done_count_from_the_first_on_however_far_the_marks_had_run_ahead() -> None:
    world = World()
    world.live.arrived(0, messages=1)
    world.live.mark(0, 1000)
    world.live.lag(0, 5)
    world.after(1)
    for k in range(10, 20):
        world.live.done(k)
        assert world.after(STALL_S / 2) is Standing.MOVING
    assert world.after(STALL_S + 1) is Standing.STALLED


def test_what_was_read_and_is_not_done_is_a_stall_even_with_nothing_left_to_read() -> None:
    world = moving()
    for p in (0, 1):
        world.live.mark(p, 12)
        world.live.waiting(p)
    assert world.after(STALL_S + 1) is Standing.STALLED


def silent_partition(world: World) -> None:
    """Partition 1 says nothing; 0 has input that cannot be used without it."""
    world.live.waiting(1)


def never_heard_of(world: World) -> None:
    """Partition 2 is empty and has never had a mark."""
    world.live.waiting(2)


def all_read(world: World) -> None:
    """Nothing is left to read anywhere."""
    for p in (0, 1):
        world.live.lag(p, 0)


def broker_away(world: World) -> None:
    world.live.component("kafka").failing("no broker answers")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (silent_partition, "silent: partition 1"),
        (never_heard_of, "silent: partition 2"),
        (all_read, "nothing to read"),
        (broker_away, "kafka: no broker answers"),
    ],
)
def test_waiting_is_no_stall_however_long_and_the_time_begins_anew_after_it(change: Callable[[World], None], why: str) -> None:
    world = moving()
    change(world)
    for _ in range(3):
        assert world.after(STALL_S + 1) is Standing.WAITING
    assert world.progress.look().why == (why,)
    world.live.component("kafka").ok()
    for p in (0, 1, 2):
        if str(p) in world.live.lag_messages:
            world.live.arrived(p, messages=1)
            world.live.mark(p, 10)
            world.live.lag(p, 5)
    assert world.after(STALL_S - 1) is Standing.MOVING
    assert world.after(2) is Standing.STALLED


def test_a_silent_partition_that_is_ahead_of_the_others_excuses_nothing() -> None:
    world = moving()
    world.live.mark(1, 50)
    world.live.waiting(1)
    assert world.after(STALL_S + 1) is Standing.STALLED


def test_a_worker_that_ends_no_epoch_hangs_even_with_nothing_to_read() -> None:
    world = moving()
    all_read(world)
    world.live.epoch_began("ticks")
    assert world.after(STALL_S) is Standing.WAITING
    assert world.after(1) is Standing.STALLED
    world.live.epoch_began("ticks")
    assert world.after(1) is Standing.WAITING


def test_an_epoch_may_last_as_long_as_it_should_and_stall_s_more() -> None:
    world = moving()
    all_read(world)
    world.live.epoch_s = 300.0
    world.live.epoch_began("ticks")
    assert world.after(300 + STALL_S) is Standing.WAITING
    assert world.after(1) is Standing.STALLED


def test_an_epoch_held_up_by_a_broker_that_was_away_is_not_held_against_the_process_when_it_is_back() -> None:
    world = moving()
    all_read(world)
    world.live.epoch_began("ticks")
    broker_away(world)
    assert world.after(10 * STALL_S) is Standing.WAITING
    world.live.component("kafka").ok()
    assert world.after(1) is Standing.WAITING
    assert world.after(STALL_S - 1) is Standing.WAITING
    assert world.after(1) is Standing.STALLED


def test_a_flow_that_is_over_is_not_stalled_however_long_what_it_leaves_takes() -> None:
    world = moving()
    world.live.epoch_began("ticks")
    world.live.epochs_over()
    for _ in range(3):
        assert world.after(10 * STALL_S) is Standing.WAITING
    assert world.progress.look().why == ("the flow has ended: what it leaves is being finished",)
    broker_away(world)
    assert world.after(10 * STALL_S) is Standing.WAITING
    assert world.progress.look().why == ("kafka: no broker answers",)


def lockstep() -> World:
    """A book: slices of two partitions read up to 20 and done up to 10, and the venue's turns, which carry no marks."""
    world = World()
    for p in (0, 1):
        world.live.mark(f"slices/{p}", 20)
        world.live.lag(f"slices/{p}", 0)
    world.live.lag("reports/0", 3)
    world.live.waiting("control/0")
    world.live.done(10)
    assert world.after(0) is Standing.MOVING
    return world


def test_a_control_topic_that_says_nothing_excuses_nothing() -> None:
    world = lockstep()
    assert world.after(STALL_S) is Standing.MOVING
    assert world.after(1) is Standing.STALLED


def test_one_that_waits_for_the_turns_of_another_process_is_waiting() -> None:
    world = lockstep()
    world.live.waiting("reports/0")
    assert world.after(STALL_S + 1) is Standing.WAITING
    assert world.progress.look().why == ("silent: partition reports/0",)
    world.live.arrived("reports/0", messages=1)
    assert world.after(STALL_S + 1) is Standing.STALLED


def test_one_that_has_everything_but_the_turns_of_another_process_says_so_and_is_stalled_after_the_time_allowed() -> None:
    world = lockstep()
    world.live.lag("reports/0", 0)
    world.live.waiting("reports/0")
    world.live.awaited = lambda: "slice 10 waits for the venue"
    assert world.after(STALL_S) is Standing.WAITING
    assert world.progress.look().why == ("slice 10 waits for the venue",)
    assert world.after(1) is Standing.STALLED
    assert world.progress.look().why[1] == "slice 10 waits for the venue"
    world.live.done(11)
    assert world.after(0) is Standing.MOVING


def test_one_that_waits_for_another_processs_slices_is_waiting() -> None:
    world = lockstep()
    world.live.arrived("reports/0", messages=1)
    world.live.done(20)
    assert world.after(0) is Standing.MOVING
    world.live.mark("slices/1", 30)
    world.live.waiting("slices/0")
    assert world.after(STALL_S + 1) is Standing.WAITING
    assert world.progress.look().why == ("silent: partition slices/0",)


def test_without_a_last_stage_the_smallest_watermark_is_what_moves() -> None:
    world = World()
    for k in (10, 11):
        for p in (0, 1):
            world.live.mark(p, k)
            world.live.lag(p, 5)
        assert world.after(FIRST_S) is Standing.MOVING
    world.live.mark(0, 12)
    assert world.after(STALL_S + 1) is Standing.STALLED


def test_a_process_that_compiles_its_kernels_is_given_time_until_its_first_slice_is_done() -> None:
    world = World()
    world.live.epoch_began("ticks")
    for p in (0, 1):
        world.live.mark(p, 10)
        world.live.lag(p, 5)
    assert world.after(FIRST_S - 1) is Standing.MOVING
    assert world.after(STALL_S + 2) is Standing.STALLED
    world.live.done(9)
    assert world.after(1) is Standing.STALLED


def test_that_time_counts_from_when_the_broker_was_back() -> None:
    world = World()
    broker_away(world)
    assert world.after(2 * FIRST_S) is Standing.WAITING
    world.live.component("kafka").ok()
    for p in (0, 1):
        world.live.mark(p, 10)
        world.live.lag(p, 5)
    assert world.after(FIRST_S - 1) is Standing.MOVING
    assert world.after(STALL_S + 2) is Standing.STALLED


def test_a_start_that_hangs_with_everything_reached_is_a_stall_after_that_time() -> None:
    world = World()
    assert world.after(FIRST_S - 1) is Standing.STARTING
    assert world.after(1) is Standing.STALLED
    assert world.progress.look().why[0].startswith("the start hangs")
    world.live.waiting(0)
    assert world.after(STALL_S + 1) is Standing.STARTING
    assert world.progress.look().why == ("silent: partition 0",)


def test_after_its_first_slice_it_is_given_no_more_time_than_later() -> None:
    world = moving()
    assert world.now_s - world.live.began_s < 1
    assert world.after(STALL_S + 1) is Standing.STALLED


def test_a_process_that_has_not_reached_its_servers_is_starting() -> None:
    world = World()
    world.live.component("influx")
    assert world.after(STALL_S * 5) is Standing.STARTING
    assert world.progress.look().why == ("influx: not reached yet",)


def test_stall_s_of_0_never_ends_anything() -> None:
    now = [0.0]
    live = Live(clock=lambda: now[0])
    progress = Progress(live, 0)
    live.mark(0, 3)
    live.lag(0, 9)
    live.epoch_began("ticks")
    progress.look()
    now[0] = 1e9
    assert progress.look().standing is Standing.MOVING


HANGS = """
import sys, threading
from flows.live.logs import logging_to
from flows.live.health import watched
from operators.timeline.live import Live
from schemas.settings import load_settings
live = Live()
live.mark(0, 3); live.lag(0, 9); live.done(3); live.component("kafka").ok()
settings = load_settings(None, ["health.stall_s=0.3"], {})
with logging_to("trading", "d", "r1"), watched(live, settings, "trading"):
    threading.Event().wait(60)
"""


def test_a_stalled_process_exits_with_its_code_and_says_why_and_where() -> None:
    ended = subprocess.run([sys.executable, "-c", HANGS], cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert ended.returncode == STALL_EXIT, ended.stderr
    lines = [json.loads(line) for line in ended.stderr.splitlines() if line.startswith("{")]
    last = lines[-1]
    assert (last["event"], last["level"], last["exit_code"], last["flow"]) == ("stalled", "critical", 6, "trading")
    assert "9 messages to read" in last["why"][0]
    assert "most recent call first" in ended.stderr
