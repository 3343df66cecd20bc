"""Runs one request on one model; knows no transport."""

from __future__ import annotations

import asyncio
import time
from contextvars import copy_context

import structlog
from opentelemetry import trace
from opentelemetry.trace import Status, StatusCode, Tracer

from inference_core.deadline import Deadline
from inference_core.errors import InferenceHubError, ModelFailed
from inference_core.inference import Inference
from inference_core.tensors import Arrays
from model_service.registry import LoadedModel, Registry
from model_service.signature import check_inputs

log = structlog.get_logger()


class Engine:
    """Checks a request against the model's signature and runs it on one of the model's compute threads."""

    def __init__(self, registry: Registry, tracer: Tracer) -> None:
        self._registry = registry
        self._tracer = tracer

    async def infer(self, model: str, version: str, inputs: Arrays, deadline: Deadline) -> Inference:
        """Return the model's outputs for a batch of rows.

        Raises UnknownModel, InvalidInput, DeadlineExceeded (before computing, never after) or ModelFailed.
        """
        loaded = self._registry.get(model, version)
        check_inputs(loaded.on_disk.name, loaded.on_disk.description.inputs, inputs)
        _describe(loaded)
        loop = asyncio.get_running_loop()
        # Cancelling this await drops the computation while it is queued; a running one ends unobserved.
        # The copied context makes the call's span the parent of ours, and gives what the model logs the request's ids.
        outputs = await loop.run_in_executor(
            loaded.threads, copy_context().run, self._compute, loaded, inputs, deadline
        )
        return Inference(loaded.on_disk.name, loaded.on_disk.version, outputs)

    def _compute(self, loaded: LoadedModel, inputs: Arrays, deadline: Deadline) -> Arrays:
        deadline.check()
        started = time.time_ns()
        error: str | None = None
        try:
            return loaded.runtime.predict(inputs)
        except InferenceHubError as expected:
            error = type(expected).__name__
            raise
        except (Exception, SystemExit) as unexpected:  # a model that calls exit() must not end the worker
            error = type(unexpected).__name__
            log.exception("model failed", model=loaded.on_disk.name, version=loaded.on_disk.version)
            raise ModelFailed(f"Model {loaded.on_disk.name} failed on this input.") from unexpected
        finally:
            self._record(loaded, inputs, started, error)

    def _record(self, loaded: LoadedModel, inputs: Arrays, started: int, error: str | None) -> None:
        attributes = {
            "app.model.name": loaded.on_disk.name,
            "app.model.version": loaded.on_disk.version,
            "app.batch.rows": next(iter(inputs.values())).shape[0],
        }
        span = self._tracer.start_span("compute", attributes=attributes, start_time=started)
        if error is not None:
            span.set_attribute("error.type", error)
            span.set_status(Status(StatusCode.ERROR, error))
        span.end()


def _describe(loaded: LoadedModel) -> None:
    span = trace.get_current_span()
    span.set_attribute("app.model.name", loaded.on_disk.name)
    span.set_attribute("app.model.version", loaded.on_disk.version)
    structlog.contextvars.bind_contextvars(model=loaded.on_disk.name, version=loaded.on_disk.version)
