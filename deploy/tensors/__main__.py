"""python -m deploy.tensors: a table of both doors, both directions and two sizes, on a system of its own."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.repositories import SAMPLES, repository
from deploy.table import table
from deploy.tensors.clients import Client, Grpc, Rest
from deploy.trial import Sections, Trial, trial
from inference_core.errors import ConfigurationError
from otel import processes

MODELS = Path(__file__).with_name("models")
MEGABYTE = 1024 * 1024
COPIES = 3
"""At once in a process, by resident memory."""

SLACK_BYTES = 8 * MEGABYTE
"""What buffers of a fixed size, and memory that the allocator keeps for later, take beside the tensor."""

HEAD = ("door", "way", "MB", "MB/s", "ms", "gateway: peak MB", "copies", "worker: peak MB", "copies", "verdict")
EXAMPLES = """
  python -m deploy.tensors                  5 and 50 MB, seven requests each
  python -m deploy.tensors --megabytes 200  another size
"""


@dataclass(frozen=True)
class Row:
    """What one size took one way through one door: median seconds, and the most bytes beyond those at rest."""

    door: str
    way: str
    size: int
    seconds: float
    gateway: int
    worker: int

    @property
    def is_good(self) -> bool:
        """Whether no process held more copies than are allowed at once."""
        return max(self.gateway, self.worker) <= COPIES * self.size + SLACK_BYTES

    def cells(self) -> Sequence[str]:
        """Return the row as texts."""
        megabytes = self.size / MEGABYTE
        times = f"{megabytes / self.seconds:.0f}", f"{self.seconds * 1000:.0f}"
        memory = [text for peak in (self.gateway, self.worker) for text in _memory(peak, self.size)]
        return (self.door, self.way, f"{megabytes:.0f}", *times, *memory, "ok" if self.is_good else "TOO MANY")


def _memory(peak: int, size: int) -> tuple[str, str]:
    return f"{peak / MEGABYTE:.0f}", f"{peak / size:.1f}"


class Memory:
    """How much a group of processes takes beyond what it had at rest; only one of them is busy."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._at_rest = {pid: processes.resident_bytes(pid) for pid in pids}

    def begin(self) -> None:
        """Forget the peaks so far (proc(5), clear_refs)."""
        for pid in self._at_rest:
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peak(self) -> int:
        """Return the highest since `begin`, in bytes."""
        return max(_high_water(pid) - at_rest for pid, at_rest in self._at_rest.items())


def _high_water(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def main() -> int:
    """Return 0 where no process held more copies of a tensor at once than are allowed."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.tensors",
        description="Large tensors through both V2 doors; fails above three copies at once in a process.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--megabytes", type=int, nargs="+", default=[5, 50], help="sizes (default: 5 50)")
    parser.add_argument("--requests", type=int, default=7, help="for each row (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        rows = measured([size * MEGABYTE for size in arguments.megabytes], arguments.requests)
    except ConfigurationError as error:
        parser.exit(1, f"{error.message}\n")
    sys.stdout.write(table(HEAD, [row.cells() for row in rows]))
    return 0 if all(row.is_good for row in rows) else 1


def measured(sizes: Sequence[int], requests: int) -> list[Row]:
    """Return the rows; raises ConfigurationError where the system does not start."""
    largest = 2 * max(sizes)
    with repository(SAMPLES, MODELS) as models:
        sections: Sections = {
            "gateway": {"max_body_bytes": largest, "deadline": 60.0, "max_queue_bytes": 4 * largest},
            "inference": {"workers": 1, "repository": str(models), "max_message_bytes": largest},
            "telemetry": {"otlp_endpoint": ""},
        }
        with trial(sections) as system:
            return [row for size in sizes for row in _rows(system, size, requests)]


def _rows(system: Trial, size: int, requests: int) -> list[Row]:
    tensor = bytes(size)
    doors: dict[str, Client] = {"REST": Rest(system.port), "gRPC": Grpc(system.grpc_port)}
    rows = []
    for door, client in doors.items():
        ways: dict[str, Callable[[Client], object]] = {
            "in": lambda it: it.send(tensor),
            "out": lambda it: it.fetch(size),
        }
        for way, ask in ways.items():
            client.send(bytes(4))
            client.fetch(4)
            gateway, worker = Memory(_serving(system, "gateway")), Memory(_serving(system, "inference"))
            gateway.begin()
            worker.begin()
            times = [_timed(client, ask) for _ in range(requests)]
            rows.append(Row(door, way, size, statistics.median(times), gateway.peak(), worker.peak()))
    return rows


def _timed(client: Client, ask: Callable[[Client], object]) -> float:
    began = time.perf_counter()
    ask(client)
    return time.perf_counter() - began


def _serving(system: Trial, group: str) -> list[int]:
    return [pid for parent in system.pids(group) for pid in processes.tree(parent)]


if __name__ == "__main__":
    sys.exit(main())
