"""PyTorch models, where PyTorch is installed: it is several gigabytes, so the tests do without elsewhere."""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference_core.errors import ConfigurationError
from model_service.loading import load, load_and_try
from model_service.repository import ModelOnDisk
from tests.model_service.repository_tree import add_model, discover
from tests.model_service.runtimes.test_sklearn import Canary

HAS_TORCH = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is not installed: .venv/bin/pip install -e '.[torch]'")
TOML = """runtime = "torch"
inputs = [{name = "x", datatype = "FP32", shape = [-1, 4]}]
outputs = [{name = "y", datatype = "FP32", shape = [-1, 3]}]
warmup = [{rows = 2}]
"""


def model_of(root: Path, toml: str = TOML) -> ModelOnDisk:
    """Make a model's folder and return its version."""
    add_model(root, "model", toml)
    return discover(root)[0]


def saved(file: Path) -> Any:
    """Write a small network, by the name of the file as TorchScript or exported, and return it."""
    torch: Any = importlib.import_module("torch")
    network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Softmax(1)).eval()
    if file.suffix == ".pt":
        torch.jit.trace(network, torch.zeros(2, 4)).save(file)
    else:
        rows = {"input": {0: torch.export.Dim.AUTO}}
        torch.export.save(torch.export.export(network, (torch.zeros(2, 4),), dynamic_shapes=rows), file)
    return network


@needs_torch
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", ["model.pt", "model.pt2"])
def test_a_network_is_run(tmp_path: Path, name: str) -> None:
    """Inputs go in by their order in model.toml, and what comes out is the network's, also for read-only rows."""
    model = model_of(tmp_path)
    network = saved(model.folder / name)
    rows = np.frombuffer(np.arange(12, dtype="<f4").tobytes(), "<f4").reshape(3, 4)
    runtime = load_and_try(model)[1]
    torch: Any = importlib.import_module("torch")
    np.testing.assert_allclose(
        runtime.predict({"x": rows})["y"], network(torch.tensor(rows.copy())).detach().numpy(), atol=1e-6
    )
    runtime.close()


@needs_torch
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_pickle_inside_an_archive_is_not_run(tmp_path: Path) -> None:
    """An exported archive whose samples are a pickle with code in it is refused, and the code does not run."""
    model = model_of(tmp_path)
    saved(tmp_path / "fine.pt2")
    with zipfile.ZipFile(tmp_path / "fine.pt2") as fine, zipfile.ZipFile(model.folder / "model.pt2", "w") as bad:
        for entry in fine.infolist():
            is_pickle = entry.filename.endswith("model.pt")
            bad.writestr(entry, _archive(tmp_path) if is_pickle else fine.read(entry))
    with pytest.raises(ConfigurationError, match=r"model\.pt2 cannot be loaded"):
        load(model)
    assert not (tmp_path / "canary").exists()


def _archive(folder: Path) -> bytes:
    torch: Any = importlib.import_module("torch")
    torch.save(Canary(folder / "canary"), folder / "canary.pt")
    return (folder / "canary.pt").read_bytes()


@needs_torch
@pytest.mark.parametrize("name", ["model.pt", "model.pt2"])
def test_a_bare_pickle_is_no_model(tmp_path: Path, name: str) -> None:
    """A pickle under a model's name is refused and not run."""
    model = model_of(tmp_path)
    (model.folder / name).write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        load(model)
    assert not (tmp_path / "canary").exists()


def test_without_the_library_the_model_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of a runtime whose library is missing is refused with the command that installs it."""
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        ConfigurationError, match=r"needs torch, which cannot be imported .*pip install -e '\.\[torch\]'"
    ):
        load(model_of(tmp_path))


def test_names_must_be_listed(tmp_path: Path) -> None:
    """PyTorch keeps no names, so a description without inputs is refused with that."""
    with pytest.raises(ConfigurationError, match="inputs: PyTorch models keep no names"):
        load(model_of(tmp_path, 'runtime = "torch"\n'))
