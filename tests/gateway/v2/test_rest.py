"""What a REST body asks for is what was meant, and what is answered is what the model said."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.v2 import rest
from gateway.v2.binary import header_length
from gateway.v2.documents import ModelMetadata, TensorMetadata
from inference_core.errors import InferenceHubError, InvalidInput, NotOffered
from inference_core.inference import Inference
from inference_core.selection import selected
from inference_core.tensors import DTYPES, Array, Arrays, from_raw
from tests.gateway.v2.bodies import MODEL, body, tensor
from tests.inference_core.strategies import any_arrays, arrays, same

TELLABLE = [name for name in DTYPES if name != "FP16"]
NAMES = st.text(min_size=1, max_size=8)


def json_can_tell(array: Array) -> bool:
    """Tell whether JSON has all of an array's values."""
    if array.dtype == object:
        return all(_is_text(element) for element in array.flat)
    return array.dtype != np.float16 and bool(array.dtype.kind != "f" or np.isfinite(array).all())


def _is_text(element: bytes) -> bool:
    try:
        element.decode()
    except UnicodeDecodeError:
        return False
    return True


def asking(document: dict[str, Any], tail: bytes = b"") -> rest.Asking:
    """Return what a document and the bytes behind it ask for."""
    head = msgspec.json.encode(document)
    return rest.read(memoryview(head + tail), len(head))


def answered(inference: Inference, **wants: Any) -> tuple[dict[str, Any], bytes]:
    """Return the JSON and the bytes behind it of an answer."""
    want = asking({"inputs": [MODEL], **wants})
    outputs = selected(inference.model, inference.outputs, want.asked.wanted)
    answer = rest.written(want, Inference(inference.model, inference.version, outputs))
    whole = b"".join(answer.parts)
    length = len(whole) if answer.json_bytes is None else answer.json_bytes
    decoded: dict[str, Any] = msgspec.json.decode(whole[:length])
    return decoded, whole[length:]


def read_back(answer: dict[str, Any], tail: bytes) -> Arrays:
    """Return an answer's arrays, as a client of the protocol reads them."""
    found: Arrays = {}
    for output in answer["outputs"]:
        name, datatype, shape = output["name"], output["datatype"], output["shape"]
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            values = [v.encode() for v in output["data"]] if datatype == "BYTES" else output["data"]
            found[name] = np.array(values, DTYPES[datatype]).reshape(shape)
        else:
            found[name], tail = from_raw(name, datatype, shape, tail[:size]), tail[size:]
    assert tail == b""
    return found


@given(st.dictionaries(NAMES, any_arrays(), min_size=1, max_size=4), st.data())
def test_a_request_is_lossless(sent: Arrays, data: st.DataObject) -> None:
    """Named arrays of any datatype arrive bit for bit, binary, in JSON where that can tell them, and mixed."""
    tellable = {name for name, array in sent.items() if json_can_tell(array)}
    in_json = data.draw(st.sets(st.sampled_from(sorted(tellable)))) if tellable else set()
    whole, length = body(sent, in_json, id="7")
    found = rest.read(memoryview(whole), length).asked
    assert found.id == "7"
    assert list(found.inputs) == list(sent)
    for name, array in sent.items():
        assert same(found.inputs[name], array) or (name in in_json and bool((found.inputs[name] == array).all()))


@given(st.dictionaries(NAMES, any_arrays(), min_size=1, max_size=4), st.data())
def test_an_answer_is_lossless(outputs: Arrays, data: st.DataObject) -> None:
    """Each output comes back bit for bit in the form that was asked for."""
    binary = {name: data.draw(st.booleans()) or not json_can_tell(array) for name, array in outputs.items()}
    wants = [{"name": name, "parameters": {"binary_data": is_binary}} for name, is_binary in binary.items()]
    found = read_back(*answered(Inference("m", "1", outputs), outputs=wants))
    assert list(found) == list(outputs)
    for name, array in outputs.items():
        assert same(found[name], array) or (not binary[name] and bool((found[name] == array).all()))


@pytest.mark.parametrize("datatype", [name for name in TELLABLE if name != "BYTES"])
@given(data=st.data())
def test_nested_and_flat_data_mean_the_same(datatype: str, data: st.DataObject) -> None:
    """`data` may be nested like the shape."""
    array = data.draw(arrays(datatype).filter(json_can_tell))
    documents = [
        {"inputs": [tensor("x", array.reshape(array.shape or (1,)), nested=nested)]} for nested in (False, True)
    ]
    flat, nested = [asking(document).asked.inputs["x"] for document in documents]
    assert same(flat, nested)


@given(st.binary(max_size=200), st.integers(min_value=-2, max_value=210))
def test_no_body_is_unexpected(junk: bytes, length: int) -> None:
    """Whatever a body is, reading it raises nothing but the expected errors."""
    with pytest.raises(InferenceHubError, match=r"\S"):
        rest.read(memoryview(junk), header_length(str(length), len(junk)))


X = {"name": "x", "datatype": "FP32", "shape": [1, 2]}
BINARY_X = {**X, "parameters": {"binary_data_size": 8}}
THREE_CLASSES = {"name": "y", "parameters": {"classification": "3"}}
REFUSED: dict[str, tuple[dict[str, Any], bytes, str]] = {
    "no inputs": ({"inputs": []}, b"", "inputs"),
    "no values": ({"inputs": [X]}, b"", "has no values"),
    "too few values": ({"inputs": [{**X, "data": [1]}]}, b"", "needs 2 values"),
    "too many values": ({"inputs": [{**X, "data": [1, 2, 3]}]}, b"", "needs 2 values"),
    "ragged": ({"inputs": [{**X, "shape": [2, 2], "data": [[1, 2], [3]]}]}, b"", "sizes of its shape"),
    "nested too deeply": ({"inputs": [{**X, "data": [[[1, 2]]]}]}, b"", "flat or nested"),
    "a text": ({"inputs": [{**X, "data": "12"}]}, b"", "array of numbers"),
    "texts for numbers": ({"inputs": [{**X, "data": ["1", "2"]}]}, b"", "array of numbers"),
    "booleans for numbers": ({"inputs": [{**X, "data": [True, False]}]}, b"", "array of numbers"),
    "null": ({"inputs": [{**X, "data": [1, None]}]}, b"", "array of numbers"),
    "fractions": ({"inputs": [{**X, "datatype": "INT32", "data": [1.5, 2]}]}, b"", "array of integers"),
    "numbers for booleans": ({"inputs": [{**X, "datatype": "BOOL", "data": [1, 0]}]}, b"", "array of booleans"),
    "too large for INT8": ({"inputs": [{**X, "datatype": "INT8", "data": [1, 128]}]}, b"", "does not fit into INT8"),
    "negative UINT64": ({"inputs": [{**X, "datatype": "UINT64", "data": [1, -1]}]}, b"", "does not fit into UINT64"),
    "too large for UINT64": ({"inputs": [{**X, "datatype": "UINT64", "data": [1, 2**64]}]}, b"", "does not fit"),
    "too large for FP32": ({"inputs": [{**X, "data": [1, 1e300]}]}, b"", "does not fit into FP32"),
    "FP16": ({"inputs": [{**X, "datatype": "FP16", "data": [1, 2]}]}, b"", "JSON has no FP16"),
    "another datatype": ({"inputs": [{**X, "datatype": "FP31", "data": [1, 2]}]}, b"", "FP31"),
    "a negative size": ({"inputs": [{**X, "shape": [-1, 2], "data": [1, 2]}]}, b"", "shape"),
    "too many dimensions": ({"inputs": [{**X, "shape": [1] * 33, "data": [1]}]}, b"", "shape"),
    "a shape beyond all memory": ({"inputs": [{**X, "shape": [2**40, 2**40], "data": [1]}]}, b"", "multiply"),
    "given twice": ({"inputs": [MODEL, MODEL]}, b"", "given twice"),
    "an unknown key": ({"inputs": [MODEL], "paramters": {}}, b"", "paramters"),
    "data beside a size": ({"inputs": [{**BINARY_X, "data": [1, 2]}]}, b"12345678", "one of the two"),
    "bytes that are not there": ({"inputs": [BINARY_X]}, b"1234", "only 4 bytes are left"),
    "bytes left over": ({"inputs": [BINARY_X]}, b"123456789", "1 bytes follow"),
    "a size that does not fit": ({"inputs": [{**X, "parameters": {"binary_data_size": 4}}]}, b"1234", "needs 8 bytes"),
    "a size that is none": ({"inputs": [{**X, "parameters": {"binary_data_size": True}}]}, b"", "number of bytes"),
    "a negative binary size": ({"inputs": [{**X, "parameters": {"binary_data_size": -1}}]}, b"", "number of bytes"),
    "an output twice": ({"inputs": [MODEL], "outputs": [{"name": "y"}, {"name": "y"}]}, b"", "once"),
    "a form that is none": ({"inputs": [MODEL], "parameters": {"binary_data_output": 1}}, b"", "true or false"),
    "classes that are none": ({"inputs": [MODEL], "outputs": [THREE_CLASSES]}, b"", "number of classes"),
}


@pytest.mark.parametrize(("document", "tail", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_meant_is_refused(document: dict[str, Any], tail: bytes, words: str) -> None:
    """Each mistake gets a sentence that names it."""
    with pytest.raises(InvalidInput, match=words):
        asking(document, tail)


@pytest.mark.parametrize("text", ["-1", "9", "1e3", "", "x", " 3", "٣", "9" * 40])
def test_a_length_that_cannot_be_is_refused(text: str) -> None:
    """Inference-Header-Content-Length lies within the body."""
    with pytest.raises(InvalidInput, match="counts the JSON bytes"):
        header_length(text, 8)


def test_shared_memory_is_not_offered() -> None:
    """A client that would place tensors in shared memory is told that there is none."""
    with pytest.raises(NotOffered, match="shared_memory_region"):
        asking({"inputs": [{**X, "parameters": {"shared_memory_region": "r"}}]})


OUTPUTS = {"a": np.array([[1.5, 2.5, 2.5]], "<f4"), "b": np.array([[7]], "<i8")}


def test_outputs_are_answered_as_asked() -> None:
    """Only those that were named, in that order, with the id."""
    answer, _ = answered(Inference("m", "2", OUTPUTS), outputs=[{"name": "b"}, {"name": "a"}], id="q")
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("m", "2", "q")
    assert [output["name"] for output in answer["outputs"]] == ["b", "a"]


def test_an_outputs_own_form_wins() -> None:
    """`binary_data` of an output comes before `binary_data_output` of the request."""
    answer, tail = answered(
        Inference("m", "2", OUTPUTS),
        parameters={"binary_data_output": True},
        outputs=[{"name": "a"}, {"name": "b", "parameters": {"binary_data": False}}],
    )
    first, second = answer["outputs"]
    assert (first["parameters"], second["data"], len(tail)) == ({"binary_data_size": 12}, [7], 12)


def test_an_unknown_output_is_refused() -> None:
    """The sentence lists those that there are."""
    with pytest.raises(InvalidInput, match="its outputs are a, b"):
        answered(Inference("m", "2", OUTPUTS), outputs=[{"name": "c"}])


@pytest.mark.parametrize(("name", "texts"), [("a", [b"2.500000:1", b"2.500000:2"]), ("b", [b"7:0"])])
def test_classification_gives_the_largest_first(name: str, texts: list[bytes]) -> None:
    """`value:index`, of equal values the first one first, no more than there are."""
    answer, tail = answered(Inference("m", "2", OUTPUTS), outputs=[{"name": name, "parameters": {"classification": 2}}])
    assert read_back(answer, tail)[name].tolist() == [texts]


def test_texts_are_not_classified() -> None:
    """An output without numbers has no largest value."""
    texts = {"a": np.array([b"x"], object)}
    with pytest.raises(InvalidInput, match="no numbers"):
        answered(Inference("m", "2", texts), outputs=[{"name": "a", "parameters": {"classification": 2}}])


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([1], "<f2"), "is FP16"),
        (np.array([np.nan], "<f4"), "not finite"),
        (np.array([b"\xff"], object), "not UTF-8"),
    ],
)
def test_what_json_cannot_tell_is_to_be_asked_for_in_binary(array: Array, words: str) -> None:
    """No value is changed in silence."""
    with pytest.raises(InvalidInput, match=f"{words}.*binary"):
        answered(Inference("m", "2", {"y": array}))


def metadata(datatype: str, *shapes: list[int]) -> ModelMetadata:
    """Return the metadata of a model with inputs of these shapes."""
    inputs = [TensorMetadata(f"x{index}", datatype, shape) for index, shape in enumerate(shapes)]
    return ModelMetadata("m", ["1"], "", inputs, [])


@pytest.mark.parametrize(
    ("datatype", "shape", "sent", "expected"),
    [
        ("FP32", [-1, 2], b"\0" * 8, (1, 2)),
        ("FP32", [-1, -1], b"\0" * 12, (1, 3)),
        ("INT64", [-1, 2, -1], b"\0" * 48, (1, 2, 3)),
        ("BYTES", [-1], b"\xff\0", (1,)),
        ("BYTES", [-1, 1], b"", (1, 1)),
    ],
)
def test_a_body_of_one_tensor_needs_no_json(datatype: str, shape: list[int], sent: bytes, expected: Any) -> None:
    """The shape follows from the model's and the number of bytes; all outputs come back binary."""
    found = rest.read_only_tensor(memoryview(sent), metadata(datatype, shape))
    assert found.asked.inputs["x0"].shape == expected
    assert found.all_binary


@pytest.mark.parametrize(
    ("datatype", "shapes"),
    [("FP32", [[-1, 2]]), ("FP32", [[-1, -1, -1]]), ("FP32", [[-1, 2], [-1, 2]]), ("BYTES", [[-1, 2]])],
)
def test_a_body_of_one_tensor_that_is_not_clear_is_refused(datatype: str, shapes: list[list[int]]) -> None:
    """A size that does not fit, several variable sizes, several inputs, several texts."""
    with pytest.raises(InvalidInput):
        rest.read_only_tensor(memoryview(b"1234567"), metadata(datatype, *shapes))
