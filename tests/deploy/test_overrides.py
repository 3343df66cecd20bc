"""Settings as a person types them."""

from __future__ import annotations

import argparse

import pytest

from deploy.overrides import merged, overrides


def test_values_are_json_and_sections_are_joined() -> None:
    """Several settings of one section end in one section."""
    found = overrides('gateway.admission=false,gateway.deadline=2.5,predict.prompt_model="a"')
    assert found == {"gateway": {"admission": False, "deadline": 2.5}, "predict": {"prompt_model": "a"}}
    assert overrides("") == {}


@pytest.mark.parametrize("text", ["gateway", "gateway.admission", "gateway.admission=no"])
def test_what_is_no_setting_is_refused(text: str) -> None:
    """A value that is not JSON is a mistake, not a string."""
    with pytest.raises(argparse.ArgumentTypeError, match=r"SECTION\.KEY=VALUE"):
        overrides(text)


def test_the_second_wins_key_by_key() -> None:
    """Merging keeps what the second does not name."""
    assert merged({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}, "b": {"z": 4}}) == {"a": {"x": 1, "y": 3}, "b": {"z": 4}}
