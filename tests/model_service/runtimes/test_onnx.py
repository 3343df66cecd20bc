"""Graphs run by ONNX Runtime, and their agreement with model.toml."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from inference_core.errors import ConfigurationError, InvalidInput
from model_service.loading import load, load_and_try
from model_service.repository import ModelOnDisk
from model_service.runtimes import onnx as onnx_runtime
from tests.model_service.repository_tree import add_model, discover

SUM_TOML = """
runtime = "onnx"
inputs = [{name = "left", datatype = "FP32", shape = [-1, 2]}, {name = "right", datatype = "FP32", shape = [-1, 2]}]
outputs = [{name = "sum", datatype = "FP32", shape = [-1, 2]}]
"""
TEXT_TOML = """
runtime = "onnx"
inputs = [{name = "text", datatype = "BYTES", shape = [-1]}]
outputs = [{name = "same", datatype = "BYTES", shape = [-1]}]
"""


def value(name: str, shape: list[str | int], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    """Describe one input or output of a graph."""
    return helper.make_tensor_value_info(name, kind, shape)


def write(
    root: Path,
    toml: str,
    node: onnx.NodeProto,
    inputs: list[onnx.ValueInfoProto],
    output: onnx.ValueInfoProto,
) -> ModelOnDisk:
    """Write a repository whose one model is a graph of one node."""
    folder = add_model(root, "model", toml)
    graph = helper.make_graph([node], "test", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "1" / "model.onnx")
    return discover(root)[0]


def sum_model(root: Path, toml: str = SUM_TOML) -> ModelOnDisk:
    """Write a model that adds FP32 [n, 2] left and right."""
    node = helper.make_node("Add", ["left", "right"], ["sum"])
    return write(root, toml, node, [value("left", ["n", 2]), value("right", ["n", 2])], value("sum", ["n", 2]))


def text_model(root: Path) -> ModelOnDisk:
    """Write a model that returns its strings."""
    node = helper.make_node("Identity", ["text"], ["same"])
    string = TensorProto.STRING
    return write(root, TEXT_TOML, node, [value("text", ["n"], string)], value("same", ["n"], string))


def texts(*elements: bytes) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    """Return a BYTES tensor of one dimension."""
    array = np.empty(len(elements), object)
    array[:] = elements
    return array


def test_a_graph_is_run(tmp_path: Path) -> None:
    """Arrays go in and come out by name, read-only ones of the wire's byte order too."""
    left = np.frombuffer(np.arange(6, dtype="<f4").tobytes(), "<f4").reshape(3, 2)
    runtime = load(sum_model(tmp_path))
    outputs = runtime.predict({"right": np.ones((3, 2), np.float32), "left": left})
    assert outputs.keys() == {"sum"}
    np.testing.assert_array_equal(outputs["sum"], left + 1)
    runtime.close()


@pytest.mark.parametrize("elements", [("Grüße".encode(), b"", b"a\x00b"), ()])
def test_strings_are_bytes_on_our_side(tmp_path: Path, elements: tuple[bytes, ...]) -> None:
    """BYTES go through ONNX strings and come back as object arrays of bytes, none of them lost."""
    same = load(text_model(tmp_path)).predict({"text": texts(*elements)})["same"]
    assert same.dtype == object
    assert same.tolist() == list(elements)


def test_bytes_that_are_no_text_are_invalid_input(tmp_path: Path) -> None:
    """ONNX strings are UTF-8; other bytes are the client's error and name the input."""
    with pytest.raises(InvalidInput, match="Input text holds bytes that are not UTF-8"):
        load(text_model(tmp_path)).predict({"text": texts(b"\xff")})


def test_one_thread_unless_parameters_say_otherwise(tmp_path: Path) -> None:
    """A session computes on one thread, and on more only where model.toml asks for them."""
    model = replace(sum_model(tmp_path), threads=2)
    default = onnx_runtime._options(model, {})
    assert (default.intra_op_num_threads, default.inter_op_num_threads) == (1, 1)
    chosen = onnx_runtime._options(model, {"intra_op_threads": 2})
    assert (chosen.intra_op_num_threads, chosen.inter_op_num_threads) == (2, 1)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ("intra_op_threads = 0", "parameters.intra_op_threads must be a whole number from 1"),
        ("inter_op_threads = true", "parameters.inter_op_threads must be a whole number from 1"),
        ("threads = 2", "parameters.threads: there is no such parameter; did you mean 'intra_op_threads'?"),
    ],
)
def test_bad_parameters_are_refused(tmp_path: Path, parameters: str, reason: str) -> None:
    """A parameter that the runtime does not know, or cannot use, is refused by name."""
    model = sum_model(tmp_path, f"{SUM_TOML}\n[parameters]\n{parameters}\n")
    with pytest.raises(ConfigurationError) as caught:
        load(model)
    assert reason in caught.value.message


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ('"left", datatype = "FP32"', '"left", datatype = "FP64"', "'left' is declared FP64 [-1, 2]"),
        ('"sum", datatype = "FP32", shape = [-1, 2]', '"sum", datatype = "FP32", shape = [-1, 3]', "outputs: 'sum'"),
        ('"sum", datatype = "FP32", shape = [-1, 2]', '"sum", datatype = "FP32", shape = [-1]', "outputs: 'sum'"),
        ('"left", datatype = "FP32", shape = [-1, 2]', '"left", datatype = "FP32", shape = [-1, -1]', "inputs: 'left'"),
        ('name = "sum"', 'name = "total"', "outputs: the model has sum, but no 'total'"),
        ('name = "left"', 'name = "lefts"', "the model has left, right, but no 'lefts'"),
    ],
)
def test_the_description_must_agree_with_the_graph(tmp_path: Path, before: str, after: str, reason: str) -> None:
    """A name, datatype or shape in model.toml that the graph does not have is refused when the model is loaded."""
    assert before in SUM_TOML
    model = sum_model(tmp_path, SUM_TOML.replace(before, after))
    with pytest.raises(ConfigurationError) as caught:
        load_and_try(model)
    assert str(model.file) in caught.value.message
    assert reason in caught.value.message


@pytest.mark.parametrize("content", [None, b"", b"not a graph"])
def test_a_file_that_is_no_graph_is_explained(tmp_path: Path, content: bytes | None) -> None:
    """A missing, empty or broken model.onnx is refused with its path."""
    model = sum_model(tmp_path)
    file = model.folder / "model.onnx"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        load(model)
    assert str(file) in caught.value.message


def test_running_and_loading_say_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """ONNX Runtime writes nothing below an error to the process's output."""
    load(sum_model(tmp_path)).predict({"left": np.ones((1, 2), np.float32), "right": np.ones((1, 2), np.float32)})
    assert capfd.readouterr() == ("", "")


def with_external(root: Path, location: str) -> ModelOnDisk:
    """Write a model whose weights, two numbers, lie in another file."""
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, text in (("location", location), ("offset", "0"), ("length", "8")):
        weights.external_data.add(key=key, value=text)
    node = helper.make_node("Add", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "test", [value("x", ["n", 2])], [value("y", ["n", 2])], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder = add_model(root, "model", 'runtime = "onnx"\n')
    (folder / "1" / "model.onnx").write_bytes(model.SerializeToString())
    return discover(root)[0]


def test_weights_in_the_versions_folder_are_read(tmp_path: Path) -> None:
    """External data beside the graph is part of the model; inputs and outputs are read from the graph."""
    model = with_external(tmp_path, "weights")
    np.array([7, 8], np.float32).tofile(model.folder / "weights")
    complete, runtime = load_and_try(model)
    assert [(one.name, one.datatype, one.shape) for one in complete.description.inputs] == [("x", "FP32", (-1, 2))]
    assert runtime.predict({"x": np.zeros((1, 2), np.float32)})["y"].tolist() == [[7, 8]]


@pytest.mark.parametrize(
    "location", ["../weights", "../../../outside", "/ABSOLUTE", "deep/../../weights", "link", "hard", "deep/../hard"]
)
def test_weights_elsewhere_are_refused(tmp_path: Path, location: str) -> None:
    """A graph cannot read a file outside of its version's folder, by no kind of path and by no link."""
    outside = tmp_path / "outside"
    np.array([7, 8], np.float32).tofile(outside)
    model = with_external(tmp_path / "models", location.replace("/ABSOLUTE", str(outside)))
    np.array([7, 8], np.float32).tofile(model.file.parent / "weights")
    (model.folder / "deep").mkdir()
    (model.folder / "link").symlink_to(outside)
    os.link(outside, model.folder / "hard")
    with pytest.raises(ConfigurationError, match=r"model\.onnx cannot be loaded"):
        load(model)


def test_a_hard_link_that_is_no_weights_is_left_alone(tmp_path: Path) -> None:
    """Installers link files of a package: what the graph does not name may have other names, as may the graph."""
    model = sum_model(tmp_path)
    (model.folder / "notes").write_text("text")
    for name in ("notes", "model.onnx"):
        os.link(model.folder / name, tmp_path / name)
    assert [tensor.name for tensor in load(model).outputs] == ["sum"]


def one_row_model(root: Path, output: list[str | int], toml: str = 'runtime = "onnx"\n') -> ModelOnDisk:
    """Write a model that was exported for one row: it doubles FP32 [1, 2]."""
    node = helper.make_node("Add", ["x", "x"], ["y"])
    return write(root, toml, node, [value("x", [1, 2])], value("y", output))


@pytest.mark.parametrize("output", [[1, 2], ["n", 2]])
def test_a_graph_for_one_row_answers_any_number(tmp_path: Path, output: list[str | int]) -> None:
    """Its rows are computed one after the other, and it shares no batches, whatever model.toml says."""
    complete, runtime = load_and_try(one_row_model(tmp_path, output, 'runtime = "onnx"\nmax_batch_size = 32\n'))
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    for count in (1, 3):
        np.testing.assert_array_equal(runtime.predict({"x": rows[:count]})["y"], 2 * rows[:count])
    assert [one.shape for one in (*complete.description.inputs, *complete.description.outputs)] == [(-1, 2), (-1, 2)]
    assert complete.description.max_batch_size == 1


def test_other_graphs_share_batches(tmp_path: Path) -> None:
    """An open first dimension leaves the batch size as model.toml has it."""
    complete, runtime = load_and_try(sum_model(tmp_path, f"max_batch_size = 32\n{SUM_TOML}"))
    assert complete.description.max_batch_size == 32
    runtime.close()


def test_strings_go_row_by_row_too(tmp_path: Path) -> None:
    """BYTES of a graph for one row come back each in its place."""
    string = TensorProto.STRING
    node = helper.make_node("Identity", ["text"], ["same"])
    model = write(tmp_path, TEXT_TOML, node, [value("text", [1], string)], value("same", [1], string))
    assert load(model).predict({"text": texts(b"a", b"", b"c")})["same"].tolist() == [b"a", b"", b"c"]


def test_rows_of_different_shapes_are_to_be_sent_one_by_one(tmp_path: Path) -> None:
    """Where each row has an answer of another size, no tensor holds them all; alone each of them is answered."""
    node = helper.make_node("Compress", ["x", "keep"], ["y"], axis=1)
    given = [value("x", [1, 2]), value("keep", [1, 2], TensorProto.BOOL)]
    folder = add_model(tmp_path, "model", 'runtime = "onnx"\n')
    flat = helper.make_node("Squeeze", ["keep"], ["flat"])
    node.input[1] = "flat"
    graph = helper.make_graph([flat, node], "test", given, [value("y", [1, "found"])])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        folder / "1" / "model.onnx",
    )
    runtime = load(discover(tmp_path)[0])
    rows, keep = np.ones((2, 2), np.float32), np.array([[True, False], [True, True]])
    assert runtime.predict({"x": rows[1:], "keep": keep[1:]})["y"].tolist() == [[1, 1]]
    with pytest.raises(InvalidInput, match="output y has another shape for each of these rows; send them one by one"):
        runtime.predict({"x": rows, "keep": keep})


@pytest.mark.parametrize("shape", [[4, 2], []])
def test_a_graph_that_counts_no_rows_is_refused(tmp_path: Path, shape: list[str | int]) -> None:
    """A graph for four rows at once, or for a single number, is refused with what to do when it is exported."""
    node = helper.make_node("Identity", ["x"], ["y"])
    model = write(tmp_path, 'runtime = "onnx"\n', node, [value("x", shape)], value("y", shape))
    with pytest.raises(ConfigurationError, match=r"first dimension counts rows.*dynamic_axes=\{'x': \{0: 'rows'\}\}"):
        load(model)
