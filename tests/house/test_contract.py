"""The wire contract: committed code is what the .proto files generate, and the origin's numbers stay."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from google.protobuf.message import Message

from inference_pb import inference_pb2, open_inference_pb2

ROOT = Path(__file__).resolve().parents[2]
PROTO = ROOT / "proto"


def numbers(message: type[Message]) -> dict[str, int]:
    """Return a message's field numbers by name."""
    return {field.name: field.number for field in message.DESCRIPTOR.fields}


def test_generated_code_is_current(tmp_path: Path) -> None:
    """Generating again from proto/*.proto changes nothing."""
    virtual = [f"inference_pb/{name}.proto" for name in ("inference", "open_inference")]
    outputs = [f"--{kind}={tmp_path}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    outputs.append(f"--mypy_grpc_out=quiet:{tmp_path}")
    scripts = Path(sys.executable).parent
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-Iinference_pb={PROTO}", *outputs, *virtual],
        check=True,
        env={**os.environ, "PATH": f"{scripts}:{os.environ['PATH']}"},
    )
    generated = {file.name: file.read_text() for file in (tmp_path / "inference_pb").iterdir()}
    committed = {name: (PROTO / "inference_pb" / name).read_text() for name in generated}
    assert len(generated) == 8
    assert committed == generated


def test_the_origins_contract_keeps_its_numbers() -> None:
    """A client compiled against the origin's contract keeps working."""
    assert inference_pb2.DESCRIPTOR.package == ""
    service = inference_pb2.DESCRIPTOR.services_by_name["ModelInference"]
    assert [method.name for method in service.methods] == ["Predict"]
    assert numbers(inference_pb2.PredictRequest) == {"features": 1, "model_name": 2, "prompt": 3}
    answer = numbers(inference_pb2.PredictResponse)
    assert answer == {"class_id": 1, "confidence": 2, "error": 3, "label": 4, "model_name": 5, "model_version": 6}


def test_the_open_inference_protocol_keeps_its_numbers() -> None:
    """Any V2 client can read and write the messages that carry tensors."""
    assert open_inference_pb2.DESCRIPTOR.package == "inference"
    assert numbers(open_inference_pb2.ModelInferRequest) == {
        "model_name": 1,
        "model_version": 2,
        "id": 3,
        "parameters": 4,
        "inputs": 5,
        "outputs": 6,
        "raw_input_contents": 7,
    }
    assert numbers(open_inference_pb2.ModelInferResponse) == {
        "model_name": 1,
        "model_version": 2,
        "id": 3,
        "parameters": 4,
        "outputs": 5,
        "raw_output_contents": 6,
    }
    assert numbers(open_inference_pb2.InferTensorContents) == {
        "bool_contents": 1,
        "int_contents": 2,
        "int64_contents": 3,
        "uint_contents": 4,
        "uint64_contents": 5,
        "fp32_contents": 6,
        "fp64_contents": 7,
        "bytes_contents": 8,
    }


def test_the_extensions_keep_tritons_numbers() -> None:
    """Statistics, configuration and the repository's control are read by Triton's own clients."""
    assert numbers(open_inference_pb2.ModelStatistics) == {
        "name": 1,
        "version": 2,
        "last_inference": 3,
        "inference_count": 4,
        "execution_count": 5,
        "inference_stats": 6,
        "batch_stats": 7,
        "memory_usage": 8,
        "response_stats": 9,
    }
    stages = {"compute_input": 4, "compute_infer": 5, "compute_output": 6}
    outcomes = {"success": 1, "fail": 2, "queue": 3, "cache_hit": 7, "cache_miss": 8}
    assert numbers(open_inference_pb2.InferStatistics) == {**outcomes, **stages}
    assert numbers(open_inference_pb2.StatisticDuration) == {"count": 1, "ns": 2}
    assert numbers(open_inference_pb2.RepositoryModelLoadRequest) == {
        "repository_name": 1,
        "model_name": 2,
        "parameters": 3,
    }
    assert numbers(open_inference_pb2.ModelRepositoryParameter) == {
        "bool_param": 1,
        "int64_param": 2,
        "string_param": 3,
        "bytes_param": 4,
    }
    configuration = numbers(open_inference_pb2.ModelConfig)
    assert (configuration["input"], configuration["output"], configuration["parameters"]) == (5, 6, 14)
