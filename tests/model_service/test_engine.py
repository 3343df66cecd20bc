"""The engine runs what fits, in time, once, and turns every failure of a model into one of ours."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import structlog
from structlog.testing import LogCapture

from inference_core.deadline import Deadline
from inference_core.errors import DeadlineExceeded, InferenceHubError, InvalidInput, ModelFailed, UnknownModel
from inference_core.inference import Inference
from inference_core.tensors import Arrays
from model_service.call import Call
from model_service.engine import Engine
from model_service.registry import LoadedModel
from otel.logs import add_subject, add_trace_ids
from tests.model_service.worker import (
    Gate,
    Options,
    Predictor,
    call_to,
    engine_of,
    loaded,
    models,
    registry_of,
    runtime_of,
    until,
)


@pytest.fixture
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """Keep log lines."""
    capture = LogCapture()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, add_subject, add_trace_ids, capture])
    yield capture.entries
    structlog.reset_defaults()


def row() -> Arrays:
    """Return one row that the test models take."""
    return {"features": np.array([[1, 2, 3]], np.float32)}


@asynccontextmanager
async def engine_with(*given: LoadedModel) -> AsyncIterator[Engine]:
    """Run an engine, and close it with its models."""
    registry = registry_of(given)
    engine = engine_of(registry)
    try:
        yield engine
    finally:
        await engine.close()
        await asyncio.to_thread(registry.close)


async def infer(model: LoadedModel, deadline: float = 30.0, call: Call | None = None) -> Inference:
    """Run one row on a model and close it."""
    async with engine_with(model) as engine:
        return await engine.infer(model.on_disk.name, "", row(), Deadline.after(deadline), call or call_to())


def failing(error: BaseException) -> Predictor:
    """Return a model's function that raises."""

    def predict(_: Arrays) -> Arrays:
        raise error

    return predict


async def test_the_answer_names_model_and_version() -> None:
    """An answer has the model's outputs and says which version they come from."""
    async with engine_with(*models()) as engine:
        answer = await engine.infer("versioned", "", row(), Deadline.after(30), call_to())
    assert (answer.model, answer.version) == ("versioned", "2")
    assert answer.outputs["class_id"].tolist() == [3]


@pytest.mark.parametrize(
    ("model", "inputs", "error"),
    [("nobody", row(), UnknownModel), ("double", {"features": np.zeros((1, 1))}, InvalidInput)],
)
async def test_what_cannot_run_costs_nothing(model: str, inputs: Arrays, error: type[InferenceHubError]) -> None:
    """An unknown model or inputs that do not fit are refused before anything computes."""
    given = models()
    call = call_to()
    async with engine_with(*given) as engine:
        with pytest.raises(error):
            await engine.infer(model, "", inputs, Deadline.after(30), call)
    assert [runtime_of(each).asked for each in given] == [[]] * 4
    assert call.computation is None


@pytest.mark.parametrize("seconds", [0.0, -1.0])
async def test_a_passed_deadline_is_never_computed(seconds: float) -> None:
    """A request whose deadline is over is refused."""
    model, call = loaded("m"), call_to()
    with pytest.raises(DeadlineExceeded):
        await infer(model, seconds, call)
    assert runtime_of(model).asked == []
    assert call.computation is None


async def test_a_deadline_that_passes_in_the_queue_is_never_computed() -> None:
    """A request whose deadline passes behind another one is answered then and there, and never computed."""
    gate = Gate()
    model = loaded("slow", gate)
    async with engine_with(model) as engine:
        first = asyncio.create_task(engine.infer("slow", "", row(), Deadline.after(30), call_to()))
        await gate.wait_entered()
        with pytest.raises(DeadlineExceeded, match="before the model was run"):
            await engine.infer("slow", "", row(), Deadline.after(0.05), call_to())
        assert engine.rows_waiting("slow") == 0
        gate.leave.set()
        await first
    assert len(runtime_of(model).asked) == 1


async def test_a_cancelled_request_in_the_queue_is_never_computed() -> None:
    """A request that is given up while it waits leaves the queue at once."""
    gate = Gate()
    model = loaded("slow", gate)
    async with engine_with(model) as engine:
        first = asyncio.create_task(engine.infer("slow", "", row(), Deadline.after(30), call_to()))
        await gate.wait_entered()
        second = asyncio.create_task(engine.infer("slow", "", row(), Deadline.after(30), call_to()))
        await until(lambda: engine.rows_waiting("slow") == 1)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert engine.rows_waiting("slow") == 0
        gate.leave.set()
        await first
    assert len(runtime_of(model).asked) == 1


@pytest.mark.parametrize("error", [ValueError("secret"), StopIteration(), SystemExit(3), MemoryError(), OSError(5)])
async def test_a_failing_model_is_named_and_its_traceback_logged(
    logged: list[MutableMapping[str, Any]], error: BaseException
) -> None:
    """Whatever a model raises, even exit(), the client gets one sentence and the log the exception, with its ids."""
    call = call_to(request_id="r")
    with pytest.raises(ModelFailed) as caught:
        await infer(loaded("m", failing(error)), call=call)
    assert caught.value.message == "Model m failed on this input; the worker's log says why."
    (line,) = logged
    assert (line["event"], line["log_level"], line["exc_info"]) == ("model failed", "error", error)
    assert (line["model"], line["version"], line["request_id"]) == ("m", "1", "r")
    assert line["trace_id"] == call.trace.trace_id
    assert call.computation is not None
    assert call.computation.error == type(error).__name__


async def test_a_models_own_refusal_reaches_the_client(logged: list[MutableMapping[str, Any]]) -> None:
    """An expected error that a model raises is passed on as it is, and is no news for the log."""
    call = call_to()
    with pytest.raises(InvalidInput, match="Too loud"):
        await infer(loaded("m", failing(InvalidInput("Too loud."))), call=call)
    assert logged == []
    assert call.computation is not None
    assert call.computation.error == "InvalidInput"


async def test_computing_leaves_the_event_loop_free() -> None:
    """While a model computes, the event loop turns."""
    gate = Gate()
    async with engine_with(loaded("slow", gate)) as engine:
        task = asyncio.create_task(engine.infer("slow", "", row(), Deadline.after(30), call_to()))
        await gate.wait_entered()
        assert not task.done()
        gate.leave.set()
        assert (await task).model == "slow"


def test_the_traceback_is_the_models(capsys: pytest.CaptureFixture[str]) -> None:
    """The log line of a failure renders with the line of the model that raised."""
    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
    )
    try:
        with pytest.raises(ModelFailed):
            asyncio.run(infer(loaded("m", failing(ValueError("it broke")))))
    finally:
        structlog.reset_defaults()
    assert "in predict" in capsys.readouterr().out


async def test_a_model_may_reuse_its_buffers() -> None:
    """Neighbours of a bad input have their own rows, also where a model answers with one array again and again."""
    buffer = np.zeros(64, np.int32)

    def reusing(inputs: Arrays) -> Arrays:
        values = inputs["features"][:, 0]
        if (values < 0).any():
            raise ValueError("negative")
        buffer[: len(values)] = values
        return {"class_id": buffer[: len(values)], "confidence": np.ones(len(values), np.float32)}

    registry = registry_of([loaded("m", reusing)])
    engine = engine_of(registry)

    async def ask(value: float) -> int | type[Exception]:
        inputs = {"features": np.array([[value]], np.float32)}
        try:
            answer = await engine.infer("m", "", inputs, Deadline.after(30), call_to())
        except ModelFailed as error:
            return type(error)
        return int(answer.outputs["class_id"][0])

    for _ in range(20):
        found = await asyncio.gather(*(ask(value) for value in [*range(1, 30), -1, *range(30, 40)]))
        assert found == [*range(1, 30), ModelFailed, *range(30, 40)]
    await engine.close()
    registry.close()


async def test_a_model_that_hangs_for_nobody_is_told_of() -> None:
    """When every instance computes for callers who have left, and does not end, the worker is to be replaced."""
    gate, told = Gate(), asyncio.Event()
    registry = registry_of([loaded("m", gate)])
    engine = engine_of(registry, Options(hangs=(0.05, told.set)))
    task = asyncio.create_task(engine.infer("m", "", row(), Deadline.after(30), call_to()))
    await gate.wait_entered()
    assert not told.is_set()
    task.cancel()
    async with asyncio.timeout(5):
        await told.wait()
    gate.leave.set()
    await engine.close()
    registry.close()
