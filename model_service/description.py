"""model.toml: what a model is, how it is run, which of its versions serve. docs/MODELS.md explains every field.

Whatever is wrong in it is told with the file, the line, the key and, for a name that does not exist, the nearest one.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from inference_core.errors import ConfigurationError
from inference_core.names import is_model_name
from inference_core.tensors import DTYPES
from inference_core.toml_places import Place, Refusal, line_of, place_of, refuse_unknown, written

Parameter = float | int | str | bool
Version = str | int
Name = Annotated[str, Meta(min_length=1)]
ALL: Literal["all"] = "all"


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output; in `shape` -1 is any size, and the first dimension, always -1, counts rows."""

    name: Name
    datatype: str
    shape: Annotated[tuple[int, ...], Meta(min_length=1)]


class Latest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The newest versions: that many."""

    latest: Annotated[int, Meta(ge=1)]


class Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows that a model is tried with before it serves, `repeat` times; without `inputs` that many `rows` of zeros.

    `outputs` are what it has to answer with: numbers nearly, everything else exactly.
    """

    inputs: dict[str, list[Any]] = {}
    outputs: dict[str, list[Any]] = {}
    rows: Annotated[int, Meta(ge=1, le=65536)] = 1
    repeat: Annotated[int, Meta(ge=1, le=1000)] = 1


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of one model in each worker: rows of one call, rows and bytes that wait. None: the worker's own."""

    max_rows: Annotated[int, Meta(ge=1)] | None = None
    max_queue_rows: Annotated[int, Meta(ge=1)] | None = None
    max_queue_bytes: Annotated[int, Meta(ge=1)] | None = None


class Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What model.toml says. `instances` counts compute threads; `parameters` go to the runtime.

    Rows of several calls are computed together, up to `max_batch_size`; with 1 calls never share a batch. One that is
    not full is held for at most `max_queue_delay` seconds. `inline = false` keeps a model off the event loop even when
    it is quick: for one that waits for something outside, which is quick until it is not.

    Inputs and outputs may be left out where the runtime can read them from the model. `versions` says which of the
    version folders are loaded, `default_version` which of them answers when none is asked for, `labels` names some.
    """

    runtime: Name
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    instances: Annotated[int, Meta(ge=1, le=64)] = 1
    max_batch_size: Annotated[int, Meta(ge=1, le=65536)] = 64
    max_queue_delay: Annotated[float, Meta(ge=0, le=10)] = 0.0
    inline: bool = True
    versions: Literal["all"] | Latest | Annotated[tuple[Version, ...], Meta(min_length=1)] = ALL
    default_version: Version = ""
    labels: dict[str, Version] = {}
    warmup: tuple[Sample, ...] = ()
    limits: Limits = Limits()
    trusted_types: tuple[str, ...] = ()
    allow_pickle: bool = False
    parameters: dict[str, Parameter] = {}

    @property
    def label_versions(self) -> dict[str, str]:
        """The version of each label, as text."""
        return {label: str(version) for label, version in self.labels.items()}

    def as_loaded(self) -> Description:
        """Return it without what only chooses among versions: a change of those loads nothing again."""
        return msgspec.structs.replace(self, versions=ALL, default_version="", labels={})


SECTIONS: dict[str, type[msgspec.Struct]] = {"inputs": Tensor, "outputs": Tensor, "warmup": Sample, "limits": Limits}


def read(file: Path) -> Description:
    """Return what a model.toml says.

    Raises ConfigurationError with file, line and key: for an unknown key, a wrong type or a value out of range.
    """
    # Opening a FIFO would wait for ever.
    if not file.is_file():
        raise ConfigurationError(f"{file} is not a regular file.")
    try:
        text = file.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: {error}") from error
    try:
        _check_keys(document)
        description = msgspec.convert(document, Description)
        _check(description)
    except msgspec.ValidationError as error:
        line = line_of(text, place_of(str(error)))
        raise ConfigurationError(f"{file}:{line}: {error}") from error
    except Refusal as error:
        raise ConfigurationError(f"{file}:{line_of(text, error.place)}: {error}") from error
    return description


def _check_keys(document: dict[str, Any]) -> None:
    refuse_unknown("key", (), document, Description.__struct_fields__)
    for section, kind in SECTIONS.items():
        given = document.get(section)
        if isinstance(given, dict):
            refuse_unknown("key", (section,), given, kind.__struct_fields__)
        for index, table in enumerate(given if isinstance(given, list) else []):
            if isinstance(table, dict):
                refuse_unknown("key", (section, index), table, kind.__struct_fields__)


def _check(description: Description) -> None:
    _check_tensors("inputs", description.inputs)
    _check_tensors("outputs", description.outputs)
    listed = description.versions if isinstance(description.versions, tuple) else ()
    named = [("versions",)] * len(listed) + [("labels", label) for label in description.labels]
    for place, name in zip(named, [*listed, *description.labels], strict=True):
        _check_name(place, str(name))
    for label, version in description.labels.items():
        _check_name(("labels", label), str(version))
    if description.default_version != "":
        _check_name(("default_version",), str(description.default_version))


def _check_name(place: Place, name: str) -> None:
    if not is_model_name(name):
        raise Refusal(
            place,
            f"{written(place)}: {name!r} cannot be a version or label; they have letters, digits, '.', '_' and '-'.",
        )


def _check_tensors(section: str, tensors: tuple[Tensor, ...]) -> None:
    names = [tensor.name for tensor in tensors]
    if len(set(names)) < len(names):
        raise Refusal((section,), f"{section}: two tensors have the same name.")
    for index, tensor in enumerate(tensors):
        refuse_unknown("datatype", (section, index, "datatype"), [tensor.datatype], DTYPES)
        if tensor.shape[0] != -1 or any(size != -1 and size < 1 for size in tensor.shape):
            raise Refusal(
                (section, index, "shape"),
                f"{section}[{index}].shape = {list(tensor.shape)}: the first dimension counts rows and is -1, "
                "the others are -1 (any size) or at least 1.",
            )
