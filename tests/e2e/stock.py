"""Models that a row brings into the bench's repository: published as a whole, watched, asked, and taken away again."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import grpc
import httpx
import psutil

from inference_pb import open_inference_pb2 as wire
from inference_pb.open_inference_pb2_grpc import GRPCInferenceServiceStub
from tests.e2e.catalogue_bench import Bench
from tests.model_service.repository_tree import PYTHON_TOML
from tests.waiting import wait_for

WORKERS = 2
READY, UNAVAILABLE = "READY", "UNAVAILABLE"
LIST_SUMS = "find . -type f ! -name SHA256SUMS -exec sha256sum {} + > SHA256SUMS"
"""As docs/MODELS.md has it."""

SOURCE = """
import numpy as np

class Model:
    def __init__(self, folder, parameters):
        {loading}

    def predict(self, inputs):
        rows = len(inputs["features"])
        return {{"class_id": np.full(rows, {answer}, np.int32)}}
"""
SERIAL = itertools.count(1)
Standing = tuple[str, str]


def numbered(answer: object, loading: str = "pass") -> Callable[[Path], object]:
    """Return what fills a version's folder with a Python model that answers each row with a number."""
    return lambda folder: (folder / "model.py").write_text(SOURCE.format(answer=answer, loading=loading))


def with_sums(fill: Callable[[Path], object]) -> Callable[[Path], object]:
    """Return what fills a version's folder and lists the digests of what is in it."""

    def filled(folder: Path) -> None:
        fill(folder)
        subprocess.run(LIST_SUMS, shell=True, cwd=folder, check=True)  # noqa: S602  # the user's own shell would run it

    return filled


def repository_of(bench: Bench) -> Path:
    """Return the folder in which the bench's models lie."""
    return bench.system.run_folder.parent / "models"


def workers_of(bench: Bench) -> list[psutil.Process]:
    """Return the processes of the workers."""
    return [psutil.Process(pid) for pid in bench.system.pids("inference")]


def standings(bench: Bench) -> list[dict[tuple[str, str], Standing]]:
    """Return state and reason of every version, by name and version, as each worker says it."""
    found = []
    for slot in range(WORKERS):
        with grpc.insecure_channel(f"127.0.0.1:{bench.system.grpc_port + slot}") as channel:
            index = GRPCInferenceServiceStub(channel).RepositoryIndex(wire.RepositoryIndexRequest(), timeout=10)
        found.append({(one.name, one.version): (one.state, one.reason) for one in index.models})
    return found


@dataclass(frozen=True)
class Stock:
    """One model of the repository, under a name that nobody had before."""

    bench: Bench
    name: str

    @property
    def folder(self) -> Path:
        """The model's folder."""
        return repository_of(self.bench) / self.name

    def publish(self, version: str, fill: Callable[[Path], object]) -> Path:
        """Fill a version's folder beside the repository, move it in, and return where it is."""
        with tempfile.TemporaryDirectory(prefix="staged-", dir=self.folder.parents[1]) as name:
            staged = Path(name) / version
            staged.mkdir()
            fill(staged)
            return staged.rename(self.folder / version)

    def serve(self, version: str, fill: Callable[[Path], object]) -> None:
        """Publish a version and have it loaded, so that every gateway process knows of it."""
        self.publish(version, fill)
        with self.bench.client() as client:
            assert self.change(client, "load").is_success

    def standing(self, version: str) -> list[Standing]:
        """Return what each worker says of a version; "" for both where it says nothing."""
        return [each.get((self.name, version), ("", "")) for each in standings(self.bench)]

    def until(self, version: str, state: str, reason: str = "", seconds: float = 20.0) -> str:
        """Wait until every worker says so of a version, and return the reason that the first one gives."""

        def found() -> list[Standing]:
            said = self.standing(version)
            return said if all(one == state and reason in why for one, why in said) else []

        return wait_for(found, f"version {version} of {self.name}: {state} {reason}", seconds)[0][1]

    def ask(self, client: httpx.Client, version: str = "", rows: int = 1, width: int = 4) -> httpx.Response:
        """Ask for rows over REST."""
        place = f"/v2/models/{self.name}{f'/versions/{version}' if version else ''}/infer"
        tensor = {"name": "features", "datatype": "FP32", "shape": [rows, width], "data": [0.5] * rows * width}
        return client.post(place, json={"inputs": [tensor]})

    def change(self, client: httpx.Client, verb: str) -> httpx.Response:
        """Load or unload the model everywhere."""
        return client.post(f"/v2/repository/models/{self.name}/{verb}")


@contextlib.contextmanager
def stocked(bench: Bench, name: str, description: str = PYTHON_TOML) -> Iterator[Stock]:
    """Bring a model without versions into the repository, and take it out of service and away at the end."""
    stock = Stock(bench, f"{name}-{next(SERIAL)}")
    stock.folder.mkdir()
    (stock.folder / "model.toml").write_text(description)
    try:
        yield stock
    finally:
        shutil.rmtree(stock.folder, ignore_errors=True)
        with bench.client() as client:
            stock.change(client, "unload")
        wait_for(
            lambda: not any(stock.name == name for each in standings(bench) for name, _ in each), "an index without"
        )


@dataclass
class Customers:
    """Asks a model again and again from threads of its own while this is entered; `answers` are all that came."""

    stock: Stock
    version: str = ""
    clients: int = 1
    rate: float = 50.0
    rows: int = 1
    width: int = 4
    answers: list[httpx.Response] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        for _ in range(self.clients):
            self._threads.append(threading.Thread(target=self._ask))
            self._threads[-1].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with self.stock.bench.client() as client:
            while not self._over.wait(self.clients / self.rate):
                self.answers.append(self.stock.ask(client, self.version, self.rows, self.width))

    def statuses(self) -> set[int]:
        """Return the statuses that came."""
        return {answer.status_code for answer in self.answers}

    def documents(self) -> list[Mapping[str, Any]]:
        """Return the answers that were good."""
        return [answer.json() for answer in self.answers if answer.is_success]
