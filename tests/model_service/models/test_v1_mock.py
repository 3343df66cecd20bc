"""The mock forest: meaningless answers, but always the same ones, for any row of finite numbers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from inference_core.errors import ConfigurationError, InvalidInput
from inference_core.tensors import Array, Arrays
from model_service.loading import load
from tests.model_service.repository_tree import shipped, source_of

RUNTIME = load(shipped("v1-mock"), {"latency": 0.0})
SOURCE: Any = source_of(RUNTIME)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
ROWS = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=FINITE)
LABELS = [b"class_0", b"class_1", b"class_2"]


def predict(features: Array) -> Arrays:
    """Ask the shipped model, without its wait."""
    return RUNTIME.predict({"features": features})


def test_known_rows_keep_their_votes() -> None:
    """The golden answers: a row's votes do not change from release to release."""
    rows = np.array([[5.1, 3.5, 1.4, 0.2], [0, 0, 0, 0], [-3, 2, 8.5, -9]], np.float32)
    assert SOURCE.count_votes(rows).tolist() == [[10, 4, 11], [6, 9, 10], [11, 3, 11]]
    outputs = predict(rows)
    assert outputs["class_id"].tolist() == [2, 2, 0]
    assert outputs["label"].tolist() == [b"class_2", b"class_2", b"class_0"]
    np.testing.assert_array_equal(outputs["confidence"], np.array([0.44, 0.4, 0.44], np.float32))


def test_wide_and_narrow_rows_keep_their_answers() -> None:
    """The golden answers for one feature and for a thousand."""
    assert predict(np.zeros((1, 1), np.float32))["class_id"].tolist() == [1]
    wide = predict(np.arange(1000, dtype=np.float32).reshape(1, -1))
    assert (wide["class_id"].tolist(), wide["confidence"].tolist()) == ([1], [np.float32(0.36)])


def test_the_hash_is_splitmix64() -> None:
    """The first numbers of SplitMix64 from seed 0, as its authors' code prints them."""
    numbers = SOURCE.splitmix(np.array([0], np.uint64)).tolist()
    assert numbers == [0xE220A8397B1DCDAF]


@given(features=ROWS)
def test_any_finite_row_has_a_well_formed_answer(features: Array) -> None:
    """Every batch of finite rows gets, without a warning, a class, its label and a share of votes for each row."""
    outputs = predict(features)
    assert [outputs[name].dtype for name in outputs] == [np.int32, np.float32, np.object_]
    assert outputs["label"].tolist() == [LABELS[number] for number in outputs["class_id"]]
    assert ((outputs["confidence"] >= np.float32(0.36)) & (outputs["confidence"] <= 1)).all()
    assert len(outputs["confidence"]) == len(features)


@given(features=ROWS)
def test_a_row_is_answered_alone_as_in_a_batch(features: Array) -> None:
    """A row's answer does not depend on its neighbours, nor does asking change the row."""
    before = features.copy()
    together = predict(features)
    alone = [predict(features[index : index + 1]) for index in range(len(features))]
    for name, array in together.items():
        assert array.tolist() == [outputs[name][0] for outputs in alone]
    np.testing.assert_array_equal(features, before)


def test_a_batch_beyond_one_slice_is_whole() -> None:
    """A batch that is computed in several slices has the answers of its rows, in order."""
    rows = np.random.default_rng(0).normal(0, 5, (SOURCE.ROWS_AT_ONCE + 3, 4)).astype(np.float32)
    answers = predict(rows)["class_id"]
    np.testing.assert_array_equal(answers[-5:], predict(rows[-5:])["class_id"])
    assert set(answers.tolist()) == {0, 1, 2}


def test_a_million_features_are_read_where_they_lie() -> None:
    """Of a very wide row the forest reads columns inside the row, and no more of them than it has splits."""
    forest = SOURCE.Forest.of_width(1_000_000)
    assert 0 <= forest.feature.min() <= forest.feature.max() < 1_000_000
    assert forest.feature.shape == (25, 7)
    assert len(predict(np.ones((2, 1_000_000), np.float32))["class_id"]) == 2


def test_rows_without_features_are_invalid_input() -> None:
    """A row of nothing cannot be judged."""
    with pytest.raises(InvalidInput, match="at least one number"):
        predict(np.zeros((3, 0), np.float32))


def test_it_waits_once_for_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulated latency is waited once for each batch, however many rows it has."""
    waits: list[float] = []
    monkeypatch.setattr(SOURCE, "time", SimpleNamespace(sleep=waits.append))
    SOURCE.Model(shipped("v1-mock").folder, {"latency": 0.25}).predict({"features": np.zeros((7, 2), np.float32)})
    assert waits == [0.25]


def test_the_shipped_description_sleeps_in_sixteen_threads() -> None:
    """The model waits half a second unless told otherwise, in up to sixteen batches at once."""
    description = shipped("v1-mock").description
    assert (description.parameters, description.instances) == ({"latency": 0.5}, 16)


@pytest.mark.parametrize("parameters", [{"latency": -1.0}, {"latency": float("inf")}, {"latency": "1"}, {"speed": 1}])
def test_bad_parameters_are_refused(parameters: dict[str, object]) -> None:
    """A latency that is no length of time, or another parameter, is refused by name."""
    with pytest.raises(ConfigurationError, match=f"parameters.{min(parameters)}"):
        SOURCE.Model(shipped("v1-mock").folder, parameters)
