"""The models of all workers as one repository: what they are, how they are, and that all load or unload one.

What describes a model is asked of one worker that has it; what changes or counts, of every worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import grpc
from grpc import StatusCode

from gateway.slots import REFRESH_SECONDS
from gateway.v2.statistics import summed
from gateway.worker_errors import translated
from gateway.workers import Workers
from inference_core import errors
from inference_core.names import is_model_name
from inference_pb import open_inference_pb2 as wire

ASK_SECONDS = 2.0
LOAD_SECONDS = 120.0
LEARNING_SECONDS = 1.1 * REFRESH_SECONDS
"""Until every gateway process has asked its workers again: whoever was told that a model is loaded may ask it."""

STATES = ("READY", "LOADING", "UNLOADING", "UNAVAILABLE")
"""A version that is READY anywhere can be asked; otherwise the state nearest to that counts."""

ELSEWHERE = (StatusCode.UNAVAILABLE, StatusCode.CANCELLED, StatusCode.DEADLINE_EXCEEDED)
SILENT = "No inference worker answers; see GET /ready, and try again."
IndexEntry = wire.RepositoryIndexResponse.ModelIndex
Outcome = Any | grpc.aio.AioRpcError
RepositoryParameters = Mapping[str, Any]


class Models:
    """Asks the workers; every method raises NoWorker where none answers and UnknownModel where none has the model."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    def any_ready(self) -> bool:
        """Tell whether requests are welcome: some worker takes work."""
        return self._workers.any_ready()

    def is_ready(self, name: str, version: str) -> bool:
        """Tell whether a model, or one version of it, can be asked now at some worker."""
        facts = self._workers.facts(name)
        return facts is not None and (not version or version in facts.versions)

    async def metadata(self, name: str, version: str) -> wire.ModelMetadataResponse:
        """Return a model's versions and signature."""
        request = wire.ModelMetadataRequest(name=name, version=version)
        found: wire.ModelMetadataResponse = await self._of_one("ModelMetadata", request, wire.ModelMetadataResponse)
        return found

    async def config(self, name: str, version: str) -> wire.ModelConfigResponse:
        """Return how a model is run."""
        request = wire.ModelConfigRequest(name=name, version=version)
        found: wire.ModelConfigResponse = await self._of_one("ModelConfig", request, wire.ModelConfigResponse)
        return found

    async def statistics(self, name: str, version: str) -> wire.ModelStatisticsResponse:
        """Return what was computed, summed over the workers; for all versions or models where none is named."""
        check_names(name, version)
        request = wire.ModelStatisticsRequest(name=name, version=version)
        outcomes = await self._of_each("ModelStatistics", request, wire.ModelStatisticsResponse, ASK_SECONDS)
        answers = [outcome for outcome in outcomes if not isinstance(outcome, grpc.aio.AioRpcError)]
        if not answers:
            raise _first_error([outcome for outcome in outcomes if outcome not in answers])
        return wire.ModelStatisticsResponse(model_stats=summed([each for one in answers for each in one.model_stats]))

    async def index(self, *, only_ready: bool) -> list[IndexEntry]:
        """Return every version of every model: READY where some worker can be asked for it."""
        indexes = [index for index in await self._workers.indexes() if index is not None]
        if not indexes and not only_ready:
            raise errors.NoWorker(SILENT)
        found: dict[tuple[str, str], list[IndexEntry]] = {}
        for index in indexes:
            for entry in index.models:
                found.setdefault((entry.name, entry.version), []).append(entry)
        merged = [_merged(found[key]) for key in sorted(found)]
        return [entry for entry in merged if entry.state == STATES[0] or not only_ready]

    async def load(self, name: str, parameters: RepositoryParameters) -> None:
        """Have every worker load a model, or load it again; raises an error that says which worker did not."""
        request = wire.RepositoryModelLoadRequest(model_name=name, parameters=parameters)
        await self._at_all("RepositoryModelLoad", request, wire.RepositoryModelLoadResponse, "loaded")
        await asyncio.sleep(LEARNING_SECONDS)

    async def unload(self, name: str, parameters: RepositoryParameters) -> None:
        """Have every worker unload a model; raises an error that says which worker did not."""
        request = wire.RepositoryModelUnloadRequest(model_name=name, parameters=parameters)
        await self._at_all("RepositoryModelUnload", request, wire.RepositoryModelUnloadResponse, "unloaded")

    async def _of_one(self, method: str, request: Any, response: type[Any]) -> Any:
        check_names(request.name, request.version)
        failed: list[Outcome] = []
        for slot in self._workers.asked_for(request.name):
            try:
                return await slot.ask(method, request, response, ASK_SECONDS)
            except grpc.aio.AioRpcError as error:
                failed.append(error)
        raise _first_error(failed)

    async def _of_each(self, method: str, request: Any, response: type[Any], seconds: float) -> list[Outcome]:
        asked = [slot.ask(method, request, response, seconds) for slot in self._workers.slots]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, grpc.aio.AioRpcError):
                raise outcome
        return outcomes

    async def _at_all(self, method: str, request: Any, response: type[Any], done: str) -> None:
        check_names(request.model_name, "")
        outcomes = await self._of_each(method, request, response, LOAD_SECONDS)
        failed = [outcome for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]
        if failed:
            told = "; ".join(f"worker {slot}: {_told(outcome, done)}" for slot, outcome in enumerate(outcomes))
            raise _worst(failed, f"{request.model_name} was not {done} by every worker: {told}")


def check_names(name: str, version: str) -> None:
    """Raise UnknownModel for a name or version that nothing can have; either may be empty."""
    if name and not is_model_name(name):
        raise errors.UnknownModel("There is no model of that name; POST /v2/repository/index lists them.")
    if version and not is_model_name(version):
        raise errors.UnknownModel("There is no such version; POST /v2/repository/index lists them.")


def _first_error(failed: Sequence[Outcome]) -> errors.InferenceHubError:
    for error in failed:
        if error.code() not in ELSEWHERE:
            return translated(error)
    return errors.NoWorker(SILENT)


def _worst(failed: Iterable[grpc.aio.AioRpcError], sentence: str) -> errors.InferenceHubError:
    codes = {error.code() for error in failed}
    kinds: tuple[tuple[set[StatusCode], Callable[[str], errors.InferenceHubError]], ...] = (
        ({StatusCode.NOT_FOUND}, errors.UnknownModel),
        ({StatusCode.NOT_FOUND, StatusCode.INVALID_ARGUMENT}, errors.InvalidInput),
    )
    for expected, kind in kinds:
        if codes <= expected:
            return kind(sentence)
    return errors.Unavailable(sentence)


def _told(outcome: Outcome, done: str) -> str:
    if not isinstance(outcome, grpc.aio.AioRpcError):
        return done
    return (
        "does not answer"
        if outcome.code() in ELSEWHERE and not outcome.details()
        else str(outcome.details()).rstrip(".")
    )


def _merged(entries: Sequence[IndexEntry]) -> IndexEntry:
    best = min(entries, key=lambda entry: STATES.index(entry.state) if entry.state in STATES else len(STATES))
    reasons = dict.fromkeys(entry.reason for entry in entries if entry.reason)
    return IndexEntry(name=best.name, version=best.version, state=best.state, reason="; ".join(reasons))
