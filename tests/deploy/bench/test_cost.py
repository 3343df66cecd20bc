"""What observing costs, from rounds that are known."""

from __future__ import annotations

import argparse

import msgspec
import pytest

from deploy.bench import cost
from deploy.bench.results import Run
from inference_core.settings import Settings
from tests.deploy.bench.samples import cell, run


def rates(*rounds: tuple[float, float]) -> Run:
    """Return a run whose rounds have these rates with nothing on and as installed."""
    cells = [
        cell(key, number, 128, rate, cpu=1000 / rate)
        for number, pair in enumerate(rounds, 1)
        for key, rate in zip((cost.NOTHING, cost.INSTALLED), pair, strict=True)
    ]
    labels = {key: label for key, (label, _) in cost.SYSTEMS.items()}
    return msgspec.structs.replace(run(*cells), labels=labels)


def test_the_median_round_decides() -> None:
    """A machine that is slow in one round is slow for all systems in it; one bad round of three is noise."""
    good = rates((1000, 950), (100, 95), (1000, 500))
    assert cost.share_of(good, cost.INSTALLED) == pytest.approx(0.95)
    assert cost.verdict(good).startswith("holds")
    assert cost.verdict(rates((1000, 890), (100, 95), (1000, 880))).startswith("**does not hold**")


def test_what_did_not_run_proves_nothing() -> None:
    """Without the figure with nothing on there is no share, and no promise that holds."""
    lonely = msgspec.structs.replace(rates((1000, 950)), cells=[cell(cost.INSTALLED, 1, 128, 950.0)])
    assert cost.verdict(lonely).startswith("**does not hold**")


def test_the_table_has_a_row_for_each_system() -> None:
    """Each line says what is on, its rate and its cost, and what that is against nothing on."""
    page = cost.text(rates((1000, 950)), 128)
    (row,) = [line for line in page.splitlines() if line.startswith("| everything, as installed")]
    assert [part.strip() for part in row.split("|")[2:-1]] == [
        "950", "1.00, 9.0", "1.053", "0", "0.950", "", "1.053",
    ]  # fmt: skip
    assert "128 connections" in page


def test_each_system_differs_in_what_it_says() -> None:
    """The keys exist; nothing is on in the first, and the installed one is what the settings are by default."""
    settings = {key: msgspec.convert({"telemetry": keys}, Settings) for key, (_, keys) in cost.SYSTEMS.items()}
    telemetry = {key: found.telemetry for key, found in settings.items()}
    assert telemetry[cost.INSTALLED] == Settings().telemetry
    assert len(set(telemetry.values())) == len(telemetry)
    off = telemetry[cost.NOTHING]
    assert (off.otlp_endpoint, off.metrics, off.log_level) == ("", False, "off")


def test_the_usual_run_is_128_connections_on_the_tiny_model() -> None:
    """All systems take part in each of sixty rounds of a second; --quick changes nothing that is given."""
    parser = argparse.ArgumentParser()
    cost.add_arguments(parser)
    usual, quick, given = (
        cost.plan_of(parser.parse_args(words)) for words in ([], ["--quick"], ["--quick", "--rounds", "3"])
    )
    assert [contender.key for contender in usual.contenders] == list(cost.SYSTEMS)
    assert (usual.works, usual.connections, usual.rounds, usual.seconds) == (["tiny"], [128], 60, 1)
    assert (quick.rounds, quick.seconds, given.rounds) == (10, 1, 3)
