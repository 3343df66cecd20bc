"""What an inference request of either transport asks for, and what it gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from gateway.v2.classes import top_classes
from gateway.v2.documents import Parameter
from inference_core.errors import InvalidInput, NotOffered
from inference_core.inference import Inference
from inference_core.tensors import Array, Arrays

CLASSIFICATION, BINARY, ALL_BINARY = "classification", "binary_data", "binary_data_output"
SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")
SHARED_MEMORY = ("shared_memory_region", "shared_memory_byte_size", "shared_memory_offset")
MOST_CLASSES = 2**31 - 1

Given = Mapping[str, Parameter]


class Wanted(msgspec.Struct, frozen=True, gc=False):
    """An output that is wanted: `classes` of its values, 0 for all as they are; in binary form where REST asks."""

    name: str
    classes: int = 0
    binary: bool = False


class Asked(msgspec.Struct, frozen=True, gc=False):
    """A request for one model; without `wanted` all outputs are, in binary form where `all_binary` says so."""

    inputs: Arrays
    wanted: Sequence[Wanted] = ()
    id: str = ""
    parameters: Given = {}
    all_binary: bool = False


class Output(msgspec.Struct, frozen=True, gc=False):
    """An output as it is answered."""

    name: str
    array: Array
    binary: bool


def wanted_of(outputs: Sequence[tuple[str, Given]], *, all_binary: bool) -> list[Wanted]:
    """Return the outputs that are wanted, from their names and parameters; an output's own form wins.

    Raises InvalidInput for a name given twice or a parameter that cannot be, NotOffered for shared memory.
    """
    names = [name for name, _ in outputs]
    if len(set(names)) != len(names):
        raise InvalidInput("Ask for each output once.")
    return [_wanted(name, parameters, all_binary=all_binary) for name, parameters in outputs]


def _wanted(name: str, parameters: Given, *, all_binary: bool) -> Wanted:
    check_offered(parameters, SHARED_MEMORY)
    classes = parameters.get(CLASSIFICATION, 0)
    if isinstance(classes, bool) or not isinstance(classes, int) or not 0 <= classes <= MOST_CLASSES:
        raise InvalidInput(f"Output {name!r}: {CLASSIFICATION} is a number of classes.")
    return Wanted(name, classes, flag(parameters, BINARY, default=all_binary))


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


def outputs_of(asked: Asked, inference: Inference) -> list[Output]:
    """Return the outputs that were asked for, in that order; raises InvalidInput for one that there is not."""
    outputs = inference.outputs
    if not asked.wanted:
        return [Output(name, array, asked.all_binary) for name, array in outputs.items()]
    missing = [wanted.name for wanted in asked.wanted if wanted.name not in outputs]
    if missing:
        raise InvalidInput(
            f"Model {inference.model} has no output {missing[0][:64]!r}; its outputs are {', '.join(outputs)}."
        )
    return [_output(wanted, outputs[wanted.name]) for wanted in asked.wanted]


def _output(wanted: Wanted, array: Array) -> Output:
    answered = top_classes(wanted.name, array, wanted.classes) if wanted.classes else array
    return Output(wanted.name, answered, wanted.binary)
