"""The origin's HTTP contract on the running system, with the real curl."""

from __future__ import annotations

import json
import re

import numpy as np
from sklearn.datasets import load_digits

from inference_core.settings import CHECKOUT
from tests.e2e.system import System

DIGIT = CHECKOUT / "model_service" / "models" / "digits" / "example.json"


def test_features_and_model_name(system: System) -> None:
    """The origin's first example gets a class, a confidence and an empty error."""
    answer = system.curl("/predict", '{"features": [0.5, 1.2, 3.4, 0.9], "model_name": "v1-mock"}')
    assert answer.status == 200
    assert isinstance(answer.body["class_id"], int)
    assert 0 <= answer.body["confidence"] <= 1
    assert answer.body["error"] == ""
    assert (answer.body["model_name"], answer.body["model_version"]) == ("v1-mock", "1")


def test_health(system: System) -> None:
    """The origin's health answer says where the workers are."""
    answer = system.curl("/health")
    assert (answer.status, answer.body["status"]) == (200, "Gateway is running")
    assert answer.body["grpc_target"].startswith("unix:")


def test_features_alone_use_the_default_model(system: System) -> None:
    """Features without a model name go to v1-mock."""
    answer = system.curl("/predict", '{"features": [1.0, 2.0, 3.0]}')
    assert (answer.status, answer.body["model_name"]) == (200, "v1-mock")


def test_invalid_features_get_the_origins_sentence(system: System) -> None:
    """The origin's fourth example gets exactly its answer."""
    answer = system.curl("/predict", '{"features": "invalid"}')
    assert (answer.status, answer.body) == (400, {"error": "Features must be an array of numbers"})


def test_a_happy_prompt_is_positive(system: System) -> None:
    """A prompt without a model name is judged by sentiment."""
    answer = system.curl("/predict", '{"prompt": "What a wonderful day"}')
    assert (answer.status, answer.body["label"], answer.body["model_name"]) == (200, "Positive", "sentiment")


def test_a_real_digit_is_recognised(system: System) -> None:
    """The example digit gets the class that scikit-learn's data set gives it."""
    pixels, classes = load_digits(return_X_y=True)
    (index,) = np.flatnonzero((pixels == json.loads(DIGIT.read_text())["features"]).all(axis=1))
    answer = system.curl("/predict", f"@{DIGIT}")
    assert (answer.status, answer.body["label"]) == (200, str(classes[index]))


def test_every_answer_carries_both_ids(system: System) -> None:
    """Good, bad, unknown path and wrong method: each answer names its request and its trace."""
    for path, body in (("/predict", '{"prompt": "x"}'), ("/predict", "no"), ("/none", None), ("/predict", None)):
        headers = system.curl(path, body).headers
        assert re.fullmatch(r"[0-9a-f]{32}", headers["x-request-id"])
        assert re.fullmatch(r"[0-9a-f]{32}", headers["x-trace-id"])


def test_an_unknown_model_gets_the_names_that_exist(system: System) -> None:
    """A 404 says which models there are."""
    answer = system.curl("/predict", '{"features": [1], "model_name": "nobody"}')
    assert answer.status == 404
    assert "digits, sentiment, v1-mock" in answer.body["error"]


def test_a_short_deadline_is_kept(system: System) -> None:
    """X-Request-Timeout lowers the deadline, and missing it is a 504."""
    answer = system.curl("/predict", '{"features": [1]}', "-H", "X-Request-Timeout: 0.01")
    assert answer.status == 504
