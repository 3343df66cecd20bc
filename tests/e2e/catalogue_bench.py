"""What every row of the catalogue gets: a running system with short deadlines, its processes, logs and spans."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import grpc
import httpx
import psutil

from inference_core.settings import CHECKOUT
from inference_pb import open_inference_pb2 as wire
from inference_pb.open_inference_pb2_grpc import GRPCInferenceServiceStub
from tests import web
from tests.e2e.outcome import Outcome
from tests.e2e.patient_model import add_patient
from tests.e2e.system import System
from tests.e2e.victim import Victim
from tests.otel.collector import Collector

MEBIBYTE = 1024 * 1024
DEADLINE_SECONDS = 2
MESSAGE_BYTES = 40 * MEBIBYTE  # more than a body of 16 MiB can become
LOAD_SECONDS, MAX_MODEL_BYTES = 12, 64 * MEBIBYTE
SHORT = dict.fromkeys(("header_deadline", "body_deadline", "write_deadline", "keep_alive"), DEADLINE_SECONDS)
SAMPLING_SECONDS = 0.005
PATIENT_LOG = "computed"
NOT_A_NUMBER = """
import numpy as np

class Model:
    def __init__(self, folder, parameters):
        pass

    def predict(self, inputs):
        rows = len(inputs["features"])
        return {"class_id": np.zeros(rows, np.int32), "confidence": np.full(rows, np.nan, np.float32)}
"""
NOT_A_NUMBER_DESCRIPTION = """
runtime = "python"
inputs = [{name = "features", datatype = "FP32", shape = [-1, -1]}]
outputs = [
  {name = "class_id", datatype = "INT32", shape = [-1]},
  {name = "confidence", datatype = "FP32", shape = [-1]},
]
"""


@dataclass(frozen=True)
class Bench:
    """A running system; `measuring` asks rows for figures of speed, which cost time and prove nothing in a suite."""

    system: System
    collector: Collector
    measuring: bool
    victim: Victim

    @property
    def address(self) -> tuple[str, int]:
        """Where the gateway listens."""
        return "127.0.0.1", self.system.http_port

    def computed(self) -> list[int]:
        """Return the numbers of the rows that the patient model has begun to compute."""
        file = self.system.run_folder.parent / PATIENT_LOG
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def client(self) -> httpx.Client:
        """Return a client that keeps its connections."""
        return web.client(base_url=self.system.url, timeout=30)

    def infer(self, request: wire.ModelInferRequest) -> str:
        """Ask worker 0 over TCP and return the name of the gRPC status."""
        with grpc.insecure_channel(f"127.0.0.1:{self.system.grpc_port}") as channel:
            try:
                GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=10)
            except grpc.RpcError as error:
                return str(error.code().name)
        return "OK"

    def gateways(self) -> list[psutil.Process]:
        """Return the processes that serve HTTP, without gunicorn's arbiters."""
        arbiters = [psutil.Process(pid) for pid in self.system.pids("gateway")]
        return [child for arbiter in arbiters for child in arbiter.children()]

    def logged(self) -> bytes:
        """Return everything that gateways, workers and the supervisor logged."""
        return b"".join(file.read_bytes() for file in sorted((self.system.run_folder / "logs").glob("*.log")))

    def log_lines(self) -> list[bytes]:
        """Return the lines that gateways and workers logged."""
        files = sorted((self.system.run_folder / "logs").glob("[gi]*.log"))
        return [line for file in files for line in file.read_bytes().split(b"\n") if line]


@contextlib.contextmanager
def bench(*, measuring: bool) -> Iterator[Bench]:
    """Start a system with short deadlines, a collector and one more model, and stop all of it afterwards."""
    with tempfile.TemporaryDirectory(prefix="hub-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)  # so that the system's own modes are what keeps others out
        collector = Collector()
        stack.callback(collector.close)
        system = System(
            folder,
            gateway=SHORT,
            inference={
                "mock_latency": 0,
                "repository": str(_repository(folder)),
                "default_deadline": DEADLINE_SECONDS,
                "max_message_bytes": MESSAGE_BYTES,
                "load_timeout": LOAD_SECONDS,
                "max_model_bytes": MAX_MODEL_BYTES,
            },
            telemetry={"otlp_endpoint": collector.endpoint},
        )
        stack.callback(system.stop)
        system.start()
        yield Bench(system, collector, measuring, Victim(stack))


def _repository(folder: Path) -> Path:
    repository = folder / "models"
    shutil.copytree(CHECKOUT / "model_service" / "models", repository, ignore=shutil.ignore_patterns("__pycache__"))
    version = repository / "not-a-number" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(NOT_A_NUMBER)
    (version.parent / "model.toml").write_text(NOT_A_NUMBER_DESCRIPTION)
    add_patient(repository, folder / PATIENT_LOG)
    return repository


class Growth:
    """What the gateways took while this was entered.

    `mebibytes` is the most by which one's resident memory grew, `descriptors` the most that all had open together.
    """

    def __init__(self, processes: Iterable[psutil.Process]) -> None:
        self.mebibytes = 0.0
        self.descriptors = 0
        self.processor_seconds = 0.0
        self._processes = list(processes)
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample)

    def __enter__(self) -> Self:
        self._before = self._resident()
        self._processor_before = self._processor()
        self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._sampler.join()
        self.processor_seconds = self._processor() - self._processor_before

    def _sample(self) -> None:
        finished = False
        while not finished:
            finished = self._over.wait(SAMPLING_SECONDS)
            grown = max(now - then for now, then in zip(self._resident(), self._before, strict=True))
            self.mebibytes = max(self.mebibytes, grown / MEBIBYTE)
            self.descriptors = max(self.descriptors, sum(process.num_fds() for process in self._processes))

    def _resident(self) -> list[int]:
        return [process.memory_info().rss for process in self._processes]

    def _processor(self) -> float:
        times = [process.cpu_times() for process in self._processes]
        return sum(spent.user + spent.system for spent in times)


Run = Callable[[Bench], Outcome]


@dataclass(frozen=True)
class Row:
    """One row of the catalogue: its id, what is done, the function that does it, and whether it harms processes.

    A destructive row takes the bench's victim or a system of its own, and far longer than a test should.
    """

    identity: str
    done: str
    run: Run
    destructive: bool


ROWS: dict[str, Row] = {}
"""Every row by its id; importing tests.e2e.catalogue fills it."""


def row(identity: str, done: str, *, destructive: bool = False) -> Callable[[Run], Run]:
    """Register a function as a row."""

    def register(run: Run) -> Run:
        ROWS[identity] = Row(identity, done, run, destructive)
        return run

    return register


def counted(statuses: Iterable[int]) -> str:
    """Return statuses with how often each came, such as `400 x 7, 413 x 1`."""
    return ", ".join(f"{status or 'closed'} x {count}" for status, count in sorted(Counter(statuses).items()))


def unless(condition: bool, mistake: str) -> tuple[str, ...]:  # noqa: FBT001  # reads as a sentence where it is called
    """Return the mistake, unless the condition holds."""
    return () if condition else (mistake,)
