"""The engine runs what fits, in time, once, and turns every failure of a model into one of ours."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, MutableMapping
from typing import Any

import numpy as np
import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from structlog.testing import LogCapture

from inference_core.deadline import Deadline
from inference_core.errors import DeadlineExceeded, InferenceHubError, InvalidInput, ModelFailed, UnknownModel
from inference_core.inference import Inference
from inference_core.tensors import Arrays
from model_service.engine import Engine
from model_service.registry import LoadedModel
from otel.logs import add_trace_ids
from tests.model_service.worker import Gate, Predictor, loaded, models, registry_of, runtime_of


@pytest.fixture
def spans() -> InMemorySpanExporter:
    """Keep finished spans."""
    return InMemorySpanExporter()


@pytest.fixture
def tracer(spans: InMemorySpanExporter) -> trace.Tracer:
    """Trace into `spans`."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return provider.get_tracer(__name__)


@pytest.fixture
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """Keep log lines."""
    capture = LogCapture()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, add_trace_ids, capture])
    yield capture.entries
    structlog.reset_defaults()


def row() -> Arrays:
    """Return one row that the test models take."""
    return {"features": np.array([[1, 2, 3]], np.float32)}


async def infer(tracer: trace.Tracer, model: LoadedModel, deadline: float = 30.0) -> Inference:
    """Run one row on a model and close it."""
    registry = registry_of([model])
    try:
        return await Engine(registry, tracer).infer(model.on_disk.name, "", row(), Deadline.after(deadline))
    finally:
        await asyncio.to_thread(registry.close)


def failing(error: BaseException) -> Predictor:
    """Return a model's function that raises."""

    def predict(_: Arrays) -> Arrays:
        raise error

    return predict


async def test_the_answer_names_model_and_version(tracer: trace.Tracer) -> None:
    """An answer has the model's outputs and says which version they come from."""
    registry = registry_of(models())
    answer = await Engine(registry, tracer).infer("versioned", "", row(), Deadline.after(30))
    assert (answer.model, answer.version) == ("versioned", "2")
    assert answer.outputs["class_id"].tolist() == [3]
    registry.close()


@pytest.mark.parametrize(
    ("model", "inputs", "error"),
    [("nobody", row(), UnknownModel), ("double", {"features": np.zeros((1, 1))}, InvalidInput)],
)
async def test_what_cannot_run_costs_nothing(
    tracer: trace.Tracer, spans: InMemorySpanExporter, model: str, inputs: Arrays, error: type[InferenceHubError]
) -> None:
    """An unknown model or inputs that do not fit are refused before anything computes."""
    given = models()
    with pytest.raises(error):
        await Engine(registry_of(given), tracer).infer(model, "", inputs, Deadline.after(30))
    assert [runtime_of(each).asked for each in given] == [[]] * 4
    assert spans.get_finished_spans() == ()


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_a_passed_deadline_is_never_computed(
    tracer: trace.Tracer, spans: InMemorySpanExporter, seconds: float
) -> None:
    """A request whose deadline is over is refused on the compute thread, and leaves no compute span."""
    model = loaded("m")
    with pytest.raises(DeadlineExceeded):
        await infer(tracer, model, seconds)
    assert runtime_of(model).asked == []
    assert spans.get_finished_spans() == ()


async def test_a_deadline_that_passes_in_the_queue_is_never_computed(tracer: trace.Tracer) -> None:
    """A request that waits behind another one past its deadline is not computed when its turn comes."""
    gate = Gate()
    model = loaded("slow", gate)
    registry = registry_of([model])
    engine = Engine(registry, tracer)
    first = asyncio.create_task(engine.infer("slow", "", row(), Deadline.after(30)))
    await gate.wait_entered()
    deadline = Deadline.after(0.05)
    second = asyncio.create_task(engine.infer("slow", "", row(), deadline))
    await asyncio.wait([second], timeout=deadline.remaining() + 0.01)
    assert not second.done()
    gate.leave.set()
    with pytest.raises(DeadlineExceeded):
        await second
    await first
    assert len(runtime_of(model).asked) == 1
    registry.close()


async def test_a_cancelled_request_in_the_queue_is_never_computed(tracer: trace.Tracer) -> None:
    """A request that is given up while it waits leaves the queue."""
    gate = Gate()
    model = loaded("slow", gate)
    registry = registry_of([model])
    engine = Engine(registry, tracer)
    first = asyncio.create_task(engine.infer("slow", "", row(), Deadline.after(30)))
    await gate.wait_entered()
    second = asyncio.create_task(engine.infer("slow", "", row(), Deadline.after(30)))
    await asyncio.wait([second], timeout=0.01)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    gate.leave.set()
    await first
    await asyncio.to_thread(registry.close)
    assert len(runtime_of(model).asked) == 1


@pytest.mark.parametrize("error", [ValueError("secret"), StopIteration(), SystemExit(3), MemoryError(), OSError(5)])
async def test_a_failing_model_is_named_and_its_traceback_logged(
    tracer: trace.Tracer,
    spans: InMemorySpanExporter,
    logged: list[MutableMapping[str, Any]],
    error: BaseException,
) -> None:
    """Whatever a model raises, even exit(), the client gets one sentence and the log the exception, with its ids."""
    with (
        tracer.start_as_current_span("request") as request,
        structlog.contextvars.bound_contextvars(request_id="r"),
        pytest.raises(ModelFailed) as caught,
    ):
        await infer(tracer, loaded("m", failing(error)))
    assert caught.value.message == "Model m failed on this input."
    (line,) = logged
    assert (line["event"], line["log_level"], line["exc_info"]) == ("model failed", "error", True)
    assert (line["model"], line["version"], line["request_id"]) == ("m", "1", "r")
    assert line["trace_id"] == trace.format_trace_id(request.get_span_context().trace_id)
    compute = spans.get_finished_spans()[0]
    assert compute.status.status_code is StatusCode.ERROR
    assert (compute.attributes or {})["error.type"] == type(error).__name__


async def test_a_models_own_refusal_reaches_the_client(
    tracer: trace.Tracer, spans: InMemorySpanExporter, logged: list[MutableMapping[str, Any]]
) -> None:
    """An expected error that a model raises is passed on as it is, and is no news for the log."""
    with pytest.raises(InvalidInput, match="Too loud"):
        await infer(tracer, loaded("m", failing(InvalidInput("Too loud."))))
    assert logged == []
    (compute,) = spans.get_finished_spans()
    assert (compute.attributes or {})["error.type"] == "InvalidInput"


async def test_the_computation_is_a_child_of_the_request(tracer: trace.Tracer, spans: InMemorySpanExporter) -> None:
    """The span `compute` hangs below the request's span, with model, version and rows; the request names them too."""
    with tracer.start_as_current_span("request"):
        await infer(tracer, loaded("m"))
    compute, request = spans.get_finished_spans()
    assert (compute.name, request.name) == ("compute", "request")
    assert compute.parent is not None
    assert compute.parent.span_id == request.context.span_id
    assert compute.attributes == {"app.model.name": "m", "app.model.version": "1", "app.batch.rows": 1}
    assert request.attributes == {"app.model.name": "m", "app.model.version": "1"}
    assert compute.status.status_code is StatusCode.UNSET


async def test_computing_leaves_the_event_loop_free(tracer: trace.Tracer) -> None:
    """While a model computes, the event loop turns."""
    gate = Gate()
    registry = registry_of([loaded("slow", gate)])
    task = asyncio.create_task(Engine(registry, tracer).infer("slow", "", row(), Deadline.after(30)))
    await gate.wait_entered()
    assert not task.done()
    gate.leave.set()
    assert (await task).model == "slow"
    registry.close()


def test_the_traceback_is_the_models(capsys: pytest.CaptureFixture[str]) -> None:
    """The log line of a failure renders with the line of the model that raised."""
    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
    )
    try:
        with pytest.raises(ModelFailed):
            asyncio.run(infer(trace.NoOpTracer(), loaded("m", failing(ValueError("it broke")))))
    finally:
        structlog.reset_defaults()
    assert "in predict" in capsys.readouterr().out
