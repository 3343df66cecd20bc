"""Collects what the gateway counts, and adds it to the metrics a few times a second, many values at once."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping

from gateway.call import Call
from gateway.keeping import HIT, UNAVAILABLE
from gateway.times import Times
from otel.metrics import OTHER, GatewayMetrics, observe_all

FLUSH_SECONDS = 0.5
COMPARED = ("agreed", "differed")
Load = Iterable[tuple[str, int, int]]
"""For each model: its name, the rows that wait and the batches at workers."""


class Tally:
    """One process's counts since the last flush; a flush follows what is counted within FLUSH_SECONDS."""

    def __init__(self, metrics: GatewayMetrics) -> None:
        self._metrics = metrics
        self._strangers: Counter[int] = Counter()
        self._times: defaultdict[tuple[str, str, int], Times] = defaultdict(Times)
        self._rows: defaultdict[str, list[int]] = defaultdict(list)
        self._words: Counter[tuple[str, str, str]] = Counter()
        self._arm_codes: Counter[tuple[str, ...]] = Counter()
        self._arm_seconds: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
        self._timer: asyncio.TimerHandle | None = None
        self._busy: set[str] = set()
        self.load: Callable[[], Load] = tuple

    def answered(self, call: Call | None, code: int, seconds: float, received: float) -> None:
        """Count a prediction that was answered after so many seconds, `received` of them before it was queued."""
        if call is None or not call.model:
            self._strangers[code] += 1
        else:
            times = self._times[call.model, call.version, code]
            if call.version and call.cache != HIT:
                times.note_stages(call, received, seconds)
            else:
                times.note(seconds)
            if call.arm or call.cache:
                self._planned(call, code, seconds)
        if self._timer is None:
            self._soon()

    def attempted(self, model: str, outcome: str) -> None:
        """Count a batch by what became of it: ok, lost, busy, failed or late."""
        self._count("attempts", model, outcome)

    def sent(self, model: str, rows: int) -> None:
        """Count a batch that is sent to a worker."""
        self._rows[model].append(rows)

    def refused(self, model: str, reason: str) -> None:
        """Count a request that was turned away."""
        self._count("refusals", model or OTHER, reason)

    def turned_away(self, model: str, reason: str, seconds: float) -> None:
        """Count a request that was answered 503 before anything was made of it: `answered` and `refused` in one."""
        self._times[model, "", UNAVAILABLE].note(seconds)
        self._count("refusals", model, reason)

    def replayed(self, model: str, requests: int) -> None:
        """Count requests that are sent to another worker."""
        self._metrics.replays.labels(model).inc(requests)

    def hedged(self, model: str, event: str) -> None:
        """Count a batch that was sent to a second worker ("started") or answered by it ("won")."""
        self._metrics.hedges.labels(model, event).inc()

    def input_refused(self, model: str) -> None:
        """Count a request whose input had killed workers."""
        self._metrics.inputs_refused.labels(model).inc()

    def mirrored(self, model: str, version: str, outcome: str, seconds: float = 0.0, most: float = 0.0) -> None:
        """Count a mirrored request: agreed, differed, failed or dropped; for the first two its time and difference."""
        self._metrics.shadows.labels(model, version, outcome).inc()
        if outcome in COMPARED:
            self._metrics.shadow.labels(model, version).observe(seconds)
            self._metrics.shadow_difference.labels(model, version).observe(most)

    def rolled_back(self, model: str, arm: str) -> None:
        """Count an arm that lost its traffic."""
        self._metrics.rollbacks.labels(model, arm).inc()

    def kept(self, reason: str) -> None:
        """Count a trace that is kept."""
        self._metrics.traces_kept.labels(reason).inc()

    def left_out(self, lines: int, traces: int) -> None:
        """Count log lines and traces that were not kept."""
        self._metrics.lines_left_out.inc(lines)
        self._metrics.traces_left_out.inc(traces)

    def slot_is(self, slot: int, states: Mapping[str, bool]) -> None:
        """Note which of all states a slot is in, as this process sees it."""
        for state, is_in in states.items():
            self._metrics.slots.labels(str(slot), state).set(is_in)

    def flush(self) -> None:
        """Add everything to the metrics."""
        metrics = self._metrics
        for code, strangers in self._strangers.items():
            metrics.requests.labels(OTHER, "", str(code)).inc(strangers)
        for key, times in self._times.items():
            times.flush(metrics, *key)
        for name, rows in self._rows.items():
            observe_all(metrics.batch_rows.labels(name), rows)
        for (metric, model, word), count in self._words.items():
            getattr(metrics, metric).labels(model, word).inc(count)
        self._flush_arms()
        for collected in (self._strangers, self._times, self._rows, self._words):
            collected.clear()

    def close(self) -> None:
        """Add what is left, before the process ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.flush()

    def _planned(self, call: Call, code: int, seconds: float) -> None:
        if call.cache:
            self._count("cache", call.model, call.cache)
        if call.arm:
            arm = (call.model, call.arm, call.version)
            self._arm_codes[(*arm, str(code))] += 1
            self._arm_seconds[arm].append(seconds)

    def _flush_arms(self) -> None:
        for labels, count in self._arm_codes.items():
            self._metrics.arm_requests.labels(*labels).inc(count)
        for arm, seconds in self._arm_seconds.items():
            observe_all(self._metrics.arm_request.labels(*arm), seconds)
        self._arm_codes.clear()
        self._arm_seconds.clear()

    def _count(self, metric: str, model: str, word: str) -> None:
        self._words[metric, model, word] += 1
        self._soon()

    def _soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._turn)

    def _turn(self) -> None:
        self._timer = None
        self.flush()
        load = {model: (rows, batches) for model, rows, batches in self.load()}
        # A queue may have gone since it was told of, and its gauges would stay.
        for model, (rows, batches) in {**dict.fromkeys(self._busy, (0, 0)), **load}.items():
            self._metrics.queue_rows.labels(model).set(rows)
            self._metrics.in_flight.labels(model).set(batches)
        self._busy = {model for model, numbers in load.items() if any(numbers)}
        if self._busy:
            self._soon()


class NoTally(Tally):
    """Counts nothing, where metrics are off."""

    def answered(self, call: Call | None, code: int, seconds: float, received: float) -> None:
        """Count nothing."""

    def attempted(self, model: str, outcome: str) -> None:
        """Count nothing."""

    def sent(self, model: str, rows: int) -> None:
        """Count nothing."""

    def refused(self, model: str, reason: str) -> None:
        """Count nothing."""

    def turned_away(self, model: str, reason: str, seconds: float) -> None:
        """Count nothing."""

    def replayed(self, model: str, requests: int) -> None:
        """Count nothing."""

    def hedged(self, model: str, event: str) -> None:
        """Count nothing."""

    def input_refused(self, model: str) -> None:
        """Count nothing."""

    def mirrored(self, model: str, version: str, outcome: str, seconds: float = 0.0, most: float = 0.0) -> None:
        """Count nothing."""

    def rolled_back(self, model: str, arm: str) -> None:
        """Count nothing."""

    def kept(self, reason: str) -> None:
        """Count nothing."""

    def left_out(self, lines: int, traces: int) -> None:
        """Count nothing."""

    def slot_is(self, slot: int, states: Mapping[str, bool]) -> None:
        """Count nothing."""
