"""Every expected error carries one sentence for the client."""

from __future__ import annotations

import pickle

import pytest

from inference_core import errors
from inference_core.errors import InferenceHubError, InvalidInput, Unavailable


def classes(root: type[InferenceHubError] = InferenceHubError) -> list[type[InferenceHubError]]:
    """Return a class of the tree and everything below it; other modules may have special cases of their own."""
    children = [child for child in root.__subclasses__() if child.__module__ == errors.__name__]
    return [root, *(found for child in children for found in classes(child))]


@pytest.mark.parametrize("kind", classes())
def test_the_sentence_reaches_the_client_unchanged(kind: type[InferenceHubError]) -> None:
    """Each error keeps its sentence as `message` and as its text, also through pickle."""
    error = kind("A sentence.")
    assert error.message == str(error) == "A sentence."
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert type(copy) is kind
    assert copy.message == "A sentence."


def test_the_documented_tree_is_the_tree() -> None:
    """The module's docstring names exactly the classes that exist."""
    documentation = errors.__doc__ or ""
    drawn = {line.partition("── ")[2].split()[0] for line in documentation.splitlines() if "── " in line}
    assert drawn | {"InferenceHubError"} == {kind.__name__ for kind in classes()}


def test_every_error_describes_itself() -> None:
    """Each class says in a docstring what happened."""
    assert [kind.__name__ for kind in classes() if not kind.__doc__] == []


def test_overloaded_says_when_to_come_back() -> None:
    """Its Retry-After is the expected wait in whole seconds, rounded up, from 1 to 30."""
    assert [errors.Overloaded("Later.", "full", wait).retry_after_seconds for wait in (0.0, 1.0, 1.2, 1e9)] == [
        1,
        1,
        2,
        30,
    ]


@pytest.mark.parametrize("kind", [kind for kind in classes(Unavailable) if kind is not errors.Overloaded])
def test_unavailable_says_when_to_come_back(kind: type[Unavailable]) -> None:
    """Retry-After is a whole number of seconds, 1 unless the raiser knows better."""
    assert kind("Later.").retry_after_seconds == 1
    assert kind("Later.", 7).retry_after_seconds == 7


def test_input_errors_are_one_family() -> None:
    """Whoever handles InvalidInput handles what is too large, too slow, of the wrong type or not the model's."""
    assert {kind.__name__ for kind in classes(InvalidInput)} == {
        "InvalidInput",
        "InputTooLarge",
        "WrongSignature",
        "SlowInput",
        "UnsupportedInput",
        "NotOffered",
    }
