"""CPU time during one load: the server's, and what anybody else on the machine took meanwhile."""

from __future__ import annotations

import resource

import psutil

from deploy.bench.tree import Tree


class Meter:
    """Counts from its making; reading it does not reset it."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._server = tree.cpu_seconds()
        self._busy, self._total = _machine()
        self._generator = _reaped_children()

    def server(self) -> float:
        """Return the CPU seconds of the server's process tree."""
        return self._tree.cpu_seconds() - self._server

    def foreign(self) -> float:
        """Return the share of all cores (0..1) that neither the server nor our ended children used."""
        busy, total = _machine()
        ours = self.server() + _reaped_children() - self._generator
        return max(busy - self._busy - ours, 0.0) / max(total - self._total, 1e-9)


def _machine() -> tuple[float, float]:
    times = psutil.cpu_times()
    # guest time is part of user time, so it is not added again.
    total = times.user + times.nice + times.system + times.idle + times.iowait + times.irq + times.softirq + times.steal
    # `steal` is another machine on the same host: it slows this one just as a neighbour process does.
    return total - times.idle - times.iowait, total


def _reaped_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
