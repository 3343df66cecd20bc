"""What one model version has computed, in the terms of the protocol's statistics extension.

Three things are counted: rows (`inference_count`), batches (`execution_count`, and by their rows) and requests (the
rest). A call may carry several requests, and each of them has the times of the whole call and of its whole batch, as
Triton counts them. Times are nanoseconds. What failed has no compute times.
"""

from __future__ import annotations

import time

from inference_core.deadline import now
from inference_pb import open_inference_pb2 as wire
from model_service.attempts import Attempt
from model_service.call import Call

NANOSECONDS = 1e9
MILLISECONDS = 1000
MOST_SIZES = 1024
"""Sizes of batches that are told apart; clients choose how many rows a call has, so there is no end to them."""


def fill(message: wire.StatisticDuration, count: int, seconds: float) -> None:
    """Write into a message; what never happened is there as well, with zeros."""
    message.SetInParent()
    message.count, message.ns = count, int(max(0.0, seconds) * NANOSECONDS)


class Spent:
    """How often something was done and how long it took in all, in seconds."""

    __slots__ = ("count", "seconds")

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0

    def add(self, count: int, seconds: float) -> None:
        """Note that it was done so often, taking so long each time."""
        self.count += count
        self.seconds += count * seconds

    def fill(self, message: wire.StatisticDuration) -> None:
        """Write it into a message."""
        fill(message, self.count, self.seconds)


class Stages:
    """How often batches were computed and how long their three stages took in all, in seconds."""

    __slots__ = ("count", "input", "output", "seconds")

    def __init__(self) -> None:
        self.count = 0
        self.seconds = self.input = self.output = 0.0

    def add(self, count: int, attempt: Attempt) -> None:
        """Note so many that were in a batch."""
        self.count += count
        self.seconds += count * attempt.seconds
        self.input += count * attempt.input_seconds
        self.output += count * attempt.output_seconds

    def fill(self, message: wire.InferStatistics | wire.InferBatchStatistics) -> None:
        """Write them into a message."""
        fill(message.compute_input, self.count, self.input)
        fill(message.compute_infer, self.count, self.seconds - self.input - self.output)
        fill(message.compute_output, self.count, self.output)


class Statistics:
    """Counts for one model version; used on the event loop alone."""

    __slots__ = ("_batches", "_executions", "_failures", "_last", "_queue", "_rows", "_stages", "_successes")

    def __init__(self) -> None:
        self._rows = self._executions = 0
        self._last = 0.0
        self._successes, self._failures, self._queue = Spent(), Spent(), Spent()
        self._stages = Stages()
        self._batches: dict[int, Stages] = {}

    def computed(self, attempt: Attempt) -> None:
        """Note a batch; one that failed was no execution."""
        if attempt.error:
            return
        self._rows += attempt.rows
        self._executions += 1
        self._last = time.time()
        self._stages.add(sum([entry.context.requests for entry in attempt.entries]), attempt)
        batches = self._batches.get(attempt.rows)
        if batches is not None:
            batches.add(1, attempt)
        elif len(self._batches) < MOST_SIZES:
            self._batches[attempt.rows] = batches = Stages()
            batches.add(1, attempt)

    def succeeded(self, call: Call) -> None:
        """Note a call that got its outputs."""
        self._successes.add(call.requests, now() - call.started_at)
        if call.computation is not None:
            self._queue.add(call.requests, call.computation.started_at - call.computation.queued_at)

    def failed(self, call: Call) -> None:
        """Note a call that got none, whoever's fault it was."""
        self._failures.add(call.requests, now() - call.started_at)

    def fill(self, message: wire.ModelStatistics) -> None:
        """Write everything into a message."""
        message.last_inference = int(self._last * MILLISECONDS)
        message.inference_count, message.execution_count = self._rows, self._executions
        stats = message.inference_stats
        self._successes.fill(stats.success)
        self._failures.fill(stats.fail)
        self._queue.fill(stats.queue)
        self._stages.fill(stats)
        # Answers are cached in the gateway, if anywhere.
        stats.cache_hit.SetInParent()
        stats.cache_miss.SetInParent()
        for rows, stages in sorted(self._batches.items()):
            stages.fill(message.batch_stats.add(batch_size=rows))
