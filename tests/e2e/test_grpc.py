"""The real grpcurl explores and asks the running workers by reflection."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from inference_core.settings import CHECKOUT
from tests.e2e.system import System
from tests.tools import tool

DIGIT = json.loads((CHECKOUT / "model_service" / "models" / "digits" / "example.json").read_text())


@pytest.fixture(params=["tcp", "unix"])
def address(request: pytest.FixtureRequest, system: System) -> tuple[str, ...]:
    """Return how grpcurl reaches worker 0: its port, then its Unix socket."""
    if request.param == "tcp":
        return (f"localhost:{system.grpc_port}",)
    return ("-unix", f"unix://{system.run_folder}/inference-0.sock")


def grpcurl(system: System, address: tuple[str, ...], *words: str, request: object = None) -> str:
    """Return what grpcurl printed."""
    data = () if request is None else ("-d", json.dumps(request))
    done = system.run(str(tool("grpcurl")), "-plaintext", *data, *address, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def answer(system: System, address: tuple[str, ...], method: str, request: object) -> Any:
    """Return a method's answer as parsed JSON."""
    return json.loads(grpcurl(system, address, method, request=request))


def test_list_shows_every_service(system: System, address: tuple[str, ...]) -> None:
    """`grpcurl list` shows the origin's service, the protocol's, health and reflection."""
    assert grpcurl(system, address, "list").split() == [
        "ModelInference",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "inference.GRPCInferenceService",
    ]


def test_describe_shows_the_origins_method(system: System, address: tuple[str, ...]) -> None:
    """`grpcurl describe ModelInference` shows Predict with its messages."""
    described = grpcurl(system, address, "describe", "ModelInference")
    assert "rpc Predict ( .PredictRequest ) returns ( .PredictResponse );" in described


def test_predict(system: System, address: tuple[str, ...]) -> None:
    """The origin's method classifies a text."""
    found = answer(system, address, "ModelInference/Predict", {"prompt": "What a wonderful day"})
    assert (found["class_id"], found["label"], found["model_name"]) == (2, "Positive", "sentiment")


def test_model_infer_with_typed_contents(system: System, address: tuple[str, ...]) -> None:
    """A typed request gets a typed, readable answer."""
    tensor = {
        "name": "features",
        "datatype": "FP32",
        "shape": [1, 64],
        "contents": {"fp32_contents": DIGIT["features"]},
    }
    request = {"model_name": "digits", "id": "one", "inputs": [tensor], "outputs": [{"name": "label"}]}
    found = answer(system, address, "inference.GRPCInferenceService/ModelInfer", request)
    label = base64.b64decode(found["outputs"][0]["contents"]["bytes_contents"][0]).decode()
    assert (found["id"], found["model_name"], label.isdigit()) == ("one", "digits", True)


def test_model_infer_with_raw_contents(system: System, address: tuple[str, ...]) -> None:
    """A raw request gets a raw answer with the same class."""
    rows = np.array([DIGIT["features"], DIGIT["features"]], "<f4")
    request = {
        "model_name": "digits",
        "inputs": [{"name": "features", "datatype": "FP32", "shape": [2, 64]}],
        "raw_input_contents": [base64.b64encode(rows.tobytes()).decode()],
        "outputs": [{"name": "class_id"}],
    }
    found = answer(system, address, "inference.GRPCInferenceService/ModelInfer", request)
    classes = np.frombuffer(base64.b64decode(found["raw_output_contents"][0]), "<i4")
    assert classes.tolist() == [classes[0]] * 2


def test_health_of_a_model(system: System, address: tuple[str, ...]) -> None:
    """Each model has a health status under its own name."""
    found = answer(system, address, "grpc.health.v1.Health/Check", {"service": "digits"})
    assert found == {"status": "SERVING"}


def test_a_wrong_shape_is_the_callers_mistake(system: System, address: tuple[str, ...]) -> None:
    """A request that does not fit ends with INVALID_ARGUMENT and a sentence."""
    data = json.dumps({"features": [1.0], "model_name": "digits"})
    done = system.run(str(tool("grpcurl")), "-plaintext", "-d", data, *address, "ModelInference/Predict")
    assert done.returncode == 64 + 3
    assert "input features has shape [-1, 64]" in done.stderr
