"""Bodies of the V2 protocol as a client would build them, from arrays."""

from __future__ import annotations

from typing import Any

import msgspec

from inference_core.tensors import Array, Arrays, datatype_of, to_raw

MODEL = {"name": "features", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 1.5]}


def tensor(name: str, array: Array, *, nested: bool = False) -> dict[str, Any]:
    """Return an input with its values in JSON."""
    values = array.tolist() if nested else array.ravel().tolist()
    if array.dtype == object:
        values = [element.decode() for element in array.flat]
    return {**described(name, array), "data": values}


def described(name: str, array: Array) -> dict[str, Any]:
    """Return an input without values."""
    return {"name": name, "datatype": datatype_of(array), "shape": list(array.shape)}


def body(arrays: Arrays, in_json: set[str], **more: Any) -> tuple[bytes, int]:
    """Return a request's body and the length of its JSON; the inputs named have their values there."""
    inputs, tail = [], b""
    for name, array in arrays.items():
        if name in in_json:
            inputs.append(tensor(name, array))
        else:
            raw = to_raw(array)
            inputs.append({**described(name, array), "parameters": {"binary_data_size": len(raw)}})
            tail += raw
    head = msgspec.json.encode({"inputs": inputs, **more})
    return head + tail, len(head)
