"""Names from outside are safe as folders, URL segments, labels and log fields, or refused."""

from __future__ import annotations

import re
import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.names import is_model_name, is_request_id

SAFE = string.ascii_letters + string.digits + "._-"
HOSTILE = st.one_of(
    st.sampled_from(["..", "/", "\\", "\n", "\r", "\0", "\x1b", "\x7f", "\x85", " ", "%2e", "é", "\u2028", "\u0661"]),
    st.characters(exclude_characters=SAFE),
)
ACCEPTS = pytest.mark.parametrize("accepts", [is_model_name, is_request_id])


@ACCEPTS
@given(st.text())
def test_whatever_is_accepted_is_short_plain_ascii(accepts: Callable[[str], bool], text: str) -> None:
    """An accepted name is one line of 1 to 128 letters, digits, dots, underscores and hyphens."""
    if accepts(text):
        assert 1 <= len(text) <= 128
        assert set(text) <= set(SAFE)


@ACCEPTS
@given(st.text(SAFE, max_size=20), HOSTILE, st.text(SAFE, max_size=20))
def test_one_hostile_letter_is_enough_to_refuse(
    accepts: Callable[[str], bool], before: str, hostile: str, after: str
) -> None:
    """A slash, a space, a control character, a newline or a letter beyond ASCII is refused wherever it stands."""
    if hostile != "..":
        assert not accepts(before + hostile + after)


@given(st.text(SAFE, max_size=20), st.text(SAFE, max_size=20))
def test_a_model_name_leads_to_no_parent_folder(before: str, after: str) -> None:
    """Two dots in a row are refused wherever they stand."""
    assert not is_model_name(f"{before}..{after}")


@given(st.text(SAFE, min_size=1, max_size=200))
def test_model_names_are_exactly_the_safe_ones(text: str) -> None:
    """Of safe letters, every name that starts with a letter or digit, has no `..` and at most 128 letters passes."""
    expected = text[0].isalnum() and ".." not in text and len(text) <= 128
    assert is_model_name(text) == expected


@given(st.text(SAFE, min_size=1, max_size=100))
def test_request_ids_are_exactly_the_safe_ones(text: str) -> None:
    """Of safe letters, a request id passes up to 64."""
    assert is_request_id(text) == (len(text) <= 64)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\u2028"])
def test_a_newline_at_the_end_is_refused(newline: str) -> None:
    """The end of the text counts, not the end of its first line."""
    assert not is_model_name(f"v1-mock{newline}")
    assert not is_request_id(f"abc{newline}")


def test_the_empty_name_is_refused() -> None:
    """No name and no id is no name and no id."""
    assert not is_model_name("")
    assert not is_request_id("")


@given(st.from_regex(re.compile(r"[0-9a-f]{32}", re.ASCII), fullmatch=True))
def test_our_own_ids_are_valid_ids(text: str) -> None:
    """Ids that the programs make up, 32 hex digits, pass their own check."""
    assert is_request_id(text)
