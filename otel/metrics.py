"""Every metric of every program, declared once; one page shows those of all processes of the machine.

Each process keeps its numbers in files that are mapped into its memory, named for its place ("gateway-0",
"inference-1") and not for its pid, so that a restart goes on counting where the last process ended and no file is left
over. Without a folder for them, as in unit tests, the numbers stay in the process.

Labels take few values: models that are loaded, `OTHER` for any other name, and words of ours.
"""

from __future__ import annotations

import os
from collections.abc import Container, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector

FOLDER = "metrics"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
NAMESPACE = "inferencehub"
OTHER = "other"
NO_FOLDER = (
    b"# There is no folder for metrics: telemetry.metrics is false, or these processes were not started by `up`.\n"
)
MODEL = ("model", "version")
ARM = ("model", "arm", "version")

SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
SIZES = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


def open_registry(folder: Path, place: str) -> CollectorRegistry:
    """Return where a process declares its metrics; `place` names it among all that run now.

    Call it once, before anything is declared. Without the folder, which `up` makes unless metrics are off, the numbers
    stay in this process.
    """
    if folder.is_dir():
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
        values.ValueClass = values.MultiProcessValue(lambda: place)  # type: ignore[no-untyped-call]  # untyped there
    return CollectorRegistry()


def page(folder: Path) -> bytes:
    """Return the metrics of all processes in Prometheus' text format; reads files."""
    if not folder.is_dir():
        return NO_FOLDER
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]  # untyped there
    return generate_latest(registry)


def model_label(name: str, known: Container[str]) -> str:
    """Return a model's name as a label: what a client made up must not become a series."""
    return name if name in known else OTHER


def observe_all(histogram: Histogram, observed: npt.ArrayLike) -> None:
    """Observe many values, float [n], at the price of one: each bucket is added to once."""
    numbers = np.asarray(observed, float)
    if not numbers.size:
        return
    places = np.searchsorted(histogram._upper_bounds, numbers)  # noqa: SLF001  # it has no call for many values
    for index, count in enumerate(np.bincount(places).tolist()):
        if count:
            histogram._buckets[index].inc(count)  # noqa: SLF001  # as above
    histogram._sum.inc(float(numbers.sum()))  # noqa: SLF001  # as above


class Family:
    """Declares the metrics of one kind of process."""

    def __init__(self, registry: CollectorRegistry, subsystem: str) -> None:
        self._registry = registry
        self._prefix = f"{NAMESPACE}_{subsystem}_"

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        """Declare a counter; its name gets `_total`."""
        return Counter(self._prefix + name, text, labels, registry=self._registry)

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        """Declare a gauge that is the sum over all processes."""
        return Gauge(self._prefix + name, text, labels, registry=self._registry, multiprocess_mode="sum")

    def seconds(self, name: str, text: str, labels: Sequence[str]) -> Histogram:
        """Declare a histogram of times; its name gets `_seconds`."""
        return Histogram(f"{self._prefix}{name}_seconds", text, labels, registry=self._registry, buckets=SECONDS)

    def sizes(self, name: str, text: str, labels: Sequence[str]) -> Histogram:
        """Declare a histogram of numbers of any size."""
        return Histogram(self._prefix + name, text, labels, registry=self._registry, buckets=SIZES)

    def rows(self, name: str, text: str, labels: Sequence[str]) -> Histogram:
        """Declare a histogram of numbers of rows."""
        return Histogram(self._prefix + name, text, labels, registry=self._registry, buckets=ROWS)


def spans_of(family: Family) -> Counter:
    """Declare what becomes of a process's spans; see `tracing.Accounts`."""
    return family.counter("spans", "Spans by what became of them: exported, lost or dropped.", ("outcome",))


class WorkerMetrics:
    """What an inference worker counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        family = Family(registry, "worker")
        self.batches = family.counter("batches", "Batches that were computed.", MODEL)
        self.rows = family.counter("rows", "Rows that were computed.", MODEL)
        self.compute = family.seconds("compute", "Time of a batch in the model.", MODEL)
        self.queue = family.seconds("queue", "Time of a call between its arrival and the model.", MODEL)
        self.batch_rows = family.rows("batch_rows", "Rows of a batch that was computed.", MODEL)
        self.queue_rows = family.gauge("queue_rows", "Rows that wait.", MODEL)
        self.inline = family.gauge("inline", "Workers that compute the model on their event loop.", MODEL)
        self.refusals = family.counter("refusals", "Calls that were turned away.", (*MODEL, "reason"))
        self.lines_left_out = family.counter("log_lines_left_out", "Lines that were not logged.")
        self.spans = spans_of(family)

    def model(self, name: str, version: str) -> ModelComputations:
        """Return the metrics of one loaded model."""
        return ModelComputations(self, name, version)


class ModelComputations:
    """One model's part of WorkerMetrics. Batches are noted in a list and counted together at the next `flush`."""

    def __init__(self, metrics: WorkerMetrics, *labels: str) -> None:
        self._labels = labels
        self._batches = metrics.batches.labels(*labels)
        self._rows = metrics.rows.labels(*labels)
        self._compute = metrics.compute.labels(*labels)
        self._queue = metrics.queue.labels(*labels)
        self._batch_rows = metrics.batch_rows.labels(*labels)
        self._queue_rows = metrics.queue_rows.labels(*labels)
        self._inline = metrics.inline.labels(*labels)
        self._refusals = metrics.refusals
        self._noted: list[tuple[int, float, list[float]]] = []

    def note(self, rows: int, seconds: float, waits: list[float]) -> None:
        """Note a batch that was computed, and how many seconds each of its calls had waited."""
        self._noted.append((rows, seconds, waits))

    def refused(self, reason: str) -> None:
        """Count a call that was turned away."""
        self._refusals.labels(*self._labels, reason).inc()

    def flush(self, queue_rows: int, *, is_inline: bool) -> None:
        """Count what was noted, and tell how many rows wait now."""
        noted, self._noted = self._noted, []
        self._queue_rows.set(queue_rows)
        self._inline.set(is_inline)
        if noted:
            rows = [batch[0] for batch in noted]
            self._batches.inc(len(noted))
            self._rows.inc(sum(rows))
            observe_all(self._batch_rows, rows)
            observe_all(self._compute, [batch[1] for batch in noted])
            observe_all(self._queue, [wait for batch in noted for wait in batch[2]])


class UncountedComputations(ModelComputations):
    """Counts nothing, where metrics are off."""

    def note(self, rows: int, seconds: float, waits: list[float]) -> None:
        """Count nothing."""

    def refused(self, reason: str) -> None:
        """Count nothing."""

    def flush(self, queue_rows: int, *, is_inline: bool) -> None:
        """Count nothing."""


class UncountedWorkerMetrics(WorkerMetrics):
    """An inference worker's metrics where they are off."""

    def model(self, name: str, version: str) -> ModelComputations:
        """Return what counts nothing."""
        return UncountedComputations(self, name, version)


class StoreMetrics:
    """What the embedded trace store counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        family = Family(registry, "tracestore")
        self.spans_stored = family.counter("spans_stored", "Spans that were written.")
        self.spans_dropped = family.counter("spans_dropped", "Spans that were not written.", ("reason",))
        self.traces_removed = family.counter("traces_removed", "Traces that made room or were too old.")
        self.bytes = family.gauge("bytes", "Bytes of the trace file that are in use.")
        self.inbox_bytes = family.gauge("inbox_bytes", "Bytes of spans that wait to be written.")
        for reason in ("overrun", "disk", "malformed", "large", "unexpected"):
            self.spans_dropped.labels(reason)  # a series that is not there cannot be told from one that stays zero

    def dropped(self, reason: str, spans: int) -> None:
        """Count spans that are lost."""
        self.spans_dropped.labels(reason).inc(spans)


class ControllerMetrics:
    """What the controller sees of all programs, by supervisord's name of the process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        family, process = Family(registry, "controller"), ("process",)
        self.up = family.gauge("process_up", "1 while the process runs.", process)
        self.memory = family.gauge("process_memory_bytes", "Resident memory of the process.", process)
        self.seconds = family.counter("process_cpu_seconds", "Processor time, over all runs of the process.", process)
        self.exits = family.counter("exits", "Ends of the process: signal, code, or stopped.", ("process", "cause"))


class GatewayMetrics:
    """What a gateway process counts. Outcomes are ok, lost, busy, failed and late; events of hedges started and won."""

    def __init__(self, registry: CollectorRegistry) -> None:
        family = Family(registry, "gateway")
        self.requests = family.counter("requests", "Predictions that were answered.", (*MODEL, "code"))
        self.request = family.seconds("request", "Time of a prediction from its head to its answer.", MODEL)
        self.receive = family.seconds("receive", "Time of a request from its head to the gateway's queue.", MODEL)
        self.queue = family.seconds("queue", "Time of a request in the gateway's queue.", MODEL)
        self.hop = family.seconds("hop", "Time of a request on its way to a worker and back.", MODEL)
        self.worker_queue = family.seconds("worker_queue", "Time of a request in its worker's queue.", MODEL)
        self.compute = family.seconds("compute", "Time of a request in the model.", MODEL)
        self.respond = family.seconds("respond", "Time from a worker's answer to the gateway's.", MODEL)
        self.batch_rows = family.rows("batch_rows", "Rows of a batch that was sent to a worker.", ("model",))
        self.queue_rows = family.gauge("queue_rows", "Rows that wait.", ("model",))
        self.in_flight = family.gauge("batches_in_flight", "Batches at workers.", ("model",))
        self.attempts = family.counter("attempts", "Batches by what became of them.", ("model", "outcome"))
        self.replays = family.counter("replays", "Requests that were sent to another worker.", ("model",))
        self.hedges = family.counter("hedges", "Batches that were sent to a second worker.", ("model", "event"))
        self.inputs_refused = family.counter(
            "inputs_refused", "Requests whose input had killed workers and was refused.", ("model",)
        )
        self.refusals = family.counter("refusals", "Requests that were turned away.", ("model", "reason"))
        self.arm_requests = family.counter(
            "arm_requests", "Requests of an arm of a model's traffic that were answered.", (*ARM, "code")
        )
        self.arm_request = family.seconds("arm_request", "Time of a request of an arm.", ARM)
        self.rollbacks = family.counter("rollbacks", "Arms that lost their traffic.", ("model", "arm"))
        self.shadows = family.counter("shadows", "Mirrored requests by what became of them.", (*MODEL, "outcome"))
        self.shadow = family.seconds("shadow", "Time of a mirrored request that was answered.", MODEL)
        self.shadow_difference = family.sizes("shadow_difference", "Largest difference of two answers' numbers.", MODEL)
        self.cache = family.counter("cache", "Requests to a model whose answers are kept.", ("model", "outcome"))
        self.slots = family.gauge("slots", "Gateway processes that see a slot in a state.", ("slot", "state"))
        self.lines_left_out = family.counter("log_lines_left_out", "Lines that were not logged.")
        self.traces_kept = family.counter("traces_kept", "Traces that were kept, by why.", ("reason",))
        self.traces_left_out = family.counter("traces_left_out", "Traces that were not kept.")
        self.spans = spans_of(family)
