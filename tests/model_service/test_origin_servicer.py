"""The origin's contract: one observation in, one class out, failures as status."""

from __future__ import annotations

import numpy as np
import pytest
from grpc import StatusCode

from inference_pb import inference_pb2 as wire
from tests.model_service.functions import classify
from tests.model_service.worker import end_of, loaded, running_worker


async def test_features_go_to_the_default_model() -> None:
    """Numbers without a model name are answered by the model for features."""
    async with running_worker() as worker:
        answer = await worker.origin.Predict(wire.PredictRequest(features=[1, 2, 3]))
    assert answer == wire.PredictResponse(class_id=3, confidence=1, model_name="double", model_version="1")


async def test_a_prompt_goes_to_the_default_model() -> None:
    """A text without a model name is answered by the model for prompts, with its label."""
    async with running_worker() as worker:
        answer = await worker.origin.Predict(wire.PredictRequest(prompt="héllo"))
    assert (answer.model_name, answer.label, answer.error) == ("shout", "H\N{LATIN SMALL LETTER E WITH ACUTE}LLO", "")


async def test_a_model_can_be_named() -> None:
    """A model name chooses the model, in its default version."""
    async with running_worker() as worker:
        answer = await worker.origin.Predict(wire.PredictRequest(features=[1], model_name="versioned"))
    assert (answer.model_name, answer.model_version, answer.class_id) == ("versioned", "2", 1)


@pytest.mark.parametrize(
    ("request_", "status", "sentence"),
    [
        (wire.PredictRequest(), StatusCode.INVALID_ARGUMENT, "Send either features or a prompt."),
        (
            wire.PredictRequest(features=[1], prompt="x"),
            StatusCode.INVALID_ARGUMENT,
            "Send either features or a prompt.",
        ),
        (
            wire.PredictRequest(features=[1, float("nan")]),
            StatusCode.INVALID_ARGUMENT,
            "Features must be an array of numbers",
        ),
        (
            wire.PredictRequest(features=[float("-inf")]),
            StatusCode.INVALID_ARGUMENT,
            "Features must be an array of numbers",
        ),
        (
            wire.PredictRequest(prompt="x", model_name="double"),
            StatusCode.INVALID_ARGUMENT,
            "Model double takes 'features', not 'prompt'.",
        ),
        (
            wire.PredictRequest(features=[1], model_name="nobody"),
            StatusCode.NOT_FOUND,
            "There is no model of that name. Models here: double, shout, versioned.",
        ),
    ],
    ids=["nothing", "both", "NaN", "infinity", "wrong kind", "unknown model"],
)
async def test_what_cannot_be_answered_is_refused(
    request_: wire.PredictRequest, status: StatusCode, sentence: str
) -> None:
    """A request that cannot succeed ends with a status and a sentence, never with an answer that says error."""
    async with running_worker() as worker:
        assert await end_of(worker.origin.Predict(request_)) == (status, sentence)


async def test_a_model_that_does_not_classify_is_refused() -> None:
    """A model without classes is refused with the way to ask it."""
    async with running_worker(loaded("scores", lambda inputs: {"scores": inputs["features"]})) as worker:
        end = await end_of(worker.origin.Predict(wire.PredictRequest(features=[1], model_name="scores")))
    assert end == (
        StatusCode.INVALID_ARGUMENT,
        "Model scores does not classify: it answers with scores. Use /v2/models/scores/infer.",
    )


async def test_a_confidence_that_is_no_number_is_the_models_failure() -> None:
    """NaN as a confidence ends with INTERNAL instead of reaching the client."""
    unsure = loaded("unsure", lambda inputs: classify(inputs) | {"confidence": np.array([np.nan], np.float32)})
    async with running_worker(unsure) as worker:
        end = await end_of(worker.origin.Predict(wire.PredictRequest(features=[1], model_name="unsure")))
    assert end == (StatusCode.INTERNAL, "Model unsure answered with a confidence that is not a number.")
