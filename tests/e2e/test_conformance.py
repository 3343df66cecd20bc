"""tritonclient, in a process of its own, finds what it relies on at the gateway's two doors and at a worker's port."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from deploy.pinned import cache_folder, environment_from
from deploy.repositories import SAMPLES, repository
from inference_core.errors import ConfigurationError
from inference_core.settings import CHECKOUT
from tests.e2e.system import System

HERE = Path(__file__).parent / "conformance"
SOURCES = [HERE / name for name in ("descriptions.py", "inferences.py")]
RUN = "tests.e2e.conformance.run"
QUEUE_ROWS = 8
TARGETS = ("REST", "gRPC", "worker")
Found = dict[str, str | None]


def named(*decorators: str) -> list[str]:
    """Return the names of the checks, read from their source: tritonclient cannot be imported here."""
    nodes = [node for file in SOURCES for node in ast.parse(file.read_text()).body]
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    return [
        function.name
        for function in functions
        if any(isinstance(mark, ast.Name) and mark.id in decorators for mark in function.decorator_list)
    ]


EXPECTED = [
    (target, name) for target in TARGETS for name in named("check", *(("check_http",) if target == "REST" else ()))
]


@pytest.fixture(scope="module")
def python() -> Path:
    """Return the Python that has tritonclient; without it the tests are skipped, and fail where CI is set."""
    try:
        return environment_from(HERE / "requirements.txt", "tritonclient", cache_folder("conformance"), print)
    except ConfigurationError as error:
        if os.environ.get("CI"):
            pytest.fail(error.message, pytrace=False)
        pytest.skip(error.message)


@pytest.fixture(scope="module")
def results(python: Path) -> Iterator[Callable[[str], Found]]:
    """Start a system with small queues, and return what was wrong with each check at a target."""
    with ExitStack() as stack:
        models = stack.enter_context(repository(SAMPLES, HERE / "models"))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hub-"))
        system = System(
            Path(folder),
            gateway={"max_queue_rows": QUEUE_ROWS},
            inference={"repository": str(models), "max_queue_rows": QUEUE_ROWS},
            telemetry={"otlp_endpoint": ""},
        )
        stack.callback(system.stop)
        system.start()
        arguments = {
            "REST": ("http", f"127.0.0.1:{system.http_port}"),
            "gRPC": ("grpc", f"127.0.0.1:{system.front_port}"),
            "worker": ("grpc", f"127.0.0.1:{system.grpc_port}", "--worker"),
        }
        yield cache(lambda target: _results(python, *arguments[target]))


def _results(python: Path, *arguments: str) -> Found:
    done = subprocess.run(
        [python, "-m", RUN, *arguments], cwd=CHECKOUT, env={}, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["check"]: line["wrong"] for line in lines}


@pytest.mark.parametrize(("target", "name"), EXPECTED, ids=[f"{target}-{name}" for target, name in EXPECTED])
def test_tritonclient_finds_what_it_relies_on(results: Callable[[str], Found], target: str, name: str) -> None:
    """One check at one target, as `conformance` describes it."""
    assert results(target)[name] is None


def test_no_check_is_left_out(results: Callable[[str], Found]) -> None:
    """What ran at each target is the whole list."""
    ran = [(target, name) for target in TARGETS for name in results(target)]
    assert sorted(ran) == sorted(EXPECTED)
    assert len(ran) > 90
