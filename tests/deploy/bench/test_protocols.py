"""Asking a server, and holding its answers against the model's own."""

from __future__ import annotations

import json

import pytest

from deploy.bench.protocols import OpenInference, Predict, Questions
from inference_core.errors import ConfigurationError

WORKS = ("tiny", "forest")


@pytest.mark.parametrize("work", WORKS)
def test_both_forms_ask_the_same(work: str) -> None:
    """Peers with another protocol get the same rows."""
    ours, theirs = Questions.of(work, Predict()), Questions.of(work, OpenInference())
    assert len(set(ours.bodies)) == 64
    assert [json.loads(body)["features"] for body in ours.bodies] == [
        json.loads(body)["inputs"][0]["data"] for body in theirs.bodies
    ]
    assert ours.expected == theirs.expected


@pytest.mark.parametrize("work", WORKS)
def test_the_rows_have_more_than_one_answer(work: str) -> None:
    """A server that always says the same is caught."""
    expected = Questions.of(work, Predict()).expected
    assert len({answer.class_id for answer in expected}) == 3
    assert len({answer.class_id for answer in expected[:3]}) > 1 or len(set(expected[:3])) == 3


def test_a_right_answer_passes() -> None:
    """In either protocol, and with floats that were printed with less care."""
    questions = Questions.of("tiny", Predict())
    answer = questions.expected[0]
    questions.check(0, json.dumps({"class_id": answer.class_id, "confidence": round(answer.confidence, 5)}))
    outputs = [
        {"name": "confidence", "data": [answer.confidence], "shape": [1, 1]},
        {"name": "class_id", "data": [answer.class_id], "shape": [1, 1]},
    ]
    Questions.of("tiny", OpenInference()).check(0, json.dumps({"outputs": outputs}))


@pytest.mark.parametrize("text", ["", "[]", '{"class_id": 0}', '{"class_id": 0, "confidence": 0.1}'])
def test_anything_else_is_refused(text: str) -> None:
    """A server that answers fast and wrongly does not take part."""
    with pytest.raises(ConfigurationError, match="answer"):
        Questions.of("tiny", Predict()).check(0, text)
