"""The OpenAPI 3.1 document of every route, made of the types that parse the requests and write the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gateway.predictions import Answer, Body
from gateway.resources.admin import WHY, TrafficReport, TrafficRules
from gateway.resources.health import Health, Readiness
from gateway.routing import Rule
from gateway.v2 import documents as v2
from inference_core.classification import FP32_LIMIT

Object = dict[str, Any]
JSON, OCTETS, TEXT = "application/json", "application/octet-stream", "text/plain"
REFERENCE = "#/components/schemas/{name}"
NAME = r"^[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,127}$"
NAMED = {"Body": "PredictRequest", "Answer": "PredictAnswer"}
TYPES: Sequence[Any] = (
    *(Body, Answer, Health, Readiness, v2.Failure, v2.InferRequest, v2.InferResponse, v2.ServerMetadata),
    *(v2.ModelMetadata, v2.Live, v2.ModelReady, v2.ModelConfig, v2.Statistics, v2.IndexRequest, v2.IndexEntry),
    *(*(v2.LoadRequest, v2.UnloadRequest), Rule, TrafficReport, TrafficRules),
)

CONTROLLED: Object = {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "pattern": NAME}}
MODEL: Object = {**CONTROLLED, "example": "v1-mock"}
VERSION: Object = {**CONTROLLED, "name": "version", "example": "1"}
PATIENCE: Object = {
    "name": "X-Request-Timeout",
    "in": "header",
    "description": "Seconds after which nobody waits for the answer any more; lowers gateway.deadline.",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}
PRIORITY: Object = {
    "name": "X-Priority",
    "in": "header",
    "description": "batch gives way to interactive, the default.",
    "schema": {"enum": ["interactive", "batch"]},
}
JSON_BYTES: Object = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "description": "How many bytes of the body are JSON; binary tensors follow. 0: the body is the only tensor.",
    "schema": {"type": "integer", "minimum": 0},
}
REASON: Object = {
    "name": WHY,
    "in": "header",
    "description": "Why the rule changes; kept with the change.",
    "schema": {"type": "string"},
}
EXAMPLE: Object = {
    "id": "42",
    "inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 3], "data": [0.5, 1.2, 3.4]}],
}


def document(version: str) -> Object:
    """Return the document; `version` is this program's."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "InferenceHub",
            "version": version,
            "description": 'Models over HTTP. Every error is {"error": "a sentence that says what to do"}.',
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": {**_own_paths(), **_admin_paths(), **_v2_paths()},
        "components": {"schemas": schemas()},
    }


def schemas() -> Object:
    """Return the JSON schemas of all bodies, by name."""
    _, found = msgspec.json.schema_components(TYPES, ref_template=REFERENCE)
    components = {NAMED.get(name, name): {**schema, "title": NAMED.get(name, name)} for name, schema in found.items()}
    request = components["PredictRequest"]
    # Checked by code that says it better than a schema could, and so not in the type.
    request["oneOf"] = [{"required": ["features"]}, {"required": ["prompt"]}]
    request["properties"]["features"] |= {
        "minItems": 1,
        "items": {"type": "number", "exclusiveMinimum": -FP32_LIMIT, "exclusiveMaximum": FP32_LIMIT},
    }
    request["properties"]["model_name"]["pattern"] = f"^$|{NAME}"
    return components


def _own_paths() -> Object:
    return {
        "/predict": {
            "post": _operation(
                "Classify one row of numbers or one text",
                "predict",
                _answered("PredictAnswer"),
                parameters=[PATIENCE, PRIORITY],
                body=_body("PredictRequest", {"features": [0.5, 1.2, 3.4]}, required=True),
            )
        },
        "/health": {"get": _operation("Whether the gateway runs", "health", _answered("Health"))},
        "/ready": {
            "get": _operation(
                "Which model is ready on which worker", "ready", _answered("Readiness") | _answered("Readiness", "503")
            )
        },
        "/metrics": {"get": _operation("Numbers for Prometheus", "metrics", {"200": _described({TEXT: {}})})},
        "/openapi.json": {"get": _operation("This document", "openapi", {"200": _described({JSON: {}})})},
        "/docs": {"get": _operation("This document as a page", "docs", {"200": _described({"text/html": {}})})},
        "/console": {"get": _operation("Try models and watch them", "console", {"200": _described({"text/html": {}})})},
    }


def _admin_paths() -> Object:
    changing = [CONTROLLED, REASON]
    example = {"split": {"1": 90, "2": 10}, "rollback": {"error_margin": 0.02}}
    report = _answered("TrafficReport")
    return {
        "/admin/traffic": {"get": _operation("The traffic rules of all models", "rules", _answered("TrafficRules"))},
        "/admin/traffic/{model}": {
            "get": _operation("A model's rule and how its arms do", "rule", report, parameters=[CONTROLLED]),
            "put": _operation(
                "Set a model's rule", "setRule", report, parameters=changing, body=_body("Rule", example, required=True)
            ),
            "delete": _operation(
                "Take a model's rule away",
                "deleteRule",
                {"204": {"description": "The worker's default version answers now."}},
                parameters=changing,
            ),
        },
    }


def _v2_paths() -> Object:
    paths: Object = {
        "/v2": {"get": _operation("What this server is", "server", _answered("ServerMetadata"))},
        "/v2/health/live": {"get": _operation("Whether the server lives", "live", _answered("Live"))},
        "/v2/health/ready": {"get": _operation("Whether some worker takes work", "serverReady", _answered("Live"))},
        "/v2/models/stats": {
            "get": _operation("What all models computed", "statistics", _answered("Statistics")),
        },
        "/v2/repository/index": {
            "post": _operation(
                "Every version of every model and its state",
                "index",
                {"200": _described({JSON: {"schema": {"type": "array", "items": _reference("IndexEntry")}}})},
                body=_body("IndexRequest", {"ready": True}),
            )
        },
    }
    for verb, meaning in (("load", "Load a model on every worker"), ("unload", "Unload a model on every worker")):
        answers = {"200": {"description": "All workers did it."}}
        control = _operation(meaning, verb, answers, parameters=[CONTROLLED], body=_body(f"{verb.title()}Request", {}))
        paths[f"/v2/repository/models/{{model}}/{verb}"] = {"post": control}
    return (
        paths
        | _model_paths("/v2/models/{model}", "", [MODEL])
        | _model_paths("/v2/models/{model}/versions/{version}", "Version", [MODEL, VERSION])
    )


def _model_paths(path: str, suffix: str, parameters: list[Object]) -> Object:
    def get(summary: str, name: str, schema: str) -> Object:
        return {"get": _operation(summary, f"{name}{suffix}", _answered(schema), parameters=parameters)}

    return {
        path: get("Versions and signature of a model", "metadata", "ModelMetadata"),
        f"{path}/ready": get("Whether a model can be asked now", "modelReady", "ModelReady"),
        f"{path}/config": get("How a model is run", "config", "ModelConfig"),
        f"{path}/stats": get("What a model computed", "modelStatistics", "Statistics"),
        f"{path}/infer": {"post": _infer(suffix, parameters)},
    }


def _infer(suffix: str, parameters: list[Object]) -> Object:
    answers = _answered("InferResponse")
    answers["200"]["content"][OCTETS] = {}
    answers["200"]["headers"] = {
        JSON_BYTES["name"]: {
            "description": "How many bytes of a binary answer are JSON.",
            "schema": {"type": "integer"},
        }
    }
    body = _body("InferRequest", EXAMPLE, required=True)
    body["content"][OCTETS] = {}
    headers = [PATIENCE, PRIORITY, JSON_BYTES]
    return _operation("Run a model", f"infer{suffix}", answers, parameters=[*parameters, *headers], body=body)


def _operation(
    summary: str,
    name: str,
    answers: Mapping[str, Any],
    *,
    parameters: Sequence[Object] = (),
    body: Object | None = None,
) -> Object:
    failure = {"description": "What to do instead.", "content": {JSON: {"schema": _reference("Failure")}}}
    operation: Object = {"summary": summary, "operationId": name, "responses": {**answers, "default": failure}}
    if parameters:
        operation["parameters"] = list(parameters)
    if body is not None:
        operation["requestBody"] = body
    return operation


def _answered(schema: str, status: str = "200") -> Object:
    return {status: _described({JSON: {"schema": _reference(schema)}})}


def _described(content: Object) -> Object:
    return {"description": "The answer.", "content": content}


def _body(schema: str, example: object, *, required: bool = False) -> Object:
    return {"required": required, "content": {JSON: {"schema": _reference(schema), "example": example}}}


def _reference(schema: str) -> Object:
    return {"$ref": REFERENCE.format(name=schema)}
