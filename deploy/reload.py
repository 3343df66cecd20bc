"""`python -m deploy.reload`: whether a request fails, and memory comes back, while models come and go under load."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import httpx
import skops.io
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from deploy.load.plan import Kind, Plan, Stage
from deploy.load.process import sending
from deploy.load.report import Figures, figures, statuses_text
from deploy.measurement import measurement
from deploy.table import milliseconds
from deploy.trial import Sections, Trial, trial
from inference_pb import open_inference_pb2 as wire
from inference_pb.open_inference_pb2_grpc import GRPCInferenceServiceStub

WORKERS = 2
DESCRIPTION = """runtime = "python"
inputs = [{name = "features", datatype = "FP32", shape = [-1, 4]}]
outputs = [
  {name = "class_id", datatype = "INT32", shape = [-1]},
  {name = "confidence", datatype = "FP32", shape = [-1]},
]
warmup = [{rows = 2}]
"""
SOURCE = """import numpy as np

class Model:
    def __init__(self, folder, parameters):
        self.weights = np.ones(%d * 1024 * 128)  # so many MiB
    def predict(self, inputs):
        rows = len(inputs["features"])
        return {"class_id": np.full(rows, %d, np.int32), "confidence": np.ones(rows, np.float32)}
"""
MEBIBYTES = 20
BODY = '{"features": [5.1, 3.5, 1.4, 0.2], "model_name": "%s"}'
JSON = {"Content-Type": "application/json"}
CHUNKS = 8
CHUNK_SECONDS = 0.25
PATIENCE_SECONDS = 20.0
LOOK_SECONDS = 0.02
PATH_SECONDS = 3.0
MOST_GROWTH = 0.1
KIB = 1024


class Repository:
    """A user's repository: the model `changing`, which answers with the number of its generation, and `other`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._generations = itertools.count(1)
        self.generation = 0
        for name in ("changing", "other"):
            (folder / name / "1").mkdir(parents=True)
            (folder / name / "model.toml").write_text(DESCRIPTION)
            (folder / name / "1" / "model.py").write_text(SOURCE % (1, 0))
        self.replace()

    def replace(self) -> None:
        """Put the next generation in the place of version 1."""
        self.generation = next(self._generations)
        fresh = self.folder / "changing" / "1" / ".model.py"
        fresh.write_text(SOURCE % (MEBIBYTES, self.generation))
        fresh.rename(fresh.with_name("model.py"))

    def add_corrupt(self) -> None:
        """Add a version 2 whose file is broken."""
        self._add("2", "class Model(:\n\0\x01")

    def add_half(self) -> None:
        """Add a version 3 and copy its file slowly; its first half is no Python, and all of it raises."""
        text = SOURCE % (1, -1) + "raise RuntimeError('never to be served')\n"
        file = self._add("3", "")
        for part in range(CHUNKS):
            with file.open("a") as stream:
                stream.write(text[part * len(text) // CHUNKS : (part + 1) * len(text) // CHUNKS])
            time.sleep(CHUNK_SECONDS)

    def _add(self, version: str, text: str) -> Path:
        file = self.folder / "changing" / version / "model.py"
        file.parent.mkdir()
        file.write_text(text)
        return file


class Workers:
    """What the workers of a trial say, on their own ports."""

    def __init__(self, running: Trial) -> None:
        self.running = running
        ports = [running.worker_port + slot for slot in range(WORKERS)]
        self._channels = [grpc.insecure_channel(f"127.0.0.1:{port}") for port in ports]
        self.stubs = [GRPCInferenceServiceStub(channel) for channel in self._channels]

    def close(self) -> None:
        """Close the connections."""
        for channel in self._channels:
            channel.close()

    def states(self) -> list[dict[tuple[str, str], tuple[str, str]]]:
        """Return each worker's index: state and reason by name and version."""
        indexes = [stub.RepositoryIndex(wire.RepositoryIndexRequest()) for stub in self.stubs]
        return [{(one.name, one.version): (one.state, one.reason) for one in index.models} for index in indexes]

    def generations(self) -> set[int]:
        """Return which generations of `changing` answer now."""
        request = wire.ModelInferRequest(model_name="changing")
        request.inputs.add(name="features", datatype="FP32", shape=[1, 4]).contents.fp32_contents.extend([0, 0, 0, 0])
        return {stub.ModelInfer(request).outputs[0].contents.int_contents[0] for stub in self.stubs}

    def cycle(self, name: str) -> None:
        """Unload a model everywhere and load it again."""
        for stub in self.stubs:
            stub.RepositoryModelUnload(wire.RepositoryModelUnloadRequest(model_name=name))
        for stub in self.stubs:
            stub.RepositoryModelLoad(wire.RepositoryModelLoadRequest(model_name=name))

    def memory(self) -> int:
        """Return the bytes that all workers have in memory."""
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.running.pids("inference")]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    """Measure; return 0 where all is as it must be, 1 where not, 130 after Ctrl-C."""
    arguments = _parser().parse_args()
    return measurement(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="hub-models-") as name, _system(Path(name)) as (repository, workers):
        wrong = [
            *_under_load(repository, workers, arguments),
            *_memory(repository, workers, arguments.swaps),
            *_user_path(repository.folder, workers.running.url),
        ]
    for sentence in wrong:
        _say(f"Not as it must be: {sentence}.")
    return 1 if wrong else 0


@contextmanager
def _system(folder: Path) -> Iterator[tuple[Repository, Workers]]:
    repository = Repository(folder)
    settings: Sections = {
        "inference": {"workers": WORKERS, "repositories": [str(folder), "model_service/models"]},
        "telemetry": {"otlp_endpoint": ""},  # its spans would go to whatever the machine's user runs
    }
    with trial(settings) as running:
        workers = Workers(running)
        try:
            yield repository, workers
        finally:
            workers.close()


def _user_path(folder: Path, url: str) -> list[str]:
    estimator = LogisticRegression(max_iter=500).fit(*load_iris(return_X_y=True))
    answers: list[str] = []

    def is_answered() -> bool:
        answer = client.post("/predict", content=BODY % "iris", headers=JSON)
        answers.append(answer.text)
        return answer.is_success

    # One client: making one for each try took as much of the processor as a worker that imports the library.
    with httpx.Client(base_url=url) as client:
        started = time.perf_counter()
        _drop_in(folder, estimator)
        wait_for("iris to answer", is_answered)
    seconds = time.perf_counter() - started
    _say(f"A scikit-learn model, from the first file to its first answer over HTTP: {seconds:.2f} s; {answers[-1]}")
    return [] if seconds <= PATH_SECONDS else [f"the first answer took {seconds:.2f} s, not {PATH_SECONDS:g}"]


def _drop_in(folder: Path, estimator: LogisticRegression) -> None:
    (folder / "iris" / "1").mkdir(parents=True)
    skops.io.dump(estimator, folder / "iris" / "1" / "model.skops")
    (folder / "iris" / "model.toml").write_text('runtime = "sklearn"\n')


def _under_load(repository: Repository, workers: Workers, arguments: argparse.Namespace) -> list[str]:
    kind = Kind("changing", BODY % "changing", JSON)
    plan = Plan("127.0.0.1", workers.running.port, (kind,), (Stage(arguments.rate, 600),))
    with sending(plan) as load:
        started = time.perf_counter()
        for number in range(arguments.replacements):
            _replace(repository, workers)
            _in_between(repository, workers, number)
        seconds = time.perf_counter() - started
        found = figures("changing", load.stop().records)
    states = workers.states()
    return _judged(found, states, arguments.replacements, seconds)


def _in_between(repository: Repository, workers: Workers, number: int) -> None:
    if number == 2:  # noqa: PLR2004  # somewhere in the middle of it
        repository.add_corrupt()
    elif number == 4:  # noqa: PLR2004  # as above
        repository.add_half()
    else:
        workers.cycle("other")


def _replace(repository: Repository, workers: Workers) -> None:
    repository.replace()
    wait_for(f"generation {repository.generation}", lambda: workers.generations() == {repository.generation})


def _judged(
    found: Figures, states: list[dict[tuple[str, str], tuple[str, str]]], count: int, seconds: float
) -> list[str]:
    _say(
        f"{count} replacements in {seconds:.1f} s, another model unloaded and loaded between them, a corrupt and a "
        f"half-copied version added: {found.requests} requests, {found.failed} failed, "
        f"{statuses_text(found.statuses)}, "
        f"p50 {milliseconds(found.p50)} ms, p99 {milliseconds(found.p99)} ms, worst {milliseconds(found.worst)} ms"
    )
    broken = {(version, state[("changing", version)][0]) for state in states for version in ("2", "3")}
    for version in ("2", "3"):
        _say(f"  version {version}: {states[0]['changing', version]}")
    wrong = [f"{found.failed} requests failed"] if found.failed else []
    return wrong + (
        [f"of broken versions there are {broken}"] if {state for _, state in broken} != {"UNAVAILABLE"} else []
    )


def _memory(repository: Repository, workers: Workers, swaps: int) -> list[str]:
    before = workers.memory()
    for _ in range(swaps):
        _replace(repository, workers)
    # What was replaced last is freed a moment after it was.
    with suppress(TimeoutError):
        wait_for("memory to come back", lambda: workers.memory() <= before * (1 + MOST_GROWTH / 2), seconds=3)
    after = workers.memory()
    growth = after / before - 1
    sizes = f"{before / KIB**2:.1f} MiB before, {after / KIB**2:.1f} MiB after ({growth:+.1%})"
    _say(f"{swaps} swaps of a model of {MEBIBYTES} MiB: {sizes}")
    return [] if growth <= MOST_GROWTH else [f"memory grew by {growth:.1%}"]


def wait_for(what: str, condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until a condition holds; raises TimeoutError after so many seconds."""
    end = time.perf_counter() + seconds
    while not condition():
        if time.perf_counter() > end:
            raise TimeoutError(f"Waited {seconds:g} s for {what}.")
        time.sleep(LOOK_SECONDS)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.reload",
        description="Start a private system and change its models under load: a scikit-learn model that is dropped in, "
        "replacements with broken versions beside them, the memory after many swaps. Never touches that of `make up`.",
        epilog="Examples: python -m deploy.reload    python -m deploy.reload --replacements 5 --swaps 10",
    )
    add = parser.add_argument
    add("--rate", type=float, default=200.0, help="requests per second meanwhile (default 200)")
    add("--replacements", type=int, default=20, help="of one version under that load (default 20)")
    add("--swaps", type=int, default=50, help="after which memory is looked at (default 50)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
