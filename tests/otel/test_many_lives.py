"""The metrics of 200 lives in the same places: a killed process takes nothing along and leaves nothing behind."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from otel.scrape import summed, take
from tests.otel.dying import Left, die

LIVES = 200
MODEL = 'model="m",version="1"'
GROWING = ("_total", "_bucket", "_count", "_sum")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for metrics."""
    return tmp_path_factory.mktemp("metrics")


@pytest.fixture(scope="module")
def lives(folder: Path) -> list[Left]:
    """Live and die that often in one folder."""
    return die(folder, LIVES)


def test_no_counter_ever_falls(lives: list[Left]) -> None:
    """From one life to the next each counter and each bucket is at least what it was."""
    for older, newer in pairwise(lives):
        for name, value in older.samples.items():
            if name.split("{")[0].endswith(GROWING):
                assert newer.samples[name] >= value, name


def test_the_sums_are_those_of_all_lives(lives: list[Left]) -> None:
    """Nothing that was counted before a SIGKILL is lost or counted twice; a gauge is that of the last life alone."""
    found = lives[-1].samples
    assert found[f"inferencehub_worker_batches_total{{{MODEL}}}"] == 3 * LIVES
    assert found[f"inferencehub_worker_rows_total{{{MODEL}}}"] == 12 * LIVES
    assert found[f"inferencehub_worker_compute_seconds_sum{{{MODEL}}}"] == 0.75 * LIVES
    assert found[f"inferencehub_worker_queue_seconds_count{{{MODEL}}}"] == 6 * LIVES
    assert found[f'inferencehub_worker_queue_seconds_bucket{{le="0.5",{MODEL}}}'] == 3 * LIVES
    assert found[f'inferencehub_gateway_requests_total{{code="200",{MODEL}}}'] == 6 * LIVES
    assert found[f"inferencehub_gateway_request_seconds_sum{{{MODEL}}}"] == 3 * LIVES
    assert found['inferencehub_controller_exits_total{cause="SIGKILL",process="inference-0"}'] == LIVES
    assert found[f"inferencehub_worker_queue_rows{{{MODEL}}}"] == 5


def test_neither_page_nor_files_grow(lives: list[Left]) -> None:
    """After 200 lives there are the series and the files of the first one, and no file is larger."""
    first, last = lives[0], lives[-1]
    assert len(lives) == LIVES
    assert last.samples.keys() == first.samples.keys()
    assert last.files == first.files


@pytest.mark.usefixtures("lives")
def test_the_console_reads_the_same(folder: Path) -> None:
    """What the page adds up, a reading by places has, too."""
    scrape = take(folder)
    assert set(scrape.places) == {"controller", "gateway-0", "inference-0"}
    assert summed(scrape.total("inference-"), "inferencehub_worker_batches_total") == 3 * LIVES
    assert summed(scrape.total("controller"), "inferencehub_controller_exits_total", cause="SIGKILL") == LIVES
