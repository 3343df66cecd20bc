"""The house's limits on size, so that no file or function grows out of sight."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("inference_core", "otel", "gateway", "model_service", "deploy")
FILE_LINES = 300
FUNCTION_LINES = 40
MEDIAN_LINES = 8
NINETIETH_LINES = 20

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources() -> list[Path]:
    """Return every Python file that people write here."""
    return [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def functions(file: Path) -> Iterator[tuple[str, int]]:
    """Yield each function's place and its lines without the docstring."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, Function):
            docstring = ast.get_docstring(node, clean=False)
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            yield f"{file.relative_to(ROOT)}:{node.lineno} {node.name}", lines - len((docstring or "").splitlines())


@pytest.mark.parametrize("folder", [*PACKAGES, "tests"])
def test_no_file_is_longer_than_the_limit(folder: str) -> None:
    """A file fits on a few screens."""
    long = [
        (str(file.relative_to(ROOT)), count)
        for file in sorted((ROOT / folder).rglob("*.py"))
        if (count := len(file.read_text().splitlines())) > FILE_LINES
    ]
    assert long == []


def test_no_function_is_longer_than_the_limit() -> None:
    """A function fits on one screen."""
    long = [(name, lines) for file in sources() for name, lines in functions(file) if lines > FUNCTION_LINES]
    assert long == []


def test_functions_are_short_as_a_rule() -> None:
    """The median function has at most 8 lines, nine out of ten at most 20."""
    lines = sorted(lines for file in sources() for _, lines in functions(file))
    assert statistics.median(lines) <= MEDIAN_LINES
    assert lines[int(len(lines) * 0.9)] <= NINETIETH_LINES


def test_every_tests_folder_is_a_package() -> None:
    """Tests of the same name in two folders never shadow each other."""
    files = (ROOT / "tests").rglob("*.py")
    # A model's version folder is data, as in every repository.
    folders = {file.parent for file in files if not (file.parent.parent / "model.toml").exists()}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_every_test_states_its_promise() -> None:
    """Each test has a docstring, so that the suite reads as a specification."""
    silent = [
        f"{file.relative_to(ROOT)}:{node.lineno} {node.name}"
        for file in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, Function) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert silent == []
