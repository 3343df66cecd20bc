"""Which outputs of a model a request gets, and in what form: all of them, some, or some as their largest values.

The latter is the classification extension: texts `value:index`, the largest first. Source: Triton's extension
classification; its third part, a label, needs a list of classes that models here do not have.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from inference_core.errors import InvalidInput
from inference_core.tensors import Array, Arrays, object_array

CLASSIFICATION = "classification"
MOST_CLASSES = 2**31 - 1
MOST_TEXTS = 65_536
QUOTED_LETTERS = 64


class Wanted(msgspec.Struct, frozen=True, gc=False):
    """An output that is wanted: so many classes of it, or 0 for its values as they are."""

    name: str
    classes: int = 0


def wanted(name: str, classes: object) -> Wanted:
    """Return an output that is wanted, from its parameter `classification`; raises InvalidInput."""
    if isinstance(classes, bool) or not isinstance(classes, int) or not 0 <= classes <= MOST_CLASSES:
        raise InvalidInput(f"Output {name[:QUOTED_LETTERS]!r}: {CLASSIFICATION} is a number of classes.")
    return Wanted(name, classes)


def check_once(outputs: Sequence[Wanted]) -> None:
    """Raise InvalidInput where an output is wanted twice."""
    if len({output.name for output in outputs}) != len(outputs):
        raise InvalidInput("Ask for each output once.")


def selected(model: str, outputs: Arrays, wants: Sequence[Wanted]) -> Arrays:
    """Return the outputs that are wanted, in that order, or all; raises InvalidInput for one that there is not."""
    if not wants:
        return outputs
    for want in wants:
        if want.name not in outputs:
            name = want.name[:QUOTED_LETTERS]
            raise InvalidInput(f"Model {model} has no output {name!r}; its outputs are {', '.join(outputs)}.")
    return {want.name: _formed(want, outputs[want.name]) for want in wants}


def _formed(want: Wanted, array: Array) -> Array:
    return top_classes(want.name, array, want.classes) if want.classes else array


def top_classes(name: str, array: Array, count: int) -> Array:
    """Return the `count` largest values of each row as BYTES [rows, count], fewer where a row has no more.

    Raises InvalidInput for an output without numbers, and for more than MOST_TEXTS values in all.
    """
    if array.dtype.kind not in "iuf":
        raise InvalidInput(f"Output {name!r} has no numbers to classify by; ask for it without classification.")
    rows = array.reshape(array.shape[0] if array.ndim else 1, -1)
    count = min(count, rows.shape[1])
    if len(rows) * count > MOST_TEXTS:
        raise InvalidInput(
            f"Output {name!r}: {CLASSIFICATION} gives at most {MOST_TEXTS} values; ask for fewer classes or rows."
        )
    order = _largest(rows, count)
    form = "%f:%d" if array.dtype.kind == "f" else "%d:%d"
    texts = [
        (form % (value, index)).encode()
        for values, indexes in zip(np.take_along_axis(rows, order, axis=1).tolist(), order.tolist(), strict=True)
        for value, index in zip(values, indexes, strict=True)
    ]
    return object_array(texts, order.shape)


def _largest(rows: Array, count: int) -> Array:
    """Return the indexes of each row's `count` largest values, int64 [rows, count]; of equal ones the first first."""
    kept = _kept(rows, count) if count < rows.shape[1] else np.indices(rows.shape)[1]
    # From behind and stable, so that of equal values the first comes first.
    order = np.argsort(np.take_along_axis(rows, kept, axis=1)[:, ::-1], axis=1, kind="stable")[:, ::-1]
    return np.take_along_axis(kept, count - 1 - order, axis=1)


def _kept(rows: Array, count: int) -> Array:
    """As `_largest`, in the order of the indexes: without a sort, for a row may have millions of values."""
    least = np.partition(rows, -count, axis=1)[:, -count, np.newaxis]
    unordered = np.isnan(least)  # NaN counts as the largest, as it does for a sort
    above = ~(rows <= least) & ~unordered
    equal = (rows == least) | (np.isnan(rows) & unordered)
    room = count - above.sum(axis=1, keepdims=True)
    return np.nonzero(above | (equal & (equal.cumsum(axis=1, dtype=np.int32) <= room)))[1].reshape(-1, count)
