"""How much a request may name: each tensor and parameter costs an event loop time, however small it is."""

from __future__ import annotations

from collections.abc import Sequence, Sized

from inference_core.errors import InvalidInput

LONGEST_NAME = 256
MOST_TENSORS = 1024
MOST_PARAMETERS = 1024
MOST_FIELDS = 3 * MOST_TENSORS + MOST_PARAMETERS + 64
"""Of a request as a message: inputs, their contents, outputs, parameters, and room for what else it has."""


def check_tensors(inputs: Sized, outputs: Sized) -> None:
    """Raise InvalidInput for more inputs or wanted outputs than a request may have."""
    if len(inputs) > MOST_TENSORS or len(outputs) > MOST_TENSORS:
        raise InvalidInput(f"A request has at most {MOST_TENSORS} input tensors, and as many outputs; send fewer.")


def check_name(name: str) -> None:
    """Raise InvalidInput for a tensor's name that is empty or too long."""
    if not 0 < len(name) <= LONGEST_NAME:
        raise InvalidInput(f"A tensor's name has 1 to {LONGEST_NAME} characters.")


def check_parameters(given: Sequence[Sized]) -> None:
    """Raise InvalidInput where a request and its tensors have more parameters together than they may have."""
    if sum(map(len, given)) > MOST_PARAMETERS:
        raise InvalidInput(
            f"A request has at most {MOST_PARAMETERS} parameters, with those of its tensors; send fewer."
        )
