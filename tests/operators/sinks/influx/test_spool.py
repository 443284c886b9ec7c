"""The spool: torn at any byte, changed at any byte, full, on a full disk, in two hands, with a part taken away."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from operators.sinks.influx.dead_letters import DAMAGED, DeadLetterFile, DeadLetterQueue, read
from operators.sinks.influx.lines import Lines
from operators.sinks.influx.records import HEADER_BYTES, SUFFIX
from operators.sinks.influx.spool import SMALLEST_SEGMENT, NoRoomError, Spool
from schemas.errors import InfluxError, RefusedError
from schemas.refused_point import NOTHING_TOLD, RefusedPoint

ROOMY = 1 << 30


def lines_of(number: int, count: int = 3, width: int = 0) -> Lines:
    """Lines that no other record has."""
    return Lines(count, b"".join(b"m,t=%d x=%d%s %d\n" % (number, i, b"0" * width, i) for i in range(count)))


def drained(spool: Spool, most: int = 5) -> list[bytes]:
    """Everything that waits, in order, as a courier takes it."""
    out: list[bytes] = []
    while (taken := spool.waiting(most, 0))[0] >= 0:
        spool.sent(taken[0])
        out += taken[1].content.splitlines(keepends=True)
    return out


def content_of(numbers: range) -> list[bytes]:
    return [line for n in numbers for line in lines_of(n).content.splitlines(keepends=True)]


def filled(path: Path, records: int) -> Path:
    """A spool folder with so many records in one segment, left as kill -9 leaves it. Returns the segment."""
    spool = Spool(path, ROOMY)
    for n in range(records):
        spool.append(lines_of(n))
    spool.close()
    (segment,) = path.glob(f"*{SUFFIX}")
    return segment


def test_what_goes_in_comes_out_in_order_and_segments_go(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 8 << 20)
    out: list[bytes] = []
    for n in range(300):
        spool.append(lines_of(n, 40, width=500))
        if n % 7 == 0:
            out += drained(spool, 100)
    out += drained(spool, 100)
    assert out == [line for n in range(300) for line in lines_of(n, 40, width=500).content.splitlines(keepends=True)]
    assert spool.next_sequence == 300
    assert spool.lines_waiting == 0
    assert sum(f.stat().st_size for f in tmp_path.glob(f"*{SUFFIX}")) == spool.size < 2 * (1 << 20)


def test_a_write_torn_at_any_byte_loses_that_record_only_and_is_no_damage(tmp_path: Path) -> None:
    segment = filled(tmp_path / "whole", 3)
    raw = segment.read_bytes()
    second = raw.index(b"\xff\xfe", raw.index(b"\xff\xfe", 1) + 1)
    for at in range(second, len(raw)):
        folder = tmp_path / f"torn-{at}"
        folder.mkdir()
        (folder / segment.name).write_bytes(raw[:at])
        damages: list[RefusedPoint] = []
        spool = Spool(folder, ROOMY, needed=2, on_damage=damages.append)
        assert spool.next_sequence == 2
        spool.append(lines_of(2))
        spool.close()
        spool = Spool(folder, ROOMY, needed=3, on_damage=damages.append)
        assert drained(spool) == content_of(range(3))
        assert damages == []
        spool.close()


def test_a_bit_changed_at_any_byte_is_told_and_costs_its_record_only(tmp_path: Path) -> None:
    segment = filled(tmp_path / "whole", 4)
    raw = segment.read_bytes()
    begin, end = (i.start() for i in list(re.finditer(b"\xff\xfe", raw))[1:3])
    for at in range(begin, end):
        folder = tmp_path / f"changed-{at}"
        folder.mkdir()
        (folder / segment.name).write_bytes(raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :])
        damages: list[RefusedPoint] = []
        spool = Spool(folder, ROOMY, needed=4, on_damage=damages.append)
        assert drained(spool) == content_of(range(1)) + content_of(range(2, 4))
        assert [d.reason for d in damages] == [DAMAGED]
        assert f"bytes {begin} to {end - 1} are not what was written; records 1 are lost" in damages[0].detail
        assert len(damages[0].content) == end - begin
        spool.close()


def test_a_bit_changed_in_what_an_epoch_covers_is_told_even_at_the_end(tmp_path: Path) -> None:
    segment = filled(tmp_path, 3)
    raw = bytearray(segment.read_bytes())
    raw[-2] ^= 1
    segment.write_bytes(raw)
    damages: list[RefusedPoint] = []
    spool = Spool(tmp_path, ROOMY, needed=3, on_damage=damages.append)
    assert drained(spool) == content_of(range(2))
    assert len(damages) == 1
    assert "records 2 are lost" in damages[0].detail
    spool.append(lines_of(9))
    assert spool.next_sequence == 4


def test_a_bit_changed_while_it_waits_is_found_when_it_is_sent(tmp_path: Path) -> None:
    damages: list[RefusedPoint] = []
    spool = Spool(tmp_path, ROOMY, on_damage=damages.append)
    for n in range(4):
        spool.append(lines_of(n))
    (segment,) = tmp_path.glob(f"*{SUFFIX}")
    with segment.open("r+b") as file:
        file.seek(HEADER_BYTES + 5)
        file.write(b"\x00")
    assert drained(spool) == content_of(range(1, 4))
    assert "record 0 of 3 lines at byte 0 is not what was written" in damages[0].detail


def test_a_damaged_note_is_read_from_its_copy_and_without_both_everything_is_sent_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path, ROOMY)
    for n in range(6):
        spool.append(lines_of(n))
    spool.sent(2)
    spool.close()
    note = (tmp_path / "sent").read_bytes()
    (tmp_path / "sent").write_bytes(b"\x05" + note[1:])
    spool = Spool(tmp_path, ROOMY, needed=6)
    assert spool.lines_waiting == 9
    spool.close()
    (tmp_path / "sent").write_bytes(b"\x05" + note[1:16] + b"\x05" + note[17:])
    spool = Spool(tmp_path, ROOMY, needed=6)
    assert drained(spool) == content_of(range(6))


@pytest.mark.parametrize("sent_before", [0, 1, 2, 5, 30])
def test_what_was_told_as_lost_is_no_reason_to_refuse_a_later_start(tmp_path: Path, sent_before: int) -> None:
    spool = Spool(tmp_path, 8 * SMALLEST_SEGMENT)
    for n in range(10):
        spool.append(lines_of(n, 10, width=4000))
    spool.close()
    segments = sorted(tmp_path.glob(f"*{SUFFIX}"))
    assert len(segments) > 3
    for i, damaged in enumerate((segments[1], segments[-1])):
        damaged.write_bytes(bytes([i]) * damaged.stat().st_size)
    damages: list[RefusedPoint] = []
    spool = Spool(tmp_path, 8 * SMALLEST_SEGMENT, needed=10, on_damage=damages.append)
    assert len(damages) == 2
    for n in range(10, 13):
        spool.append(lines_of(n, 10, width=4000))
    out = []
    for _ in range(sent_before):
        sequence, taken = spool.waiting(10, 0)
        if sequence >= 0:
            spool.sent(sequence)
        out += taken.content.splitlines(keepends=True)
    spool.close()
    spool = Spool(tmp_path, 8 * SMALLEST_SEGMENT, needed=13, on_damage=damages.append)
    out += drained(spool)
    whole = [line for n in range(13) for line in lines_of(n, 10, width=4000).content.splitlines(keepends=True)]
    lost = [line for line in whole if line not in out]
    assert out == [line for line in whole if line not in lost]
    assert len(lost) < 70
    assert len({d.content for d in damages}) == 2


def test_fewer_records_than_an_epoch_covers_or_an_emptied_folder_is_refused(tmp_path: Path) -> None:
    spool = Spool(tmp_path, ROOMY)
    for n in range(60):
        spool.append(lines_of(n, 20, width=2000))
    spool.close()
    with pytest.raises(InfluxError, match="lacks records 60 to 99"):
        Spool(tmp_path, ROOMY, needed=100)
    for file in tmp_path.iterdir():
        file.unlink()
    with pytest.raises(InfluxError, match="lacks records 0 to 59: the folder was emptied"):
        Spool(tmp_path, ROOMY, needed=60)


def test_a_missing_segment_in_the_middle_is_refused(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 8 * SMALLEST_SEGMENT)
    for n in range(10):
        spool.append(lines_of(n, 10, width=4000))
    spool.close()
    segments = sorted(tmp_path.glob(f"*{SUFFIX}"))
    assert len(segments) > 2
    segments[1].unlink()
    with pytest.raises(InfluxError, match="lacks records .*: the folder was emptied or a file removed"):
        Spool(tmp_path, ROOMY, needed=10)


def test_two_processes_do_not_share_a_spool(tmp_path: Path) -> None:
    spool = Spool(tmp_path, ROOMY)
    with pytest.raises(RefusedError, match="another process uses the spool"):
        Spool(tmp_path, ROOMY)
    spool.close()
    Spool(tmp_path, ROOMY).close()


def wide(n: int) -> Lines:
    """A record of 20 KB."""
    return lines_of(n, 20, width=1000)


def wide_content(numbers: range) -> list[bytes]:
    return [line for n in numbers for line in wide(n).content.splitlines(keepends=True)]


def appended(spool: Spool, first: int, last: int) -> int:
    """Appends wide records until there is no room; the number of the first that had none."""
    for n in range(first, last):
        try:
            spool.append(wide(n))
        except NoRoomError:
            return n
    return last


def test_a_full_spool_takes_nothing_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 8 * SMALLEST_SEGMENT)
    n = appended(spool, 0, 1000)
    assert 10 < n == spool.next_sequence
    with pytest.raises(NoRoomError, match="MiB wait in .*spool_max_mb"):
        spool.append(wide(n))
    assert spool.max_bytes - 30_000 < spool.size <= spool.max_bytes
    out: list[bytes] = []
    while n < 100:
        sequence, taken = spool.waiting(60, 0)
        spool.sent(sequence)
        out += taken.content.splitlines(keepends=True)
        n = appended(spool, n, 100)
        assert spool.size <= spool.max_bytes
    assert out + drained(spool) == wide_content(range(100))


def test_a_full_disk_is_waited_for_and_nothing_half_written_stays(small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("1m")
    ballast = disk / "ballast"
    spool = Spool(disk / "spool", ROOMY)
    n = appended(spool, 0, 1000)
    assert 10 < n == spool.next_sequence
    with pytest.raises(NoRoomError, match="the disk of the spool .* is full .*; make room on it"):
        spool.append(wide(n))
    assert drained(spool, 60) == wide_content(range(n))  # what is sent makes room, even in the segment that was being written
    spool.append(wide(n))
    spool.sync()
    ballast.write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize))
    held = appended(spool, n + 1, n + 9)
    assert held < n + 9
    ballast.unlink()
    spool.close()
    spool = Spool(disk / "spool", ROOMY, needed=held)
    assert drained(spool, 60) == wide_content(range(n, held))
    spool.close()


def test_some_of_the_disk_is_left_to_others_unless_nothing_waits(small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("2m")
    spool = Spool(disk / "spool", ROOMY, spare_bytes=3 << 19)

    def free() -> int:
        return os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize

    n = appended(spool, 0, 1000)
    assert n > 10
    assert 3 << 19 <= free() < (3 << 19) + 100_000
    with pytest.raises(NoRoomError, match="2 MiB left, which are not for it .influx.spool_spare_mb"):
        spool.append(wide(n))
    assert drained(spool, 60) == wide_content(range(n))
    (disk / "of others").write_bytes(bytes(1 << 20))
    assert appended(spool, n, n + 9) == n + 1
    assert drained(spool, 60) == wide_content(range(n, n + 1))
    assert appended(spool, n + 1, n + 9) == n + 2
    spool.close()


POINTS = [RefusedPoint("INFLUX_REFUSED", "422: ü", 'm,t=ü x="1" 1'.encode()), RefusedPoint(DAMAGED, "bytes", b"\xff\xfe\x00")]
THIRD = RefusedPoint("INFLUX_REFUSED", "after", b"m x=2 2")


def test_dead_letters_are_kept_once_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "dead-letters.jsonl"
    assert DeadLetterFile(path).add(POINTS) == 2
    assert DeadLetterFile(path).add([*POINTS, *POINTS]) == 0
    assert read(path) == POINTS
    torn(path)
    assert DeadLetterFile(path).add([THIRD]) == 1
    assert read(path) == [*POINTS, THIRD]


def torn(path: Path) -> None:
    """A process was killed while it wrote a dead letter."""
    with path.open("ab") as file:
        file.write(json.dumps({"reason": "INFLUX_REFUSED", "detail": "cut off", "line": "m x=1 1"}).encode()[:-9])


def test_dead_letters_are_given_on_in_their_order_from_where_they_were_told(tmp_path: Path) -> None:
    path = tmp_path / "dead-letters.jsonl"
    queue = DeadLetterQueue(path)
    assert queue.after(NOTHING_TOLD, 9) == ([], NOTHING_TOLD)
    DeadLetterFile(path).add(POINTS)
    first, told = queue.after(NOTHING_TOLD, 1)
    rest, all_told = queue.after(told, 9)
    assert [*first, *rest] == POINTS
    torn(path)
    assert queue.after(all_told, 9) == ([], all_told)
    DeadLetterFile(path).add([THIRD])
    assert queue.after(all_told, 9)[0] == [THIRD]
    assert DeadLetterQueue(path).after(told, 9)[0] == [POINTS[1], THIRD]


def test_dead_letters_of_another_file_than_was_told_are_all_given_on(tmp_path: Path) -> None:
    told = (0, "")
    for name, points in {"first": [*POINTS, THIRD], "another": [THIRD, *POINTS], "put back": POINTS}.items():
        path = tmp_path / name
        DeadLetterFile(path).add(points)
        given, told = DeadLetterQueue(path).after(told, 9)
        assert given == points
