"""The picture of a run."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from deploy.bench.chart import svg
from deploy.bench.results import Run
from tests.deploy.bench.samples import cell, run

NAMESPACE = "{http://www.w3.org/2000/svg}"


def parsed(sample: Run) -> ET.Element:
    """Return the picture's root; labels with & and < in them must not break it."""
    return ET.fromstring(svg(sample))  # noqa: S314  # our own document


def test_the_picture_is_well_formed_and_has_a_bar_for_each_figure() -> None:
    """Every server and number of connections is seen, whatever letters its label has."""
    sample = run(*(cell(key, 1, n, 100.0 * n) for key in ("ours", "fastapi-2", "triton-1") for n in (1, 32, 128)))
    root = parsed(sample)
    background, keys, bars = 1, 3, 9
    assert len(root.findall(f"{NAMESPACE}rect")) == background + keys + bars
    assert "FastAPI <2>" in [text.text for text in root.findall(f"{NAMESPACE}text")]


def test_bars_are_to_scale_and_inside() -> None:
    """Twice the rate is twice the bar, and nothing leaves the picture."""
    root = parsed(run(cell("ours", 1, 1, 1000.0), cell("triton-1", 1, 1, 500.0)))
    widths = [float(rect.get("width", "0")) for rect in root.findall(f"{NAMESPACE}rect")][2:]
    assert abs(widths[0] - 2 * widths[1]) <= 2
    width, height = (float(number) for number in root.get("viewBox", "").split()[2:])
    for rect in root.findall(f"{NAMESPACE}rect"):
        place = {name: float(rect.get(name, "0")) for name in ("x", "y", "width", "height")}
        assert place["x"] + place["width"] <= width
        assert place["y"] + place["height"] <= height


def test_a_run_without_figures_is_a_picture_too() -> None:
    """Nothing measured is no crash."""
    assert parsed(run()).tag == f"{NAMESPACE}svg"
