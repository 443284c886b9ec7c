"""The frame of the page: tables, notes, sections, and one file with everything in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from html import escape
from typing import Any, Final

from plotly.offline import get_plotlyjs

NOTHING: Final = "–"

STYLE: Final = """
:root{--ink:#1c2733;--soft:#5d6b78;--line:#dde3e8;--blue:#1f6fb2}
*{box-sizing:border-box}
body{margin:0;font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:var(--ink);background:#f4f6f8}
header,main{max-width:1180px;margin:0 auto;padding:0 16px}
header{padding-top:22px}
h1{font-size:22px;margin:0 0 2px}
h2{font-size:17px;margin:0 0 6px}
h3{font-size:14px;margin:18px 0 4px}
p{margin:6px 0;max-width:90ch}
.soft,figcaption{color:var(--soft);font-size:13px}
section{background:#fff;border:1px solid var(--line);border-radius:8px;padding:16px;margin:14px 0}
nav{display:flex;flex-wrap:wrap;gap:4px 14px;margin:10px 0;font-size:13px}
a{color:var(--blue)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px;margin:14px 0}
.tile{background:#fff;border:1px solid var(--line);border-radius:8px;padding:10px 12px}
.tile b{display:block;font-size:20px;font-variant-numeric:tabular-nums;white-space:nowrap}
.tile>span{color:var(--soft);font-size:12px;display:block}
.warn{background:#fff6e0;border:1px solid #e7c876;border-radius:6px;padding:8px 12px;margin:8px 0}
.scroll{overflow-x:auto;max-height:560px;overflow-y:auto}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;margin:6px 0}
th,td{padding:3px 8px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
thead th{position:sticky;top:0;background:#fff;color:var(--soft);font-weight:600;vertical-align:bottom;white-space:normal;line-height:1.25}
th:first-child,td:first-child{text-align:left}
th.text,td.text{text-align:left;white-space:normal;min-width:20ch}
tr.first td{font-weight:600}
.bad{color:#b02a2a}.good{color:#14713c}.faint{color:#98a3ad}
.figure{min-height:100px;margin:10px 0}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,460px),1fr));gap:8px 18px}
code{font-size:12px;overflow-wrap:anywhere}
@media print{body{background:#fff}nav{display:none}.scroll{max-height:none}}
"""

DRAW: Final = """
const drawn=new Set();
function draw(e){if(drawn.has(e))return;drawn.add(e);const f=JSON.parse(document.getElementById(e.dataset.figure).textContent);
Plotly.newPlot(e,f.data,f.layout,{responsive:true,displayModeBar:false});}
const eye=new IntersectionObserver(s=>s.forEach(x=>{if(x.isIntersecting)draw(x.target)}),{rootMargin:'600px'});
document.querySelectorAll('.figure').forEach(e=>eye.observe(e));
addEventListener('beforeprint',()=>document.querySelectorAll('.figure').forEach(draw));
"""
"""Each figure is drawn when it comes near the view, so that the page opens at once."""

POLICY: Final = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""The browser itself keeps the page from loading anything."""


class Cell(str):
    """HTML that is already escaped."""


def text(value: Any) -> str:
    """A value as HTML; None is a dash."""
    if value is None:
        return f'<span class="faint">{NOTHING}</span>'
    return str(value) if isinstance(value, Cell) else escape(str(value))


def signed(value: Decimal | float | None, places: int = 2) -> Cell:
    """A gain in green, a loss in red."""
    if value is None:
        return Cell(text(None))
    shown = f"{value:+,.{places}f}"
    kind = "" if not any(c in "123456789" for c in shown) else "good" if value > 0 else "bad"
    return Cell(f'<span class="{kind}">{shown.replace("-", "−")}</span>')


def number(value: float | Decimal | None, places: int = 0) -> Cell:
    """A number with thousands apart."""
    return Cell(text(None)) if value is None else Cell(f"{value:,.{places}f}".replace("-", "−"))


def quantity(value: Decimal | str) -> Cell:
    """An amount of an instrument, exactly, without empty decimals."""
    shown = f"{Decimal(value):,f}"
    return Cell((shown.rstrip("0").rstrip(".") if "." in shown else shown).replace("-", "−"))


def percent(value: float | None, places: int = 1) -> Cell:
    """A fraction in percent."""
    return Cell(text(None)) if value is None else Cell(f"{100 * value:,.{places}f}%".replace("-", "−"))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], first: bool = False, words: Sequence[int] = ()) -> Cell:
    """A table; `first`: its first line is a total; the columns in `words` hold text."""
    head = "".join(f"<th{' class=text' if j in words else ''}>{escape(c)}</th>" for j, c in enumerate(columns))
    body = []
    for i, row in enumerate(rows):
        cells = "".join(f"<td{' class=text' if j in words else ''}>{text(x)}</td>" for j, x in enumerate(row))
        body.append(f"<tr{' class=first' if first and i == 0 else ''}>{cells}</tr>")
    if not body:
        return Cell('<p class="soft">none</p>')
    return Cell(f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>')


def note(words: str) -> Cell:
    """What a reader should know of the numbers above."""
    return Cell(f'<p class="soft">{escape(words)}</p>')


def warning(words: str) -> Cell:
    """What a reader must know."""
    return Cell(f'<div class="warn">{escape(words)}</div>')


def heading(words: str) -> Cell:
    """A heading inside a section."""
    return Cell(f"<h3>{escape(words)}</h3>")


def tile(name: str, value: str, under: str) -> Cell:
    """One number of the first glance."""
    return Cell(f'<div class="tile"><span>{escape(name)}</span><b>{text(value)}</b><span>{escape(under)}</span></div>')


class Page:
    """A page under way: sections in order, figures by number."""

    def __init__(self, title: str, subtitle: str) -> None:
        self._title = title
        self._subtitle = subtitle
        self._top: list[str] = []
        self._sections: list[tuple[str, str, str]] = []
        self._figures: list[dict[str, Any]] = []

    def top(self, *parts: Cell) -> None:
        """Adds to what stands above the sections."""
        self._top += parts

    def section(self, anchor: str, title: str, *parts: Cell) -> None:
        """Adds a section."""
        self._sections.append((anchor, title, "".join(parts)))

    def figure(self, value: dict[str, Any]) -> Cell:
        """A place where a figure is drawn."""
        self._figures.append(value)
        height = value["layout"]["height"]
        return Cell(f'<div class="figure" style="height:{height}px" data-figure="figure{len(self._figures)}"></div>')

    def html(self) -> str:
        """The whole file."""
        links = "".join(f'<a href="#{a}">{escape(t)}</a>' for a, t, _ in self._sections)
        sections = "".join(
            f'<section id="{a}"><h2>{i}. {escape(t)}</h2>{body}</section>' for i, (a, t, body) in enumerate(self._sections, 1)
        )
        figures = "".join(f'<script type="application/json" id="figure{i}">{_json(f)}</script>' for i, f in enumerate(self._figures, 1))
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            f"<title>{escape(self._title)}</title><style>{STYLE}</style></head><body>"
            f'<header><h1>{escape(self._title)}</h1><div class="soft">{escape(self._subtitle)}</div><nav>{links}</nav>'
            f"{''.join(self._top)}</header><main>{sections}</main>{figures}"
            f"<script>{get_plotlyjs()}</script><script>{DRAW}</script></body></html>\n"
        )


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
