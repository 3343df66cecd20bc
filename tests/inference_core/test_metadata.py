"""The fields of a gRPC call."""

from __future__ import annotations

from inference_core.metadata import carried


def test_what_repeats_is_joined_and_what_is_missing_is_empty() -> None:
    """Only asked for names are found; one that came twice reads as neither of its values."""
    fields = (("a", "1"), ("b", "2"), ("a", "3"), ("c", "4"))
    assert carried(fields, ("a", "b", "d")) == {"a": "1,3", "b": "2", "d": ""}


def test_a_call_without_fields_carries_nothing() -> None:
    """What grpc.aio gives for no fields at all is no error."""
    assert carried(None, ("a",)) == {"a": ""}
