"""Tests that share a system run in one process, however many there are."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from inference_core.settings import CHECKOUT

CONFTEST = "from tests.conftest import pytest_xdist_make_scheduler\n"
SOURCE = """
import os
import pytest

@pytest.mark.parametrize("number", range(8))
def test(number):
    with open({record!r}, "a") as file:
        file.write(f"{group} {{os.environ['PYTEST_XDIST_WORKER']}}\\n")
"""


def test_files_and_systems_stay_together(tmp_path: Path) -> None:
    """With two processes, no file's tests are split, nor those of all files that start systems."""
    record = tmp_path / "record"
    (tmp_path / "conftest.py").write_text(CONFTEST)
    groups = {f"tests/e2e/test_{name}.py": "systems" for name in ("grpc", "predict")}
    groups |= dict.fromkeys(("tests/deploy/chaos/test_chaos.py", "tests/e2e/test_catalogue.py"), "measured")
    groups |= {f"tests/gateway/test_{number}.py": str(number) for number in range(4)}
    for name, group in groups.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(SOURCE.format(record=str(record), group=group))
    options = ("-n", "2", "-p", "no:benchmark", "--import-mode", "importlib", "--rootdir", str(tmp_path))
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = (sys.executable, "-m", "pytest", "-q", *options, str(tmp_path))
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
    processes = defaultdict(set)
    for line in record.read_text().splitlines():
        group, process = line.split()
        processes[group].add(process)
    assert {group: len(found) for group, found in processes.items()} == dict.fromkeys(
        ["systems", "measured", *"0123"], 1
    )
    assert len(set.union(*processes.values())) == 2
