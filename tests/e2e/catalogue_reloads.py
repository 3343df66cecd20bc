"""Rows C05 to C08: models that come and go under load, fail their try, or never finish loading."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx

from tests.e2e.catalogue_bench import LOAD_SECONDS, Bench, Growth, counted, row, unless
from tests.e2e.outcome import Outcome
from tests.e2e.stock import READY, UNAVAILABLE, WORKERS, Customers, Stock, numbered, stocked, workers_of
from tests.model_service.repository_tree import PYTHON_TOML
from tests.waiting import wait_for

THREADS, MEASURED_SECONDS, SUITE_CHANGES = 32, 60.0, 1
SWAP_RATE, SWAP_CLIENTS, SWAP_ROWS = 150.0, 6, 8
SWAPS, SUITE_SWAPS = 20, 2
MOST_MEBIBYTES = 60
NOTED = """self.marks = folder.parents[2] / "marks"
        self.note("+")

    def note(self, sign):
        with self.marks.open("a") as stream:
            stream.write(sign)

    def close(self):
        self.note("-")"""
FAILING = {
    "NaN in the warm-up": "np.full(rows, np.nan, np.float32)",
    "raises in the warm-up": "rows // 0",
    "another answer than the sample's": "np.full(rows, 9, np.int32)",
}
TRIED = PYTHON_TOML + "[[warmup]]\ninputs = {features = [[1.0]]}\noutputs = {class_id = [1]}\n"


@row("C05", f"{THREADS} threads load and unload one model over REST while another one serves")
def storm(bench: Bench) -> Outcome:
    """Only errors that say why, the other model never notices, the last word counts, and nothing is left over."""
    marks = bench.system.run_folder.parent / "marks"
    with stocked(bench, "stormy") as stock, stocked(bench, "steady") as steady:
        stock.publish("1", numbered(1, NOTED))
        steady.serve("1", numbered(7))
        stock.until("1", READY)
        workers = workers_of(bench)
        threads = sum(worker.num_threads() for worker in workers)
        with Customers(steady) as customers, Growth(workers) as growth:
            answers = _stormed(bench, stock)
        with bench.client() as client:
            last = [stock.change(client, "load").status_code, stock.ask(client).status_code]
            wait_for(lambda: _in_memory(marks) == WORKERS, "as many models in memory as serve")
            last.append(stock.change(client, "unload").status_code)
        left = wait_for(lambda: _in_memory(marks) == 0 and "0", "no model in memory")
        more = sum(worker.num_threads() for worker in workers) - threads
    wrong = _storm_mistakes(answers, last, customers, growth)
    happened = f"{len(answers)} changes: {counted(answer.status_code for answer in answers)}; then {last}"
    figure = f"left in memory {left} models, {more:+} threads, + {growth.mebibytes:.0f} MiB"
    return Outcome(f"{happened}; the other model {len(customers.answers)} x 200", figure, wrong)


def _stormed(bench: Bench, stock: Stock) -> list[httpx.Response]:
    ends = time.monotonic() + MEASURED_SECONDS
    answers: list[httpx.Response] = []

    def changes(number: int) -> None:
        with bench.client() as client:
            step = 0
            while time.monotonic() < ends if bench.measuring else step < SUITE_CHANGES:
                answers.append(stock.change(client, ("load", "unload")[(number + step) % 2]))
                step += 1

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(changes, range(THREADS)))
    return answers


def _in_memory(marks: Path) -> int:
    signs = Counter(marks.read_text())
    return signs["+"] - signs["-"]


def _storm_mistakes(
    answers: list[httpx.Response], last: list[int], customers: Customers, growth: Growth
) -> tuple[str, ...]:
    # Who loads while another one unloads is told so, by either worker.
    strange = {answer.text for answer in answers if not answer.is_success and "it was unloaded" not in answer.text}
    wrong = unless(not strange, f"answers {sorted(strange)[:3]}")
    wrong += unless(last == [200, 200, 200], f"load, ask, unload at the end: {last}")
    wrong += unless(customers.statuses() == {200}, f"the other model: {customers.statuses()}")
    return wrong + unless(growth.mebibytes < MOST_MEBIBYTES, f"memory grew by {growth.mebibytes:.0f} MiB")


@row("C06", f"versions take each other's place at {SWAP_RATE:.0f} requests of {SWAP_ROWS} rows a second")
def swapped(bench: Bench) -> Outcome:
    """No request fails, and each answer is wholly of the version that it names."""
    swaps = SWAPS if bench.measuring else SUITE_SWAPS
    with stocked(bench, "swapped", "versions = {latest = 1}\n" + PYTHON_TOML) as stock:
        stock.serve("1", numbered(1))
        with Customers(stock, clients=SWAP_CLIENTS, rate=SWAP_RATE, rows=SWAP_ROWS) as customers:
            for number in range(2, 2 + swaps):
                stock.publish(str(number), numbered(number))
                stock.until(str(number), READY)
            last = str(1 + swaps)
            wait_for(lambda: customers.documents()[-1]["model_version"] == last, "the last version's answer")
    found = customers.documents()
    mixed = [one for one in found if one["outputs"][0]["data"] != [int(one["model_version"])] * SWAP_ROWS]
    versions = {one["model_version"] for one in found}
    wrong = unless(customers.statuses() == {200}, f"statuses {customers.statuses()}")
    wrong += unless(not mixed, f"mixed: {mixed[:2]}")
    wrong += unless(versions == {str(number) for number in range(1, 2 + swaps)}, f"versions {sorted(versions)}")
    happened = f"{swaps} swaps, {len(found)} x 200, by {len(versions)} versions"
    return Outcome(happened, f"mixed answers {len(mixed)}, errors {len(customers.answers) - len(found)}", wrong)


@row("C07", "new versions that answer their sample with NaN, with an error, or with something else")
def failing_the_try(bench: Bench) -> Outcome:
    """They never get a request, and the one before serves on."""
    with stocked(bench, "tried", TRIED) as stock:
        stock.serve("1", numbered(1))
        with Customers(stock) as customers:
            for number, answer in enumerate(FAILING.values(), 2):
                stock.publish(str(number), partial(_answering, answer))
            reasons = [stock.until(str(number), UNAVAILABLE) for number in range(2, 2 + len(FAILING))]
    versions = {one["model_version"] for one in customers.documents()}
    wrong = unless(all("warmup[0]" in reason for reason in reasons), f"reasons {reasons}")
    wrong += unless(customers.statuses() == {200} and versions == {"1"}, f"{customers.statuses()} by {versions}")
    happened = f"{len(reasons)} refused with warmup[0] and why; {len(customers.answers)} answers, all of version 1"
    return Outcome(happened, "requests to them 0", wrong)


def _answering(answer: str, folder: Path) -> None:
    numbered(1)(folder)
    file = folder / "model.py"
    file.write_text(file.read_text().replace("np.full(rows, 1, np.int32)", answer))


@row(
    "C08",
    "loads that hang: a FIFO for a model file, an import that never ends; other models meanwhile",
    destructive=True,
)
def hanging(bench: Bench) -> Outcome:
    """Refuse the FIFO at once, the import after load_timeout; load others beside it, and serve what was mended."""
    with stocked(bench, "hangs") as stock, stocked(bench, "beside") as beside:
        stock.publish("1", lambda folder: os.mkfifo(folder / "model.py"))
        fifo = stock.until("1", UNAVAILABLE, seconds=5)
        stock.publish(
            "2", lambda folder: (folder / "model.py").write_text("import threading\nthreading.Event().wait()\n")
        )
        began = time.monotonic()
        stock.until("2", "LOADING")
        beside.publish("1", numbered(1))
        beside.until("1", READY, seconds=LOAD_SECONDS / 2)
        waited = time.monotonic() - began
        reason = stock.until("2", UNAVAILABLE, seconds=2 * LOAD_SECONDS)
        took = time.monotonic() - began
        numbered(2)(stock.folder / "2")
        stock.until("2", READY)
        with bench.client() as client:
            wait_for(lambda: stock.ask(client).is_success, "an answer of what was mended")
            version = stock.ask(client).json()["model_version"]
    wrong = unless("not a regular file" in fifo, f"the FIFO: {fifo}")
    wrong += unless("load_timeout" in reason, f"the import: {reason}")
    wrong += unless(version == "2", f"mended: version {version}")
    happened = (
        f"FIFO refused at once; import given up after {took:.1f} s; another model served {waited:.1f} s in; mended 200"
    )
    return Outcome(happened, f"load_timeout {LOAD_SECONDS} s, {threading.active_count()} threads of ours", wrong)
