"""SHA256SUMS: what a version's files must be before any of them is used."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from inference_core.errors import ConfigurationError
from model_service.loading import load
from model_service.sums import FILE, check_sums
from tests.model_service.repository_tree import add_model, discover

SOURCE = """
class Model:
    def __init__(self, folder, parameters):
        (folder / "ran").touch()
    def predict(self, inputs):
        return inputs
"""
COMMAND = f"find . -type f ! -name {FILE} -exec sha256sum {{}} + > {FILE}"
"""As docs/MODELS.md has it."""


def listed(root: Path) -> Path:
    """Write a version of several files with its list, and return its folder."""
    folder = add_model(root, "model") / "1"
    (folder / "deep").mkdir()
    for name, text in {"model.py": SOURCE, "a b.txt": "weights", "deep/more": "more", ".hidden": "own"}.items():
        (folder / name).write_text(text)
    subprocess.run(COMMAND, shell=True, cwd=folder, check=True)  # noqa: S602  # the user's own shell would run it
    return folder


def refusal(folder: Path) -> str:
    """Return the sentence with which a folder is refused."""
    with pytest.raises(ConfigurationError) as caught:
        check_sums(folder)
    return caught.value.message


def test_files_are_held_against_their_list(tmp_path: Path) -> None:
    """A folder is as its list says, or there is no list; hidden files may come and go."""
    folder = listed(tmp_path)
    (folder / ".hidden").unlink()
    (folder / ".editor").touch()
    check_sums(folder)
    (folder / FILE).unlink()
    (folder / "model.py").write_text("changed")
    check_sums(folder)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a b.txt", "weighty", "has other digests than these files: a b.txt."),
        ("deep/more", None, "lists files that are not there: deep/more."),
        ("extra", "", "does not list files that are there: extra."),
    ],
)
def test_a_difference_is_named(tmp_path: Path, name: str, text: str | None, reason: str) -> None:
    """A file that is another, is missing or is one too many is refused by name, with what to do."""
    folder = listed(tmp_path)
    (folder / name).unlink(missing_ok=True)
    if text is not None:
        (folder / name).write_text(text)
    assert refusal(folder).startswith(f"{folder / FILE} {reason} Copy the version again, or ")


def test_many_differences_make_one_short_sentence(tmp_path: Path) -> None:
    """Of many files three are named, and the others counted."""
    folder = listed(tmp_path)
    for number in range(9):
        (folder / f"extra-{number}").touch()
    assert "there: extra-0, extra-1, extra-2 and 6 more. " in refusal(folder)


@pytest.mark.parametrize(
    "line", ["nonsense", "abcd  model.py", "\\" + "0" * 64 + "  a\\nb", "SHA256 (a) = " + "0" * 64]
)
def test_a_line_of_another_form_is_refused(tmp_path: Path, line: str) -> None:
    """What sha256sum does not write by itself is told with its line."""
    folder = listed(tmp_path)
    with (folder / FILE).open("a") as stream:
        stream.write(f"{line}\n")
    assert refusal(folder).startswith(f"{folder / FILE}:5: this is no line of sha256sum(1)")


def test_a_list_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """A folder in the place of the list is no list, and no way around it."""
    folder = add_model(tmp_path, "model") / "1"
    (folder / FILE).mkdir()
    assert refusal(folder) == f"{folder / FILE} cannot be read: Is a directory."


def test_nothing_of_a_changed_version_runs(tmp_path: Path) -> None:
    """The list is looked at before the runtime is, so that the code of a changed model.py never runs."""
    folder = listed(tmp_path)
    (folder / "model.py").write_text(SOURCE + "\n")
    with pytest.raises(ConfigurationError, match=r"other digests than these files: model\.py\."):
        load(discover(tmp_path)[0])
    assert not (folder / "ran").exists()
