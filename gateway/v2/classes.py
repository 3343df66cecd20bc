"""The classification extension: an output's largest values as texts `value:index`, the largest first.

Source: Triton's extension classification; its third part, a label, needs a list that models here do not have.
"""

from __future__ import annotations

import numpy as np

from inference_core.errors import InvalidInput
from inference_core.tensors import Array, object_array


def top_classes(name: str, array: Array, count: int) -> Array:
    """Return the `count` largest values of each row as BYTES [rows, count], fewer where a row has no more.

    Raises InvalidInput for an output without numbers.
    """
    if array.dtype.kind not in "iuf":
        raise InvalidInput(f"Output {name!r} has no numbers to classify by; ask for it without classification.")
    rows = array.reshape(array.shape[0] if array.ndim else 1, -1)
    # From behind and stable, so that of equal values the first comes first.
    order = rows.shape[1] - 1 - np.argsort(rows[:, ::-1], axis=1, kind="stable")[:, ::-1][:, :count]
    form = "%f:%d" if array.dtype.kind == "f" else "%d:%d"
    texts = [
        (form % (row[index], index)).encode()
        for row, indexes in zip(rows.tolist(), order.tolist(), strict=True)
        for index in indexes
    ]
    return object_array(texts, order.shape)
