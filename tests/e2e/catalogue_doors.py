"""Rows D20 and D21: schemathesis at every route, and the same random requests at both doors."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from typing import Any
from urllib.parse import quote

import grpc
import httpx
import msgspec
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

from inference_core.settings import CHECKOUT
from inference_core.tensors import CONTENTS, Array, datatype_of, from_raw, read_tensors, to_raw
from inference_pb import open_inference_pb2 as wire
from inference_pb.open_inference_pb2_grpc import GRPCInferenceServiceStub
from tests.e2e.catalogue_bench import Bench, row, unless
from tests.e2e.outcome import Outcome
from tests.inference_core.strategies import any_arrays

FUZZ_SECONDS = 20
EXAMPLES, SUITE_EXAMPLES = 1000, 60
CLASS_OF = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    413: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""Triton's statuses over REST, by what they are called over gRPC."""

JSON_LENGTH = "Inference-Header-Content-Length"
MODELS = st.sampled_from(["v1-mock", "v1-mock", "digits", "digits", "sentiment", "nobody", "di gits", "..."])
VERSIONS = st.sampled_from(["", "", "", "1", "2", "9", "x y"])
NAMES = st.sampled_from(["features", "features", "features", "prompt", "x", ""])
OUTPUTS = st.lists(st.sampled_from(["class_id", "confidence", "probabilities", "label", "none"]), max_size=3)
PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "priority": st.sampled_from([0, 1, 2, -1, True, "a"]),
        "timeout": st.sampled_from([0, 10**7, -1, True, "a"]),  # a short one would be a race
        "sequence_id": st.sampled_from([0, 1, "a"]),
        "x": st.sampled_from([1, False, ""]),
    },
)
ROWS = st.integers(1, 3)
Found = tuple[str, Any]
Parameter = bool | int | str


class Asked(msgspec.Struct, frozen=True):
    """One request, before it has a form: `stretched` is added to the first size of every shape that is told."""

    model: str
    version: str
    inputs: dict[str, Array]
    outputs: list[tuple[str, int]]
    parameters: dict[str, Parameter]
    stretched: int
    is_raw: bool

    def shape(self, array: Array) -> list[int]:
        """Return the shape that is told of an array."""
        first, *rest = array.shape or (0,)
        return [first + self.stretched, *rest] if array.ndim else []


def _rows() -> st.SearchStrategy[Array]:
    """Return what the models for numbers take."""
    numbers = st.floats(-100, 100, width=32)
    return ROWS.flatmap(lambda n: numpy_strategies.arrays(np.float32, (n, 64), elements=numbers, fill=numbers))


def _prompts() -> st.SearchStrategy[Array]:
    """Return what the model for texts takes."""
    return st.lists(st.text(max_size=8).map(str.encode), min_size=1, max_size=3).map(_texts)


def _texts(elements: list[bytes]) -> Array:
    array = np.empty(len(elements), object)
    array[:] = elements
    return array


def _requests(**parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Asked]:
    """Return requests of these parts, and of parts that fit every model where none are given."""
    plain = {
        "version": st.just(""),
        "outputs": st.just([]),
        "parameters": st.just({}),
        "stretched": st.just(0),
        "is_raw": st.booleans(),
    }
    return st.builds(Asked, **{**plain, **parts}).filter(lambda asked: asked.is_raw or _is_json(asked))


WANTED = OUTPUTS.map(lambda names: [(name, number) for number, name in enumerate(names)])
"""Each as so many classes as its place says; the first one as it is."""

FITTING = st.one_of(
    _requests(model=st.sampled_from(["digits", "v1-mock"]), inputs=st.fixed_dictionaries({"features": _rows()})),
    _requests(model=st.just("sentiment"), inputs=st.fixed_dictionaries({"prompt": _prompts()})),
    _requests(model=st.just("digits"), inputs=st.fixed_dictionaries({"features": _rows()}), outputs=WANTED),
)
REQUESTS = FITTING | _requests(
    model=MODELS,
    version=VERSIONS,
    inputs=st.dictionaries(NAMES, st.one_of(_rows(), _prompts(), any_arrays()), min_size=1, max_size=2),
    outputs=WANTED,
    parameters=PARAMETERS,
    stretched=st.sampled_from([0, 0, 0, 0, 1, -1]),
)


def _is_json(asked: Asked) -> bool:
    """Tell whether JSON has such values: no FP16, nothing that is not finite, no bytes that are not UTF-8."""
    return all(map(_has_json, asked.inputs.values()))


def _has_json(array: Array) -> bool:
    if array.dtype == object:
        return all(element.decode(errors="replace").encode() == element for element in array.flat)
    return datatype_of(array) != "FP16" and (array.dtype.kind != "f" or bool(np.isfinite(array).all()))


@row("D21", "the same random request over REST and over gRPC, raw and in JSON, by hypothesis")
def differential(bench: Bench) -> Outcome:
    """Equal answers to the last bit, or the same class of error."""
    mismatches: list[str] = []
    seen: Counter[str] = Counter()
    examples = EXAMPLES if bench.measuring else SUITE_EXAMPLES
    chance = settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    with bench.client() as client, grpc.insecure_channel(f"127.0.0.1:{bench.system.front_port}") as channel:
        infer = GRPCInferenceServiceStub(channel).ModelInfer

        @chance
        @given(REQUESTS)
        def compare(asked: Asked) -> None:
            over_rest, over_grpc = _over_rest(client, asked), _over_grpc(infer, asked)
            seen[over_grpc[0]] += 1
            if over_rest != over_grpc:
                mismatches.append(f"{asked}: {over_rest} and {over_grpc}"[:600])

        compare()
    counts = ", ".join(f"{code} x {count}" for code, count in sorted(seen.items()))
    wrong = tuple(mismatches[:3]) + unless(
        seen["OK"] > 0 and len(seen) > 2, "too few kinds of answers to tell anything"
    )
    return Outcome(f"{seen.total()} requests: {counts}", f"mismatches {len(mismatches)}", wrong)


def _over_rest(client: httpx.Client, asked: Asked) -> Found:
    inputs, tail = [], b""
    for name, array in asked.inputs.items():
        tensor = {"name": name, "datatype": datatype_of(array), "shape": asked.shape(array)}
        if asked.is_raw:
            raw = to_raw(array)
            inputs.append({**tensor, "parameters": {"binary_data_size": len(raw)}})
            tail += raw
        else:
            inputs.append({**tensor, "data": _values(array)})
    outputs = [{"name": name, "parameters": {"classification": classes}} for name, classes in asked.outputs]
    parameters = {**asked.parameters, "binary_data_output": True}
    head = json.dumps({"inputs": inputs, "outputs": outputs, "parameters": parameters}).encode()
    place = f"/v2/models/{quote(asked.model)}"
    place += f"/versions/{quote(asked.version)}" if asked.version else ""
    headers = {JSON_LENGTH: str(len(head))}
    answer = client.post(f"{place}/infer", content=head + tail, headers=headers)
    return (
        _answer_of(answer) if answer.is_success else (CLASS_OF.get(answer.status_code, str(answer.status_code)), None)
    )


def _values(array: Array) -> list[Any]:
    return [element.decode() for element in array.flat] if array.dtype == object else array.ravel().tolist()


def _answer_of(answer: httpx.Response) -> Found:
    length = int(answer.headers.get(JSON_LENGTH, len(answer.content)))
    document, rest = json.loads(answer.content[:length]), answer.content[length:]
    arrays = {}
    for output in document["outputs"]:
        size = output["parameters"]["binary_data_size"]
        arrays[output["name"]] = from_raw(output["name"], output["datatype"], output["shape"], rest[:size])
        rest = rest[size:]
    return "OK", (document["model_name"], document["model_version"], _plain(arrays))


def _plain(arrays: dict[str, Array]) -> list[tuple[str, str, tuple[int, ...], bytes]]:
    return [(name, datatype_of(array), array.shape, to_raw(array)) for name, array in arrays.items()]


def _over_grpc(infer: Any, asked: Asked) -> Found:
    request = wire.ModelInferRequest(model_name=asked.model, model_version=asked.version)
    for name, array in asked.inputs.items():
        tensor = request.inputs.add(name=name, datatype=datatype_of(array), shape=asked.shape(array))
        if asked.is_raw:
            request.raw_input_contents.append(to_raw(array))
        else:
            getattr(tensor.contents, CONTENTS[datatype_of(array)]).extend(array.ravel().tolist())
    for name, classes in asked.outputs:
        request.outputs.add(name=name).parameters["classification"].int64_param = classes
    for name, value in asked.parameters.items():
        _set(request.parameters[name], value)
    try:
        answer = infer(request, timeout=10)
    except grpc.RpcError as error:
        return str(error.code().name), None
    return "OK", (
        answer.model_name,
        answer.model_version,
        _plain(read_tensors(answer.outputs, answer.raw_output_contents)),
    )


def _set(parameter: wire.InferParameter, value: Parameter) -> None:
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, int):
        parameter.int64_param = value
    else:
        parameter.string_param = value


@row("D20", f"schemathesis at every route by its own description, {FUZZ_SECONDS} s of `make fuzz`", destructive=True)
def fuzzed(bench: Bench) -> Outcome:
    """No 5xx that is not described, no answer that is not as described, no invalid request that is taken."""
    command = [sys.executable, "-m", "deploy.fuzz", "--seconds", str(FUZZ_SECONDS)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    lines = [line.strip(" =") for line in (done.stdout + done.stderr).splitlines() if line.strip(" =")]
    wrong = unless(done.returncode == 0, f"status {done.returncode}: {'; '.join(lines[-5:])}")
    told = [line for line in lines if line.startswith(("Operations:", "Test cases:")) or " generated" in line]
    return Outcome("; ".join(told[-3:]) or lines[-1], f"exit status {done.returncode}", wrong)
