"""What the command line chooses and writes."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec
import pytest

from deploy.bench import compare
from deploy.bench.results import Run
from inference_core.errors import ConfigurationError
from tests.deploy.bench.samples import cell, run


def plan(*words: str) -> tuple[list[str], int, int]:
    """Return the contenders, rounds and seconds of a command line."""
    parser = argparse.ArgumentParser()
    compare.add_arguments(parser)
    made = compare.plan_of(parser.parse_args(words))
    return [contender.key for contender in made.contenders], made.rounds, made.seconds


def test_the_default_is_the_monolith() -> None:
    """`make bench` compares with FastAPI in three rounds of four seconds."""
    assert plan() == (["ours", "fastapi-1", "fastapi-2"], 3, 4)


def test_peers_and_configurations_can_be_named() -> None:
    """A peer's name means all its configurations, a key means one."""
    assert plan("--peers", "triton,mosec-2", "--quick") == (["ours", "mosec-2", "triton-1", "triton-2"], 1, 2)
    assert plan("--peers", "none", "--rounds", "5")[0:2] == (["ours"], 5)
    assert len(plan("--peers", "all")[0]) == 11


def test_an_unknown_peer_is_refused_with_those_there_are() -> None:
    """A typing error is told before anything starts."""
    with pytest.raises(ConfigurationError, match=r"no peer tirton.*triton-2"):
        compare.choose("tirton")


@pytest.mark.parametrize("text", ["0", "a", "1,"])
def test_connections_are_numbers_from_one(text: str) -> None:
    """What wrk could not do is refused by the command line."""
    with pytest.raises(SystemExit):
        plan("--connections", text)


def test_what_was_measured_can_be_read_again(tmp_path: Path) -> None:
    """The raw figures are beside the page and the picture, complete."""
    sample = run(cell("ours", 1, 1, 1000.0))
    page = compare.write(sample, tmp_path, "peers")
    assert page.read_text().startswith("# InferenceHub and its peers")
    again = msgspec.json.decode((tmp_path / "peers.json").read_bytes(), type=Run)
    assert again.cells == [cell("ours", 1, 1, 1000.0)]
    assert (tmp_path / "peers.svg").exists()
