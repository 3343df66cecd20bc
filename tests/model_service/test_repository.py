"""Models on disk: what is found, what is refused and with which words."""

from __future__ import annotations

import os
import string
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.errors import ConfigurationError
from inference_core.names import is_model_name
from model_service.loading import load
from model_service.repository import scan
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


def test_a_model_whose_description_was_forgotten_is_told(tmp_path: Path) -> None:
    """A folder with a version in it is meant to be a model; the index says what it lacks."""
    (tmp_path / "forgotten" / "1").mkdir(parents=True)
    (found,) = scan([tmp_path]).models.values()
    assert found.versions == ()
    assert "forgotten has no model.toml" in found.problems[""]


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


def test_devices_and_pipes_are_refused(tmp_path: Path) -> None:
    """Only files and folders make a version: reading a pipe would wait for ever."""
    folder = add_model(tmp_path, "model")
    os.mkfifo(folder / "1" / "weights")
    assert f"{folder / '1' / 'weights'} is not a regular file" in refusal(tmp_path)


@pytest.mark.parametrize("key", ["versions = ['../1']", "default_version = '../1'", "labels = {a = '../1'}"])
def test_versions_in_a_description_are_names(tmp_path: Path, key: str) -> None:
    """No version that model.toml names can be a path, and the line is told."""
    add_model(tmp_path, "model", f"\n{key}\n{PYTHON_TOML}")
    assert "model.toml:2: " in refusal(tmp_path)
    assert "'../1' cannot be a version or label" in refusal(tmp_path)


def test_one_broken_model_or_version_hurts_no_other(tmp_path: Path) -> None:
    """What is wrong is told by model and version, and everything else is found."""
    add_model(tmp_path, "fine")
    add_model(tmp_path, "broken", "runtime = ")
    half = add_model(tmp_path, "half", versions=("1", "2"))
    (half / "1" / "link").symlink_to("/etc")
    found = scan([tmp_path, tmp_path / "nowhere"])
    assert {name: [each.version for each in model.versions] for name, model in found.models.items()} == {
        "broken": [],
        "fine": ["1"],
        "half": ["2"],
    }
    assert [list(model.problems) for model in found.models.values()] == [[""], [], ["1"]]
    assert "nowhere cannot be read" in found.problems[0]


def test_the_first_repository_counts(tmp_path: Path) -> None:
    """Of two models with one name that in the first repository is taken, and the other one is told of."""
    first, second = (add_model(tmp_path / root, "model") for root in ("a", "b"))
    found = scan([tmp_path / "a", tmp_path / "b"])
    assert found.models["model"].folder == first
    assert found.problems == (f"{second} is left out: {first} has that name.",)


@pytest.mark.parametrize("place", ["", "model", "model/model.toml", "model/1", "model/1/model.py"])
def test_what_everybody_may_write_to_is_told(tmp_path: Path, place: str) -> None:
    """Whoever may write a model.py runs code in the workers, so every mode is looked at, and served all the same."""
    (add_model(tmp_path, "model") / "1" / "model.py").write_text(ECHO)
    assert scan([tmp_path]).warnings == ()
    (tmp_path / place).chmod(0o777)
    found = scan([tmp_path])
    assert [f"Every user may change {tmp_path / place} " in told for told in found.warnings] == [True]
    assert f": chmod -R o-w {tmp_path}" in found.warnings[0]
    assert len(found.models["model"].versions) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_another_group_or_user_may_change_is_told(tmp_path: Path) -> None:
    """A group's right to write counts unless the group is the worker's own; so does another owner."""
    file = add_model(tmp_path, "model") / "model.toml"
    file.chmod(0o664)
    assert scan([tmp_path]).warnings == ()
    os.chown(file, 0, 65534)
    assert f"Group 65534 may change {file} " in scan([tmp_path]).warnings[0]
    file.chmod(0o644)
    os.chown(file, 65534, 0)
    assert f"User 65534 may change {file} " in scan([tmp_path]).warnings[0]


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
