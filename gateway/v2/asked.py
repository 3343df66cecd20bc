"""What an inference request of either transport asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from gateway.v2.documents import Parameter
from inference_core.errors import InvalidInput, NotOffered
from inference_core.selection import Wanted
from inference_core.tensors import Arrays

SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")
SHARED_MEMORY = ("shared_memory_region", "shared_memory_byte_size", "shared_memory_offset")

Given = Mapping[str, Parameter]


class Asked(msgspec.Struct, frozen=True, gc=False):
    """A request for one model; without `wanted` all outputs are."""

    inputs: Arrays
    wanted: Sequence[Wanted] = ()
    id: str = ""
    parameters: Given = {}


def flag(parameters: Given, name: str, *, default: bool = False) -> bool:
    """Return a boolean parameter; raises InvalidInput for another kind."""
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidInput(f"Parameter {name} is true or false.")
    return value


def check_offered(parameters: Given, names: Sequence[str]) -> None:
    """Raise NotOffered where a parameter is set that asks for a feature that is not there."""
    for name in names:
        if parameters.get(name):
            raise NotOffered(f"Parameter {name} is not offered here: models keep no state and share no memory.")
