"""Parameters of loading and unloading, from JSON to protobuf. Source: Triton's extension model_repository."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from gateway.v2.documents import RepositoryParameter
from inference_core.errors import InvalidInput
from inference_pb import open_inference_pb2 as wire

FILE = "file:"


def check_repository(name: str) -> None:
    """Raise InvalidInput where a repository is named: none has a name here."""
    if name:
        raise InvalidInput("Leave repository_name empty; a model is taken from the first repository that has it.")


def repository_parameters(given: Mapping[str, RepositoryParameter]) -> dict[str, wire.ModelRepositoryParameter]:
    """Return parameters as the workers take them; what is named `file:...` is base64 (RFC 4648).

    Raises InvalidInput for what is no base64.
    """
    return {name: _parameter(name, value) for name, value in given.items()}


def _parameter(name: str, value: RepositoryParameter) -> wire.ModelRepositoryParameter:
    if isinstance(value, bool):
        return wire.ModelRepositoryParameter(bool_param=value)
    if isinstance(value, str):
        return _file(name, value) if name.startswith(FILE) else wire.ModelRepositoryParameter(string_param=value)
    return wire.ModelRepositoryParameter(int64_param=int(value))


def _file(name: str, text: str) -> wire.ModelRepositoryParameter:
    try:
        return wire.ModelRepositoryParameter(bytes_param=base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"Parameter {name[:64]!r} is a file's content as base64.") from error
