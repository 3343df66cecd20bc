"""Rows K01 to K08: overload, as `make goodput` measures it."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from inference_core.settings import CHECKOUT
from tests.e2e.catalogue_bench import Bench, row
from tests.e2e.outcome import Outcome

ROWS = {
    "K01": "0.5 to 10 times the capacity: goodput",
    "K02": "the same: what was admitted",
    "K03": "the same: what was refused",
    "K04": "0.8, 10, 0.8 times the capacity",
    "K05": "clients that retry three times at once",
    "K06": "70 % interactive and 70 % batch",
    "K07": "one of two workers stopped",
    "K08": "the negative control: limits off",
}


@functools.cache
def _measured() -> dict[str, dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="hub-") as folder:
        file = Path(folder) / "goodput.json"
        command = [sys.executable, "-m", "deploy.goodput", "--repeats", "1", "--json", str(file)]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
        assert file.exists(), done.stderr
        return {found["identity"]: found for found in json.loads(file.read_text())["rows"]}


def _taken(identity: str, _: Bench) -> Outcome:
    found = _measured()[identity]
    return Outcome(f"{found['done']}: {found['happened']}", wrong=tuple(found["wrong"]))


for _identity, _done in ROWS.items():
    row(_identity, _done, destructive=True)(partial(_taken, _identity))
