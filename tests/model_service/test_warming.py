"""Before a model serves: its signature is completed, and its samples are answered as they must be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from inference_core.errors import ConfigurationError
from model_service.loading import check_size, known_runtimes, load, load_and_try
from tests.model_service.repository_tree import PYTHON_TOML, add_model, discover

ECHO = """
import numpy as np
class Model:
    def __init__(self, folder, parameters): pass
    def predict(self, inputs):
        rows = inputs["features"]
        if (rows < 0).any(): raise ValueError("negative")
        if (rows > 90).any(): return {"class_id": np.full(len(rows), np.nan, np.float32)}
        return {"class_id": rows[:, 0].astype(np.int32)}
"""


def tried(root: Path, warmup: str, toml: str = PYTHON_TOML) -> None:
    """Load and try a model with these samples."""
    folder = add_model(root, "model", f"warmup = {warmup}\n{toml}")
    (folder / "1" / "model.py").write_text(ECHO)
    load_and_try(discover(root)[0])[1].close()


@pytest.mark.parametrize(
    "warmup",
    [
        "[]",
        "[{}]",
        "[{rows = 3, repeat = 2}]",
        "[{inputs = {features = [[4, 1], [5, 1]]}, outputs = {class_id = [4, 5]}}]",
    ],
)
def test_samples_that_are_answered_let_a_model_serve(tmp_path: Path, warmup: str) -> None:
    """Zeros or given rows, any number of times, with or without the answer that must come."""
    tried(tmp_path, warmup)


@pytest.mark.parametrize(
    ("warmup", "reason"),
    [
        ("[{inputs = {features = [[-1]]}}]", "warmup[0]: ValueError: negative"),
        (
            "[{}, {inputs = {features = [[4]]}, outputs = {class_id = [5]}}]",
            "warmup[1]: the output 'class_id' is [4], not [5]",
        ),
        (
            "[{inputs = {features = [[4]]}, outputs = {other = [5]}}]",
            "the output 'other' is missing; there is class_id",
        ),
        ("[{inputs = {feature = [[4]]}}]", "takes 'features', not 'feature'"),
        ("[{inputs = {features = [4]}}]", "input features has shape"),
        ("[{inputs = {features = [['x']]}}]", "warmup[0]: ValueError"),
    ],
)
def test_a_sample_that_fails_keeps_a_model_from_serving(tmp_path: Path, warmup: str, reason: str) -> None:
    """A sample that raises, or is answered otherwise, is told by its number."""
    with pytest.raises(ConfigurationError) as caught:
        tried(tmp_path, warmup)
    assert reason in caught.value.message


def test_numbers_that_are_none_keep_a_model_from_serving(tmp_path: Path) -> None:
    """An answer of NaN is no answer, nor is one of another datatype than declared."""
    with pytest.raises(ConfigurationError, match="declared INT32"):
        tried(tmp_path / "type", "[{inputs = {features = [[91]]}}]")
    with pytest.raises(ConfigurationError, match="no finite numbers"):
        tried(tmp_path / "nan", "[{inputs = {features = [[91]]}}]", PYTHON_TOML.replace("INT32", "FP32"))


def test_a_model_that_keeps_no_signature_needs_one(tmp_path: Path) -> None:
    """Where neither model.toml nor the runtime says what goes in, the model is refused with that."""
    with pytest.raises(ConfigurationError, match="inputs: this model does not say them itself"):
        tried(tmp_path, "[]", 'runtime = "python"\n')


def test_files_larger_than_the_memory_are_refused(tmp_path: Path) -> None:
    """A model that cannot fit into the memory that is free is refused before anything is read."""
    folder = add_model(tmp_path, "model")
    (folder / "1" / "model.py").write_text(ECHO)
    model = discover(tmp_path)[0]
    assert check_size(model, most_bytes=len(ECHO), available=10_000) == len(ECHO)
    with pytest.raises(ConfigurationError, match=f"has {len(ECHO)} bytes, and only 10 bytes of memory"):
        check_size(model, available=10)
    with pytest.raises(ConfigurationError, match=r"inference\.max_model_bytes is 10\."):
        check_size(model, most_bytes=10)


PACKAGE = """
import numpy
class Runtime:
    only_computes, inputs, outputs = True, (), ()
    def __init__(self, weights): self.weights = weights
    def predict(self, inputs): return {"class_id": (inputs["features"] @ self.weights).astype(numpy.int32)}
    def close(self): del self.weights
def load(model, parameters):
    return Runtime(numpy.load(model.folder / "weights.npy"))
"""


def test_a_package_can_bring_a_runtime(tmp_path: Path) -> None:
    """An installed package's entry point is a runtime like ours, found by its name in model.toml."""
    (tmp_path / "my_runtime.py").write_text(PACKAGE)
    information = tmp_path / "my_runtime-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: my-runtime\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[inference_hub.runtimes]\nmine = my_runtime:load\n")
    add_model(tmp_path / "models", "model", PYTHON_TOML.replace('"python"', '"mine"'))
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import numpy; from pathlib import Path\n"
        "from model_service.loading import known_runtimes, load_and_try; from model_service.repository import scan\n"
        f"(model,) = scan([Path({str(tmp_path / 'models')!r})]).models['model'].versions\n"
        "numpy.save(model.folder / 'weights.npy', numpy.array([1, 10]))\n"
        "runtime = load_and_try(model)[1]\n"
        "print(runtime.predict({'features': numpy.array([[1, 2]], numpy.float32)})['class_id'], known_runtimes())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert done.stdout == f"[21] {sorted([*known_runtimes(), 'mine'])}\n", done.stderr


def test_the_guides_runtime_is_this_one() -> None:
    """docs/MODELS.md shows what a runtime needs, in the protocol's own names."""
    guide = (Path(__file__).resolve().parents[2] / "docs" / "MODELS.md").read_text()
    shown = guide.partition("# my_runtime.py\n")[2].partition("```")[0]
    names: dict[str, object] = {"numpy": None}
    exec(compile(shown, "MODELS.md", "exec"), names)  # noqa: S102  # our own words
    assert {"load", "Runtime"} <= names.keys()
    assert {"only_computes", "inputs", "outputs", "predict", "close"} <= set(dir(names["Runtime"]))


def test_the_guides_model_is_one(tmp_path: Path) -> None:
    """The model.py in docs/MODELS.md and the model.toml there are a whole model, which answers its sample."""
    guide = (Path(__file__).resolve().parents[2] / "docs" / "MODELS.md").read_text()
    toml = guide.partition("## model.toml")[2].partition("```toml\n")[2].partition("```")[0]
    source = guide.partition("`models/iris/1/model.py` could be")[2].partition("```python\n")[2].partition("```")[0]
    folder = add_model(tmp_path, "iris", toml)
    (folder / "1" / "model.py").write_text(source)
    load_and_try(discover(tmp_path)[0])[1].close()


def test_an_entry_point_that_cannot_be_imported_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is broken makes its models UNAVAILABLE with the reason, and nothing else."""
    information = tmp_path / "broken-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[inference_hub.runtimes]\nbroken = no_such_module:load\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    add_model(tmp_path / "models", "model", PYTHON_TOML.replace('"python"', '"broken"'))
    with pytest.raises(ConfigurationError, match="runtime 'broken' cannot be imported: No module named"):
        load(discover(tmp_path / "models")[0])
