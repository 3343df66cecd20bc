"""Models on disk: what is found, what is refused and with which words."""

from __future__ import annotations

import json
import os
import re
import string
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.errors import ConfigurationError
from inference_core.names import is_model_name
from inference_core.settings import CHECKOUT
from model_service.description import Description
from model_service.loading import load
from model_service.runtimes.python import PythonRuntime
from tests.model_service.repository_tree import PYTHON_TOML, SHIPPED, add_model, discover, shipped

ECHO = """
class Model:
    def __init__(self, folder, parameters):
        self.parameters = dict(parameters)
    def predict(self, inputs):
        return inputs
"""


def refusal(root: Path) -> str:
    """Return the sentence with which discovery refuses this repository."""
    with pytest.raises(ConfigurationError) as caught:
        discover(root)
    return caught.value.message


def test_the_shipped_repository_holds_its_three_models() -> None:
    """What ships is found, the digits in two versions."""
    assert [(model.name, model.version) for model in discover(SHIPPED)] == [
        ("digits", "1"),
        ("digits", "2"),
        ("sentiment", "1"),
        ("v1-mock", "1"),
    ]


def test_the_guide_says_what_is_so(tmp_path: Path) -> None:
    """docs/MODELS.md lists every key of model.toml with its default, and its example is accepted."""
    guide = (CHECKOUT / "docs" / "MODELS.md").read_text()
    example = guide.partition("## model.toml")[2].partition("```toml\n")[2].partition("```")[0]
    add_model(tmp_path, "example", example)
    assert [model.description.max_batch_size for model in discover(tmp_path)] == [32]
    rows = [line for line in guide.splitlines() if line.startswith("| `")]
    assert {key for row in rows for key in re.findall(r"`(\w+)`", row.split("|")[1])} == set(
        Description.__struct_fields__
    )
    told = {row.split("`")[1]: row.split("|")[2].strip() for row in rows}
    plain = Description("python")
    for key in Description.__struct_fields__[3:]:
        value = getattr(plain, key)
        default = {} if key == "limits" else value
        assert told[key] == json.dumps(default)


def test_versions_are_sorted_as_numbers_before_words(tmp_path: Path) -> None:
    """Version 10 comes after version 9, and versions that are no numbers come last."""
    add_model(tmp_path, "model", versions=("10", "beta", "9", "alpha", "1"))
    assert [model.version for model in discover(tmp_path)] == ["1", "9", "10", "alpha", "beta"]


def test_a_model_knows_its_folder_and_description(tmp_path: Path) -> None:
    """A found model carries the folder of its version and what model.toml says, with defaults filled in."""
    add_model(tmp_path, "model")
    model = discover(tmp_path)[0]
    assert model.folder == tmp_path / "model" / "1"
    assert model.file == tmp_path / "model" / "model.toml"
    assert model.description.inputs[0].shape == (-1, -1)
    assert (model.description.instances, model.description.parameters) == (1, {})


def test_folders_without_a_description_are_ignored(tmp_path: Path) -> None:
    """A folder without model.toml is no model, whatever its name; nor is a file."""
    (tmp_path / "..not a model..").mkdir()
    (tmp_path / "README.md").write_text("text")
    assert discover(tmp_path) == []


def test_private_folders_are_no_versions(tmp_path: Path) -> None:
    """Python's and editors' own folders beside the versions are left alone."""
    add_model(tmp_path, "model", versions=("1", "__pycache__", ".git"))
    assert [model.version for model in discover(tmp_path)] == ["1"]


def test_a_root_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A repository that cannot be read is named."""
    assert str(tmp_path / "nowhere") in refusal(tmp_path / "nowhere")


def test_a_model_without_versions_is_refused(tmp_path: Path) -> None:
    """A model that has no version folder is named, with the folder to make."""
    folder = add_model(tmp_path, "model", versions=())
    assert str(folder / "1") in refusal(tmp_path)


@given(name=st.text(string.ascii_letters + "._- ü\n", min_size=1, max_size=20).filter(lambda n: n not in (".", "..")))
def test_only_model_names_are_accepted(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    """A model's folder is accepted exactly if its name is one that may arrive from outside."""
    root = tmp_path_factory.mktemp("repository")
    add_model(root, name)
    if is_model_name(name):
        assert [model.name for model in discover(root)] == [name]
    else:
        assert "a name has" in refusal(root)


def test_a_bad_version_name_is_refused(tmp_path: Path) -> None:
    """A version's folder obeys the same rule as a model's."""
    add_model(tmp_path, "model", versions=("1 copy",))
    assert "'" + str(tmp_path / "model" / "1 copy") + "'" in refusal(tmp_path)


@pytest.mark.parametrize("place", ["model", "model/model.toml", "model/1", "model/1/model.py", "model/1/deep/weights"])
def test_links_may_not_leave_the_repository(tmp_path: Path, place: str) -> None:
    """A symbolic link to the outside is refused wherever in a model it stands."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    add_model(outside, "model")
    link = root / place
    if place != "model":
        add_model(root, "model", versions=("2",))
        link.parent.mkdir(exist_ok=True, parents=True)
        link.unlink(missing_ok=True)
    else:
        root.mkdir()
    link.symlink_to(outside / "model" / ("model.toml" if place.endswith("toml") else ""))
    assert "leaves the model repository" in refusal(root)


def test_links_inside_the_repository_are_followed(tmp_path: Path) -> None:
    """A version may be a link to its neighbour, and the root itself a link to the repository."""
    folder = add_model(tmp_path / "root", "model")
    (folder / "2").symlink_to("1")
    (tmp_path / "link").symlink_to("root")
    assert [model.version for model in discover(tmp_path / "link")] == ["1", "2"]


def test_links_to_nowhere_are_refused(tmp_path: Path) -> None:
    """A dangling link and a link to itself are named."""
    folder = add_model(tmp_path, "model")
    (folder / "1" / "weights").symlink_to("weights")
    assert "leads nowhere" in refusal(tmp_path)
    (folder / "1" / "weights").unlink()
    (folder / "model.toml").unlink()
    (folder / "model.toml").symlink_to("gone.toml")
    assert "leads nowhere" in refusal(tmp_path)


def test_a_description_that_is_no_file_is_refused(tmp_path: Path) -> None:
    """A named pipe in the place of model.toml is refused instead of waited for."""
    folder = add_model(tmp_path, "model")
    (folder / "model.toml").unlink()
    os.mkfifo(folder / "model.toml")
    assert "not a regular file" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("before", "after", "parts"),
    [
        ('runtime = "python"', 'runtine = "python"', ["runtine", "'runtime'"]),
        ('name = "features"', 'name = "features"\nshapes = [-1]', ["inputs[0].shapes", "'shape'"]),
        ('datatype = "INT32"', 'data_type = "INT32"', ["outputs[0].data_type", "'datatype'"]),
        ('datatype = "FP32"', 'datatype = "FP31"', ["inputs[0].datatype", "FP31", "'FP32'"]),
        ('runtime = "python"', 'runtime = "python"\nqwxyz = 1', ["qwxyz", "known here: runtime, inputs"]),
        ('runtime = "python"', "runtime = 3", ["`$.runtime`", "`str`", "`int`"]),
        ('runtime = "python"', 'runtime = "python"\ninstances = 0', ["`$.instances`", ">= 1"]),
        ('runtime = "python"', 'runtime = "python"\ninstances = 65', ["`$.instances`", "<= 64"]),
        ('runtime = "python"', 'runtime = "python"\ninstances = true', ["`$.instances`"]),
        ('runtime = "python"', 'runtime = "python"\nparameters = {a = [1]}', ["`$.parameters[...]`"]),
        ('runtime = "python"', "", ["`runtime`"]),
        ("shape = [-1, -1]", "shape = [4, -1]", ["inputs[0].shape", "first dimension"]),
        ("shape = [-1, -1]", "shape = [-1, 0]", ["inputs[0].shape", "at least 1"]),
        ("shape = [-1, -1]", "shape = []", ["`$.inputs[0].shape`"]),
        ("shape = [-1, -1]", 'shape = ["any"]', ["`$.inputs[0].shape[0]`"]),
        ("[[inputs]]", "[inputs]", ["`$.inputs`"]),
        ('name = "features"', 'name = ""', ["`$.inputs[0].name`"]),
        ('runtime = "python"', "runtime = ", ["line 2"]),
    ],
)
def test_a_bad_description_is_explained(tmp_path: Path, before: str, after: str, parts: list[str]) -> None:
    """An unknown key, a wrong type or a value out of range is refused with file, key and what would be right."""
    assert before in PYTHON_TOML
    folder = add_model(tmp_path, "model", PYTHON_TOML.replace(before, after, 1))
    message = refusal(tmp_path)
    assert all(part in message for part in [str(folder / "model.toml"), *parts]), message


def test_two_tensors_of_one_name_are_refused(tmp_path: Path) -> None:
    """A name stands for one input only."""
    add_model(tmp_path, "model", PYTHON_TOML + '[[inputs]]\nname = "features"\ndatatype = "FP32"\nshape = [-1]\n')
    assert "inputs: two tensors have the same name" in refusal(tmp_path)


def test_a_description_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """A file in another encoding is named instead of ending in a traceback."""
    folder = add_model(tmp_path, "model")
    (folder / "model.toml").write_bytes(b'runtime = "\xff"')
    assert str(folder / "model.toml") in refusal(tmp_path)


@pytest.mark.parametrize("runtime", ["pickle", "..settings", "__init__"])
def test_an_unknown_runtime_is_refused(tmp_path: Path, runtime: str) -> None:
    """A runtime that is not one of ours is refused with the list of those that are."""
    add_model(tmp_path, "model", PYTHON_TOML.replace("python", runtime))
    with pytest.raises(
        ConfigurationError, match="known here: lightgbm, onnx, python, sklearn, torch, xgboost"
    ) as caught:
        load(discover(tmp_path)[0])
    assert str(tmp_path / "model" / "model.toml") in caught.value.message


def test_overrides_replace_declared_parameters(tmp_path: Path) -> None:
    """The runtime gets the file's parameters with the overrides in place, a whole number serving as a float."""
    folder = add_model(tmp_path, "model", 'parameters = {latency = 0.5, name = "a"}\n' + PYTHON_TOML)
    (folder / "1" / "model.py").write_text(ECHO)
    runtime = load(discover(tmp_path)[0], {"latency": 0})
    assert isinstance(runtime, PythonRuntime)
    assert vars(runtime._model)["parameters"] == {"latency": 0.0, "name": "a"}
    runtime.close()


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ({"latencie": 0.0}, "latencie: there is no such parameter; did you mean 'latency'"),
        ({"latency": "0"}, "latency must be float, not str"),
        ({"latency": True}, "latency must be float, not bool"),
    ],
)
def test_overrides_must_fit(overrides: dict[str, float | str | bool], reason: str) -> None:
    """An override of an undeclared parameter or of another type is refused."""
    with pytest.raises(ConfigurationError) as caught:
        load(shipped("v1-mock"), overrides)
    assert reason in caught.value.message


def test_runtimes_are_imported_only_when_named() -> None:
    """Finding models and loading a Python one imports neither ONNX Runtime nor its runtime."""
    program = (
        "import sys; from pathlib import Path\n"
        "from model_service.loading import load; from model_service.repository import scan\n"
        f"models = {{name: m.versions[0] for name, m in scan([Path({str(SHIPPED)!r})]).models.items()}}\n"
        "assert not [n for n in sys.modules if n.startswith('model_service.runtimes.')]\n"
        "load(models['v1-mock'])\n"
        "assert 'onnxruntime' not in sys.modules\n"
        "load(models['digits'])\n"
        "assert 'onnxruntime' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
