"""Arrays of every datatype that the protocol has, as hypothesis strategies."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

from inference_core.tensors import DTYPES, Array

SHAPES = numpy_strategies.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
NAMES = st.text(max_size=8)


def arrays(datatype: str) -> st.SearchStrategy[Array]:
    """Return arrays of one datatype in any small shape, with empty ones, infinities and any bytes."""
    if datatype == "BYTES":
        return SHAPES.flatmap(_byte_arrays)
    return numpy_strategies.arrays(DTYPES[datatype], SHAPES)


def any_arrays(*without: str) -> st.SearchStrategy[Array]:
    """Return arrays of any datatype, except those named."""
    return st.sampled_from([name for name in DTYPES if name not in without]).flatmap(arrays)


def same(one: Array, other: Array) -> bool:
    """Tell whether two arrays are the same in dtype, shape and every bit of a value, NaN included."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.dtype == object:
        return bool((one == other).all())
    return one.tobytes() == other.tobytes()


def _byte_arrays(shape: tuple[int, ...]) -> st.SearchStrategy[Array]:
    count = int(np.prod(shape, dtype=int))
    return st.lists(st.binary(max_size=12), min_size=count, max_size=count).map(lambda values: _shaped(values, shape))


def _shaped(values: list[bytes], shape: tuple[int, ...]) -> Array:
    array: np.ndarray[Any, np.dtype[Any]] = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape)
