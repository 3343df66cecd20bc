"""Runs a V2 request, whichever door it came through: names, schedule, dispatch, the outputs that are wanted."""

from __future__ import annotations

from gateway.call import Call
from gateway.traffic import Traffic
from gateway.v2.asked import SEQUENCE, Asked, check_offered
from gateway.v2.models import check_names
from gateway.v2.schedule import scheduled
from inference_core.inference import Inference
from inference_core.selection import selected


class Inferences:
    """What both V2 doors of a process use."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    def check(self, model: str, version: str, call: Call) -> None:
        """Raise UnknownModel or Overloaded before anything is made of a request."""
        check_names(model, version)
        self._traffic.check(model, call, self._traffic.route(model, call, version))

    async def answer(self, model: str, version: str, asked: Asked, call: Call) -> Inference:
        """Return a model's answer with the outputs that are wanted; where no version is named its traffic rule decides.

        Raises the expected errors: those of `Dispatcher.infer`, NotOffered, and Unavailable for a missed `timeout`.
        """
        check_names(model, version)
        check_offered(asked.parameters, SEQUENCE)
        with scheduled(asked.parameters, call):
            call.deadline.check()
            chosen = self._traffic.route(model, call, version)
            found = await self._traffic.infer(model, asked.inputs, call, chosen)
        return Inference(found.model, found.version, selected(found.model, found.outputs, asked.wanted))
