"""Rows C01 to C04: versions that are damaged, half there, other than their list says, or gone."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import httpx
import skops.io
import xgboost
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from inference_core.settings import CHECKOUT
from tests.e2e.catalogue_bench import Bench, counted, row, unless
from tests.e2e.outcome import Outcome
from tests.e2e.stock import READY, UNAVAILABLE, Customers, Stock, numbered, standings, stocked, with_sums
from tests.waiting import wait_for

FLIPS, PATIENCE = 8, 120.0
FILES = {"onnx": "model.onnx", "xgboost": "model.ubj", "sklearn": "model.skops"}
WIDTHS = {"onnx": 64, "xgboost": 4, "sklearn": 4}
CHECKING = """if (folder / "weights").stat().st_size != 60_000:
            (folder.parents[2] / "premature").touch()"""


def _model_file(runtime: str, folder: Path) -> bytes:
    if runtime == "onnx":
        return (CHECKOUT / "model_service" / "models" / "digits" / "1" / FILES[runtime]).read_bytes()
    flowers, kinds = load_iris(return_X_y=True)
    if runtime == "sklearn":
        skops.io.dump(LogisticRegression(max_iter=500).fit(flowers, kinds), folder / FILES[runtime])
    else:
        booster = xgboost.train({"objective": "multi:softprob", "num_class": 3}, xgboost.DMatrix(flowers, kinds), 5)
        booster.save_model(folder / FILES[runtime])
    return (folder / FILES[runtime]).read_bytes()


def _damaged(data: bytes) -> dict[str, bytes]:
    return {
        "empty": b"",
        "half": data[: len(data) // 2],
        "one byte short": data[:-1],
        "wrong magic": b"\x00\x01\x02\x03" + data[4:],
        "zeros": bytes(len(data)),
        "another kind": b"not a model\n" * 50,
    }


def _flipped(data: bytes) -> Iterator[bytes]:
    chance = random.Random(1)  # noqa: S311  # no secret
    for _ in range(FLIPS):
        changed = bytearray(data)
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        yield bytes(changed)


def _writes(name: str, data: bytes, listed: bytes | None = None) -> Callable[[Path], object]:
    if listed is None:
        return lambda folder: (folder / name).write_bytes(data)

    def fill(folder: Path) -> None:
        with_sums(lambda within: (within / name).write_bytes(listed))(folder)
        (folder / name).write_bytes(data)

    return fill


@row("C01", "model files: empty, cut, wrong magic, zeros, other kinds, bytes flipped; with and without SHA256SUMS")
def corrupted(bench: Bench) -> Outcome:
    """Every new version is UNAVAILABLE with a reason, and the old one answers every request meanwhile.

    A flipped byte that no list tells of may be a model all the same, with other weights; it must only kill nobody.
    """
    found = [_corrupted(bench, runtime) for runtime in (FILES if bench.measuring else ["onnx"])]
    wrong = tuple(mistake for outcome in found for mistake in outcome.wrong)
    return Outcome("; ".join(outcome.happened for outcome in found), "errors of the old version 0", wrong)


def _corrupted(bench: Bench, runtime: str) -> Outcome:
    file = FILES[runtime]
    with stocked(bench, runtime, f'runtime = "{runtime}"\n') as stock:
        data = _model_file(runtime, stock.folder)
        stock.serve("1", _writes(file, data))
        with Customers(stock, "1", width=WIDTHS[runtime]) as customers, bench.client() as client:
            refused = [stock.publish(f"1{n}", _writes(file, bad)).name for n, bad in enumerate(_damaged(data).values())]
            refused += [stock.publish(f"2{n}", _writes(file, bad, data)).name for n, bad in enumerate(_flipped(data))]
            open_ended = [stock.publish(f"3{n}", _writes(file, bad)).name for n, bad in enumerate(_flipped(data))]
            reasons = [stock.until(version, UNAVAILABLE, seconds=PATIENCE) for version in refused]
            wait_for(lambda: all(_is_settled(stock, each) for each in open_ended), "an end of every flip", PATIENCE)
            ready = client.get("/ready").status_code
        loaded = sum(READY in dict(stock.standing(version)) for version in open_ended)
    wrong = unless(all(file in reason or "SHA256SUMS" in reason for reason in reasons), f"{runtime}: {reasons}")
    wrong += unless(customers.statuses() == {200}, f"{runtime}, version 1: {customers.statuses()}")
    wrong += unless(ready == httpx.codes.OK, f"/ready said {ready}")
    asked = len(customers.answers)
    told = f"{runtime}: {len(refused)} of {len(refused)} refused, {asked} answers by the old version"
    return Outcome(f"{told}; of {FLIPS} flips without a list {loaded} load", wrong=wrong)


def _is_settled(stock: Stock, version: str) -> bool:
    return all(state in {READY, UNAVAILABLE} for state, _ in stock.standing(version))


@row("C02", "a version copied slowly, its SHA256SUMS first; one copied under a hidden name and renamed")
def half_written(bench: Bench) -> Outcome:
    """Nothing is loaded before it is complete, and then it is."""
    mark = bench.system.run_folder.parent / "premature"
    with stocked(bench, "half") as stock:
        stock.serve("1", numbered(1))
        source = stock.publish("_source", with_sums(_weighty))
        with Customers(stock) as customers:
            tried = _copied_slowly(stock, source)
            stock.until("2", READY)
            hidden = stock.folder / ".3"
            hidden.mkdir()
            _weighty(hidden)
            stock.publish("0", numbered(0))
            stock.until("0", READY)  # so that the workers have looked, and looked again
            early = [said for said in stock.standing("3") if said[0]]
            hidden.rename(stock.folder / "3")
            stock.until("3", READY)
    wrong = unless(not mark.exists() and not early, "a version was loaded before it was complete")
    wrong += unless(customers.statuses() == {200}, f"meanwhile: {customers.statuses()}")
    return Outcome(f"refused at each of {tried} pauses, then served; the renamed one, too", "premature loads 0", wrong)


def _weighty(folder: Path) -> None:
    numbered(2, CHECKING)(folder)
    (folder / "weights").write_bytes(bytes(60_000))


def _copied_slowly(stock: Stock, source: Path) -> int:
    target = stock.folder / "2"
    target.mkdir()
    shutil.copy(source / "SHA256SUMS", target)
    steps: dict[str, Callable[[], object]] = {
        "are not there: model.py, weights.": lambda: shutil.copy(source / "model.py", target),
        "are not there: weights.": lambda: (target / "weights").write_bytes(bytes(30_000)),
        "has other digests than these files: weights.": lambda: (target / "weights").write_bytes(bytes(60_000)),
    }
    for number, (reason, copy) in enumerate(steps.items()):
        if number or stock.bench.measuring:
            stock.until("2", UNAVAILABLE, reason)
        copy()
    return len(steps) if stock.bench.measuring else len(steps) - 1


@row("C03", "files that are other than SHA256SUMS says, missing, or one too many")
def other_digests(bench: Bench) -> Outcome:
    """Refused by name, told in the log as an error and in the index; the list that is right is served."""
    breaks: dict[str, Callable[[Path], object]] = {
        "has other digests than these files: model.py.": numbered(3),
        "lists files that are not there: weights.": lambda folder: (folder / "weights").unlink(),
        "does not list files that are there: more.": lambda folder: (folder / "more").touch(),
        ": this is no line of sha256sum(1)": lambda folder: (folder / "SHA256SUMS").write_text("model.py\n"),
    }
    with stocked(bench, "listed") as stock:
        stock.serve("1", with_sums(_weighty))
        with Customers(stock) as customers:
            versions = {str(number): spoil for number, spoil in enumerate(breaks.values(), 2)}
            for version, spoil in versions.items():
                stock.publish(version, _spoilt(spoil))
            reasons = [stock.until(version, UNAVAILABLE) for version in versions]
        logged = wait_for(lambda: _problems(bench, stock.name, versions.keys()), "the lines of the log")
    wrong = unless(all(map(str.__contains__, reasons, breaks)), f"reasons {reasons}")
    wrong += unless(customers.statuses() == {200}, f"meanwhile: {customers.statuses()}")
    figure = f"{len(logged)} lines of level error"
    return Outcome(f"{len(breaks)} of {len(breaks)} refused by name; there is no metric of it", figure, wrong)


def _problems(bench: Bench, model: str, versions: Collection[str]) -> list[dict[str, Any]]:
    # A worker may have looked at a version twice, once before it had settled, and at the folder before it had any.
    lines = [json.loads(line) for line in bench.log_lines() if model.encode() in line]
    problems = [line for line in lines if line["event"] == "model problem" and line["level"] == "error"]
    found = [line for line in problems if line["version"]]
    return found if {line["version"] for line in found} == set(versions) else []


def _spoilt(spoil: Callable[[Path], object]) -> Callable[[Path], object]:
    def fill(folder: Path) -> None:
        with_sums(_weighty)(folder)
        spoil(folder)

    return fill


@row("C04", "a model's folder is removed while it serves; measuring: then the workers restart")
def deleted(bench: Bench) -> Outcome:
    """Answer from memory and say so; a load, or a restart, tells that it is gone."""
    with stocked(bench, "deleted") as stock, bench.client() as client:
        stock.serve("1", numbered(1))
        with Customers(stock) as customers:
            wait_for(lambda: customers.answers, "a customer's answer")
            shutil.rmtree(stock.folder)
            reason = stock.until("1", READY, "its folder is gone")
            load = stock.change(client, "load").status_code
        after = stock.ask(client).status_code
        restarted = _after_a_restart(bench, stock) if bench.measuring else ""
    wrong = unless(customers.statuses() == {200} and after == httpx.codes.OK, f"asked: {customers.statuses()}, {after}")
    wrong += unless(load == httpx.codes.NOT_FOUND, f"load: {load}")
    wrong += unless(restarted in {"", "404 x 1"}, f"after a restart: {restarted}")
    told = f"; after a restart {restarted}" if restarted else ""
    return Outcome(f"READY, {reason}; load 404{told}", f"{len(customers.answers)} answers, errors 0", wrong)


def _after_a_restart(bench: Bench, stock: Stock) -> str:
    bench.system.control("restart", "inference:*")
    bench.system.wait_until_ready()
    wait_for(lambda: not any((stock.name, "1") in each for each in standings(bench)), "an index without it")
    with bench.client() as client:
        return counted([stock.ask(client).status_code])
