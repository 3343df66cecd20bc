"""Processes that count and are killed, one after the other in the same places, for tests."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROGRAM = """
import json, os, signal, sys
from pathlib import Path
from otel.metrics import ControllerMetrics, GatewayMetrics, WorkerMetrics, observe_all, open_registry, page

folder, lives = Path(sys.argv[1]), int(sys.argv[2])

def worker():
    model = WorkerMetrics(open_registry(folder, "inference-0")).model("m", "1")
    for _ in range(3):
        model.note(4, 0.25, [0.0002, 0.7])
    model.flush(5, is_inline=True)

def gateway():
    metrics = GatewayMetrics(open_registry(folder, "gateway-0"))
    metrics.requests.labels("m", "1", "200").inc(6)
    observe_all(metrics.request.labels("m", "1"), [0.5] * 6)

def controller():
    ControllerMetrics(open_registry(folder, "controller")).exits.labels("inference-0", "SIGKILL").inc()

for _ in range(lives):
    for life in (worker, gateway, controller):
        if not os.fork():
            life()
            os.kill(os.getpid(), signal.SIGKILL)
        os.wait()
    lines = [line for line in page(folder).decode().splitlines() if not line.startswith("#")]
    samples = {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}
    print(json.dumps([samples, {file.name: file.stat().st_size for file in folder.iterdir()}]))
"""


@dataclass(frozen=True)
class Left:
    """What one life left: the samples of the page by name and labels, and the sizes of the files by name."""

    samples: Mapping[str, float]
    files: Mapping[str, int]


def die(folder: Path, lives: int) -> list[Left]:
    """Let a worker, a gateway process and a controller count and be killed so often; return what each life left.

    In each a worker computes 3 batches of 4 rows and 2 calls with 5 rows waiting, and 6 requests are answered.
    """
    command = [sys.executable, "-c", PROGRAM, str(folder), str(lives)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [Left(*json.loads(line)) for line in done.stdout.splitlines()]
