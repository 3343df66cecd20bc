"""model.toml: every key has its place in the guide, and what is wrong is told with file, line and key."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.errors import ConfigurationError
from inference_core.settings import CHECKOUT
from model_service.description import Description, read
from tests.model_service.repository_tree import PYTHON_TOML, add_model, discover


def refusal(root: Path) -> str:
    """Return the sentence with which discovery refuses this repository."""
    with pytest.raises(ConfigurationError) as caught:
        discover(root)
    return caught.value.message


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


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("runtime = 'x'\nruntine = 1\n", 2),
        ("runtime = 'x'\n[[inputs]]\nname = 'a'\n[[inputs]]\nshapes = 1\n", 5),
        ("runtime = 'x'\n\n[limits]\nmax_rows = 1\nrows = 2  # rows = 3\n", 5),
        ("runtime = 'x'\ninputs = [{name = 'a', datatype = 'FP32', size = 1}]\n", 2),
        ("runtime = 'x'\ninstances = 1\n[parameters]\ninstances = 2\n[instance]\n", 5),
        ("runtime = 'x'\n[warmup]\nrow = 1\n", 3),
        ("\nruntime = 'x'\ninstances = 'many'\n", 3),
    ],
)
def test_the_line_is_told(tmp_path: Path, text: str, line: int) -> None:
    """Whatever is wrong with a key is told with the line on which that key stands."""
    file = tmp_path / "model.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        read(file)
    assert caught.value.message.startswith(f"{file}:{line}: ")


@given(text=st.text("[]={}#\"'.,\n ab1", max_size=60))
def test_no_text_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever a file holds is a description or refused by name; nothing else is raised."""
    file = tmp_path_factory.mktemp("any") / "model.toml"
    file.write_text("runtime = 'x'\n" + text)
    try:
        told = read(file).runtime
    except ConfigurationError as error:
        told = error.message
    assert told == "x" or str(file) in told
