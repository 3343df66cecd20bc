"""A call that nobody waits for any more is never computed."""

from __future__ import annotations

import asyncio

from grpc import StatusCode

from tests.model_service.worker import Gate, end_of, infer_request, loaded, running_worker, runtime_of, until


async def test_a_deadline_ends_as_such_and_is_never_computed() -> None:
    """A call that waits past its deadline ends with DEADLINE_EXCEEDED and is not computed."""
    gate = Gate()
    model = loaded("slow", gate)
    async with running_worker(model) as worker:
        first = worker.protocol.ModelInfer(infer_request("slow"))
        await gate.wait_entered()
        status, _ = await end_of(worker.protocol.ModelInfer(infer_request("slow"), timeout=0.2))
        assert status is StatusCode.DEADLINE_EXCEEDED
        await worker.ended(1)
        gate.leave.set()
        await first
        statuses = [line["status"] for line in await worker.ended(2)]
    # On a machine that stands still the client's cancellation can arrive long before the deadline as seen here.
    assert statuses in (["DEADLINE_EXCEEDED", "OK"], ["CANCELLED", "OK"])
    assert len(runtime_of(model).asked) == 1


async def test_the_workers_own_deadline_holds_for_clients_without() -> None:
    """A client that sets no deadline, or one of ten years, gets the worker's."""
    gate = Gate()
    model = loaded("slow", gate)
    async with running_worker(model, default_deadline=0.2) as worker:
        first = worker.protocol.ModelInfer(infer_request("slow"))
        await gate.wait_entered()
        waiting = [worker.protocol.ModelInfer(infer_request("slow"), timeout=limit) for limit in (None, 315_360_000)]
        expired = asyncio.get_running_loop().create_future()
        await until(lambda: worker.engine.rows_waiting("slow") == 2)
        asyncio.get_running_loop().call_later(0.25, expired.set_result, None)
        await expired
        ends = [await end_of(call) for call in (*waiting, first)]
        gate.leave.set()
    sentences = ["The deadline passed before the model was run."] * 2 + [
        "The deadline passed before the model answered."
    ]
    assert ends == [(StatusCode.DEADLINE_EXCEEDED, sentence) for sentence in sentences]
    assert len(runtime_of(model).asked) == 1


async def test_a_cancelled_call_is_never_computed() -> None:
    """A call that its client gives up while it waits is logged as such and not computed."""
    gate = Gate()
    model = loaded("slow", gate)
    async with running_worker(model) as worker:
        first = worker.protocol.ModelInfer(infer_request("slow"))
        await gate.wait_entered()
        second = worker.protocol.ModelInfer(infer_request("slow"))
        await until(lambda: worker.engine.rows_waiting("slow") == 1)
        second.cancel()
        await worker.ended(1)
        gate.leave.set()
        await first
        statuses = [line["status"] for line in await worker.ended(2)]
    assert statuses == ["CANCELLED", "OK"]
    assert len(runtime_of(model).asked) == 1
