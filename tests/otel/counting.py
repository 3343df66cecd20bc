"""A process that counts, for tests: metrics belong to a process as a whole, so each has its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from pathlib import Path
from otel.metrics import WorkerMetrics, open_registry
folder, place, batches = sys.argv[1:]
model = WorkerMetrics(open_registry(Path(folder), place)).model("m", "1")
for _ in range(int(batches)):
    model.note(4, 0.003, [0.0002, 0.7])
model.refused("full")
model.flush(5, is_inline=True)
"""


def count(folder: Path, place: str, batches: int) -> None:
    """Run a worker's accounts for so many batches of 4 rows and 2 calls each, one refusal, and 5 rows waiting."""
    subprocess.run([sys.executable, "-c", PROGRAM, str(folder), place, str(batches)], check=True)
