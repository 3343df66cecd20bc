"""The statistics extension: rows, batches and requests are told apart, and counts are of what happened."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from grpc import StatusCode

from inference_core.errors import InvalidInput
from inference_core.members import PARAMETER, Member, to_text
from inference_core.tensors import Arrays
from inference_pb import open_inference_pb2 as wire
from tests.model_service.functions import classify
from tests.model_service.worker import Gate, Worker, end_of, infer_request, loaded, running_worker, until


async def statistics_of(worker: Worker, model: str = "m") -> wire.ModelStatistics:
    """Return the statistics of a model's only version."""
    answer = await worker.protocol.ModelStatistics(wire.ModelStatisticsRequest(name=model))
    (statistics,) = answer.model_stats
    return statistics


def rows(count: int) -> Arrays:
    """Return that many rows."""
    return {"features": np.ones((count, 3), np.float32)}


async def test_counts_are_rows_and_executions_are_batches() -> None:
    """Calls that share a batch count as one execution, their rows as inferences and each of them as a success."""
    gate = Gate()
    async with running_worker(loaded("m", gate)) as worker:
        first = worker.protocol.ModelInfer(infer_request("m", arrays=rows(1)))
        await gate.wait_entered()
        others = [worker.protocol.ModelInfer(infer_request("m", arrays=rows(count))) for count in (2, 3)]
        await until(lambda: worker.engine.rows_waiting("m") == 5)
        gate.leave.set()
        await asyncio.gather(first, *others)
        found = await statistics_of(worker)
    assert (found.inference_count, found.execution_count) == (6, 2)
    stats = found.inference_stats
    assert [stats.success.count, stats.fail.count, stats.queue.count] == [3, 0, 3]
    assert [stats.compute_input.count, stats.compute_infer.count, stats.compute_output.count] == [3, 3, 3]
    assert [(batch.batch_size, batch.compute_infer.count) for batch in found.batch_stats] == [(1, 1), (5, 1)]


async def test_times_add_up() -> None:
    """A request's time is the whole of it: queue and the three stages of its batch together take no longer."""
    async with running_worker(loaded("m")) as worker:
        await worker.protocol.ModelInfer(infer_request("m"))
        found = (await statistics_of(worker)).inference_stats
    parts = [found.queue, found.compute_input, found.compute_infer, found.compute_output]
    assert all(part.ns > 0 for part in parts)
    assert sum(part.ns for part in parts) <= found.success.ns


async def test_a_call_counts_for_its_requests() -> None:
    """A gateway's call that carries three requests is three successes of one execution."""
    request = infer_request("m", arrays=rows(3))
    request.parameters[PARAMETER].string_param = to_text(Member(1, f"r{index}", "") for index in range(3))
    async with running_worker(loaded("m")) as worker:
        await worker.protocol.ModelInfer(request)
        found = await statistics_of(worker)
    assert (found.inference_count, found.execution_count) == (3, 1)
    assert (found.inference_stats.success.count, found.inference_stats.compute_infer.count) == (3, 3)
    assert found.batch_stats[0].compute_infer.count == 1


async def test_a_failure_is_no_execution() -> None:
    """What a model or its signature refuses counts as a failure, with its time, and as nothing computed."""

    def refuse(_: Arrays) -> Arrays:
        raise InvalidInput("No.")

    async with running_worker(loaded("m", refuse)) as worker:
        assert (await end_of(worker.protocol.ModelInfer(infer_request("m"))))[0] is StatusCode.INVALID_ARGUMENT
        wrong = infer_request("m", arrays={"other": np.ones((1, 1), np.float32)})
        assert (await end_of(worker.protocol.ModelInfer(wrong)))[0] is StatusCode.INVALID_ARGUMENT
        found = await statistics_of(worker)
    assert (found.inference_count, found.execution_count, found.last_inference) == (0, 0, 0)
    assert (found.inference_stats.fail.count, found.inference_stats.success.count) == (2, 0)
    assert found.inference_stats.fail.ns > 0
    assert list(found.batch_stats) == []


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [
        ("", "", [("a", "1"), ("b", "1"), ("b", "2")]),
        ("b", "", [("b", "1"), ("b", "2")]),
        ("b", "1", [("b", "1")]),
    ],
)
async def test_one_version_or_one_model_or_all_can_be_asked(
    name: str, version: str, expected: list[tuple[str, str]]
) -> None:
    """Without a version all of a model are told, without a name all models, with counts of 0 before anything ran."""
    async with running_worker(loaded("a"), loaded("b"), loaded("b", version="2")) as worker:
        answer = await worker.protocol.ModelStatistics(wire.ModelStatisticsRequest(name=name, version=version))
    assert [(found.name, found.version) for found in answer.model_stats] == expected
    assert {found.inference_count + found.inference_stats.fail.count for found in answer.model_stats} == {0}


async def test_an_unknown_model_has_no_statistics() -> None:
    """Statistics of a model or version that is not there end with NOT_FOUND."""
    async with running_worker(loaded("m")) as worker:
        for request in (wire.ModelStatisticsRequest(name="x"), wire.ModelStatisticsRequest(name="m", version="9")):
            assert (await end_of(worker.protocol.ModelStatistics(request)))[0] is StatusCode.NOT_FOUND


async def test_sizes_of_batches_are_bounded() -> None:
    """Clients that ask with ever other numbers of rows do not let the statistics grow without end."""
    many = loaded("m", classify, max_batch_size=1)
    async with running_worker(many) as worker:
        statistics = worker.engine.statistics("m", "1")
        await worker.protocol.ModelInfer(infer_request("m", arrays=rows(7)))
        statistics._batches.update(dict.fromkeys(range(2000, 3200), statistics._batches[7]))
        await worker.protocol.ModelInfer(infer_request("m", arrays=rows(8)))
        found = await statistics_of(worker)
    assert found.inference_count == 15
    assert 8 not in [batch.batch_size for batch in found.batch_stats]
