"""Calls of the V2 protocol for the rows about names and tensors: over gRPC at the gateway's door and at a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc

from inference_pb import open_inference_pb2 as wire
from inference_pb.open_inference_pb2_grpc import GRPCInferenceServiceStub
from tests.e2e.catalogue_bench import Bench

UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


def code_of(ask: Callable[..., Any], request: Any, seconds: float = 20.0) -> str:
    """Ask and return the name of the gRPC status."""
    try:
        ask(request, timeout=seconds)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def doors(bench: Bench) -> Iterator[GRPCInferenceServiceStub]:
    """Connect to the gateway's gRPC door, then to worker 0."""
    for port in (bench.system.front_port, bench.system.grpc_port):
        with grpc.insecure_channel(f"127.0.0.1:{port}", UNLIMITED) as channel:
            yield GRPCInferenceServiceStub(channel)


def prompt_request(model: str = "sentiment", version: str = "") -> wire.ModelInferRequest:
    """Return a request for the shipped model that takes a text."""
    request = wire.ModelInferRequest(model_name=model, model_version=version)
    request.inputs.add(name="prompt", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"fine")
    return request


def named_calls(bench: Bench, name: str) -> Iterator[str]:
    """Put a name into every place of the protocol that has one, and yield how each call ended."""
    for stub in doors(bench):
        yield code_of(stub.ModelInfer, prompt_request(name))
        yield code_of(stub.ModelInfer, prompt_request(version=name))
        yield code_of(stub.ModelMetadata, wire.ModelMetadataRequest(name=name))
        yield code_of(stub.ModelConfig, wire.ModelConfigRequest(name="sentiment", version=name))
        yield code_of(stub.ModelStatistics, wire.ModelStatisticsRequest(name=name))
        yield code_of(stub.RepositoryModelLoad, wire.RepositoryModelLoadRequest(model_name=name))
        yield code_of(stub.RepositoryModelUnload, wire.RepositoryModelUnloadRequest(model_name=name))
        file = {f"file:{name}": wire.ModelRepositoryParameter(bytes_param=b"x")}
        yield code_of(
            stub.RepositoryModelLoad, wire.RepositoryModelLoadRequest(model_name="sentiment", parameters=file)
        )
        yield code_of(
            stub.RepositoryModelLoad, wire.RepositoryModelLoadRequest(repository_name=name, model_name="sentiment")
        )
