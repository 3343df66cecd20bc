"""A run as a bar chart in SVG: requests per second, one panel for each work."""

from __future__ import annotations

import math
from collections.abc import Iterator
from xml.sax.saxutils import escape

from deploy.bench.contenders import OURS
from deploy.bench.results import Run, figures

WIDTH, LABELS, MARGIN = 860, 230, 16
BAR, GAP, HEAD = 11, 8, 46
NUMBER = 60  # room for the figure beside the longest bar
SHADES = ("#9db8cf", "#5b8db8", "#1f4e79", "#12304a")
OUR_SHADES = ("#f2b48a", "#e07b39", "#b3500f", "#7a3407")


def svg(run: Run) -> str:
    """Return the picture as a document; bars are to a linear scale that all panels share."""
    longest = max((cell.requests_per_second for cell in run.cells), default=1.0)
    scale = (WIDTH - LABELS - NUMBER - MARGIN) / max(longest, 1.0)
    parts, top = [], MARGIN
    for work in run.works():
        panel = list(_panel(run, work, top, scale))
        parts += panel
        top += HEAD + len(run.contenders(work)) * _row_height(run)
    return "\n".join([_opening(top + MARGIN), *parts, "</svg>"]) + "\n"


def _opening(height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12" role="img" aria-label="Requests per second of each server">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
    )


def _row_height(run: Run) -> int:
    return len(run.connections()) * BAR + GAP


def _panel(run: Run, work: str, top: int, scale: float) -> Iterator[str]:
    yield _text(MARGIN, top + 14, f"{work}: requests per second", weight="bold")
    x = LABELS
    for shade, connections in zip(SHADES, run.connections(), strict=False):
        yield f'<rect x="{x}" y="{top + 24}" width="10" height="10" fill="{shade}"/>'
        yield _text(x + 14, top + 33, f"{connections} connection{'' if connections == 1 else 's'}")
        x += 120
    for index, key in enumerate(run.contenders(work)):
        yield from _row(run, work, key, top + HEAD + index * _row_height(run), scale)


def _row(run: Run, work: str, key: str, top: int, scale: float) -> Iterator[str]:
    numbers = run.connections()
    middle = top + len(numbers) * BAR // 2 + 4
    yield _text(MARGIN, middle, run.labels[key], weight="bold" if key == OURS else "normal")
    for index, connections in enumerate(numbers):
        cells = run.select(work, key, connections)
        if not cells:
            continue
        rate = figures(cells).requests_per_second
        shades = OUR_SHADES if key == OURS else SHADES
        y, length = top + index * BAR, max(math.ceil(rate * scale), 1)
        fill = shades[min(index, len(shades) - 1)]
        yield f'<rect x="{LABELS}" y="{y}" width="{length}" height="{BAR - 1}" fill="{fill}"/>'
        yield _text(LABELS + length + 4, y + BAR - 2, f"{rate:,.0f}", size=10)


def _text(x: int, y: int, words: str, *, weight: str = "normal", size: int = 12) -> str:
    return f'<text x="{x}" y="{y}" font-weight="{weight}" font-size="{size}" fill="#222222">{escape(words)}</text>'
