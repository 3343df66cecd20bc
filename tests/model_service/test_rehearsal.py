"""A version that could end the worker's process is tried in another one first."""

from __future__ import annotations

import importlib
import subprocess
from pathlib import Path

import pytest

from inference_core.errors import ConfigurationError
from model_service import loading, rehearsal
from model_service.loading import load
from model_service.rehearsal import rehearse
from model_service.repository import ModelOnDisk
from tests.model_service.repository_tree import add_model, discover

RUNTIME = "tests.model_service.mortal_runtime"
LIST = "sha256sum model.* > SHA256SUMS"


def doing(root: Path, deed: str) -> ModelOnDisk:
    """Write a version that does something when it is loaded or computes."""
    (add_model(root, "model") / "1" / "deed").write_text(deed)
    return discover(root)[0]


@pytest.mark.parametrize("deed", ["load die", "predict die"])
def test_a_death_is_told_and_hurts_nobody(tmp_path: Path, deed: str) -> None:
    """A version that ends its process, in loading or in computing, is refused with the signal."""
    model = doing(tmp_path, deed)
    with pytest.raises(ConfigurationError) as caught:
        rehearse(model, RUNTIME)
    assert caught.value.message == f"{model.folder} ended the process that tried it first (SIGSEGV): it is damaged."


@pytest.mark.parametrize("deed", ["load nothing", "load raise", "predict raise"])
def test_other_mistakes_are_left_to_who_loads_it(tmp_path: Path, deed: str) -> None:
    """What only raises passes the first try, for whoever loads the version says it better; and what computes passes."""
    model = doing(tmp_path, deed)
    rehearse(model, RUNTIME)
    assert model.folder.exists()


def test_a_first_try_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that hangs is given up, and its process with it."""
    monkeypatch.setattr(rehearsal, "LONGEST_SECONDS", 3.0)
    with pytest.raises(ConfigurationError, match=r"was not loaded by a first try within 3\.0 s"):
        rehearse(doing(tmp_path, "load hang"), RUNTIME)


@pytest.mark.parametrize(("runtime", "file"), [("xgboost", "model.ubj"), ("lightgbm", "model.txt")])
def test_boosters_are_tried_unless_their_files_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str, file: str
) -> None:
    """The runtimes whose libraries can die have a first try, and a list of digests saves it."""
    tried: list[str] = []
    monkeypatch.setattr(loading, "rehearse", lambda _, module: tried.append(module))
    add_model(tmp_path, "model", f'runtime = "{runtime}"\n')
    model = discover(tmp_path)[0]
    (model.folder / file).write_bytes(b"no booster")
    with pytest.raises(ConfigurationError):
        load(model)
    subprocess.run(LIST, shell=True, cwd=model.folder, check=True)  # noqa: S602  # the user's own shell would run it
    with pytest.raises(ConfigurationError):
        load(model)
    assert tried == [f"model_service.runtimes.{runtime}"]
    assert importlib.import_module(tried[0]).CAN_DIE
