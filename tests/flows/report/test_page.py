"""The page of a small run: whole, self-contained, and refused where the account computed anew is not the run's."""

import json
import re
from decimal import Decimal
from html.parser import HTMLParser

import pytest

from flows.report import load_run, variants, write_report
from flows.report.sections import SECTIONS
from flows.report.terminal import print_report
from flows.terminal import stdout
from operators.sinks import RunFolder
from operators.sinks.runfolder import write_json
from operators.sources.tape import Tape
from schemas.errors import SpiketapeError, UsageError


class Elements(HTMLParser):
    """Attributes of all elements, ids of sections, text of figures, and tags that were not closed in order."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.figures: dict[str, str] = {}
        self.open: list[str] = []
        self._figure: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, k, v or "") for k, v in attrs]
        if tag not in self.VOID:
            self.open.append(tag)
        given = dict(attrs)
        self._figure = given.get("id") if given.get("type") == "application/json" else None

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._figure = None

    def handle_data(self, data: str) -> None:
        if self._figure is not None:
            self.figures[self._figure] = data


def elements(html: str) -> Elements:
    found = Elements()
    found.feed(html)
    found.close()
    return found


def test_page_has_every_section_every_figure_and_loads_nothing(small_run: tuple[RunFolder, Tape]) -> None:
    folder, tape = small_run
    path = write_report(folder, tape)
    assert path == folder.report_html
    page = elements(path.read_text(encoding="utf-8"))
    assert page.open == []
    ids = [v for tag, k, v in page.attributes if tag == "section" and k == "id"]
    assert ids == [anchor for anchor, _, _ in SECTIONS]
    loading = [(t, k, v) for t, k, v in page.attributes if k in ("src", "href", "data", "action", "srcset") and not v.startswith("#")]
    assert loading == []
    policy = [v for t, k, v in page.attributes if t == "meta" and k == "content" and "default-src" in v]
    assert policy
    assert "default-src 'none'" in policy[0]
    assert "http" not in policy[0]
    placed = [v for t, k, v in page.attributes if k == "data-figure"]
    assert placed
    assert sorted(placed) == sorted(page.figures)
    for text in page.figures.values():
        assert json.loads(text)["data"]


def test_page_shows_the_runs_own_net_profit_and_hash(small_run: tuple[RunFolder, Tape]) -> None:
    folder, tape = small_run
    html = write_report(folder, tape).read_text(encoding="utf-8")
    run = load_run(folder)
    net = f"{Decimal(run['pnl']['net']):+,.2f}".replace("-", "−")
    assert net in re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)
    assert run["output_hash"] in html
    assert "no Sharpe ratio" in html


def test_account_computed_anew_equals_the_run_and_controls_differ(small_run: tuple[RunFolder, Tape]) -> None:
    folder, tape = small_run
    write_report(folder, tape)
    kept = folder.read_variants()
    assert kept is not None
    run = load_run(folder)
    assert kept["whole"]
    assert kept["accounts"][variants.BASE] == run["account"]
    names = {"fill rule touch", "fill rule trade_through", "latency x 0", "latency x 3", "W 10 ms", "W 500 ms", "random 1", variants.ORACLE}
    assert names <= kept["accounts"].keys()
    assert kept["accounts"]["fill rule touch"]["fills"] > run["fills"] >= kept["accounts"]["fill rule trade_through"]["fills"]
    assert kept["accounts"]["random 1"]["pnl"] != kept["accounts"]["random 2"]["pnl"]


@pytest.mark.parametrize("kept", [True, False], ids=["variants kept", "variants computed"])
def test_run_whose_profit_was_changed_is_refused(own_run: tuple[RunFolder, Tape], small_run: tuple[RunFolder, Tape], kept: bool) -> None:
    folder, tape = own_run
    if kept:
        write_report(*small_run)
        written = small_run[0].read_variants()
        assert written is not None
        folder.write_variants(written)
    else:
        folder.variants_json.unlink(missing_ok=True)
    run = load_run(folder)
    run["account"]["pnl"]["net"] = str(Decimal(run["account"]["pnl"]["net"]) + Decimal("0.0000000001"))
    write_json(folder.run_json, run)
    folder.report_html.unlink(missing_ok=True)
    with pytest.raises(SpiketapeError, match="is not the run's: pnl differ"):
        write_report(folder, tape)
    assert not folder.report_html.exists()


def test_part_of_a_tape_is_checked_against_the_lake_and_the_page_says_how_much(
    own_run: tuple[RunFolder, Tape], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, tape = own_run
    folder.variants_json.unlink(missing_ok=True)
    monkeypatch.setattr(variants, "BATCH_TICKS", 8_000)
    monkeypatch.setattr(variants.variants_of, "__defaults__", (40_000,))
    html = write_report(folder, tape).read_text(encoding="utf-8")
    kept = folder.read_variants()
    assert kept is not None
    assert not kept["whole"]
    assert 40_000 <= kept["ticks"] < 100_000
    assert f"cover the first {kept['ticks']:,} ticks of the tape, not all of it" in html
    kept["accounts"][variants.BASE]["fees"] = "0.0000000001"
    folder.write_variants(kept)
    with pytest.raises(SpiketapeError, match="the lake holds"):
        write_report(folder, tape)


def test_page_without_variants_says_so(own_run: tuple[RunFolder, Tape]) -> None:
    folder, tape = own_run
    folder.variants_json.unlink(missing_ok=True)
    html = write_report(folder, tape, variants=False).read_text(encoding="utf-8")
    assert "the account was not run again under other settings" in html
    assert not folder.variants_json.exists()


def test_model_that_is_gone_leaves_a_page_that_says_so(own_run: tuple[RunFolder, Tape]) -> None:
    folder, tape = own_run
    run = load_run(folder)
    run["model_file"] = str(folder.path / "gone.safetensors")
    write_json(folder.run_json, run)
    html = write_report(folder, tape).read_text(encoding="utf-8")
    assert "model cannot be read any more" in html


def test_unfinished_run_has_no_report(tmp_path: RunFolder) -> None:
    with pytest.raises(UsageError, match="holds no finished run"):
        load_run(RunFolder(tmp_path))


def test_terminal_report_fits_80_columns_and_names_the_hash(small_run: tuple[RunFolder, Tape]) -> None:
    run = load_run(small_run[0])
    before = stdout.width
    stdout.width = 80
    try:
        with stdout.capture() as captured:
            print_report(run)
    finally:
        stdout.width = before
    lines = captured.get().splitlines()
    assert max(len(line) for line in lines) <= 80
    text = "".join(c for line in lines for c in line if c not in "│ ")
    assert run["output_hash"] in text
    for words in ("all0.1", "spreadcaptured", "wheretheCPUtimewent"):
        assert words in text
