"""Parameters of loading and unloading, from JSON to protobuf. Source: Triton's extension model_repository."""

from __future__ import annotations

import base64
import binascii

from gateway.v2.asked import Given
from gateway.v2.documents import Parameter
from inference_core.errors import InvalidInput
from inference_pb import open_inference_pb2 as wire

FILE = "file:"
MOST = 2**63


def repository_parameters(given: Given) -> dict[str, wire.ModelRepositoryParameter]:
    """Return parameters as the workers take them; what is named `file:...` is base64 (RFC 4648).

    Raises InvalidInput for a number that is not whole or has more than 64 bits, and for what is no base64.
    """
    return {name: _parameter(name, value) for name, value in given.items()}


def _parameter(name: str, value: Parameter) -> wire.ModelRepositoryParameter:
    if isinstance(value, bool):
        return wire.ModelRepositoryParameter(bool_param=value)
    if isinstance(value, str):
        return _file(name, value) if name.startswith(FILE) else wire.ModelRepositoryParameter(string_param=value)
    if isinstance(value, int) and -MOST <= value < MOST:
        return wire.ModelRepositoryParameter(int64_param=value)
    raise InvalidInput(f"Parameter {name[:64]!r} is a text, a whole number of 64 bits, true or false.")


def _file(name: str, text: str) -> wire.ModelRepositoryParameter:
    try:
        return wire.ModelRepositoryParameter(bytes_param=base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"Parameter {name[:64]!r} is a file's content as base64.") from error
