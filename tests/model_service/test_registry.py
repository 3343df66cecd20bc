"""The registry knows what can be run, and says what it knows."""

from __future__ import annotations

import threading
from functools import partial

import numpy as np
import pytest

from inference_core.errors import NoWorker, UnknownModel
from model_service.registry import Registry
from tests.model_service.worker import Gate, loaded, models, registry_of, runtime_of


def test_the_last_version_is_the_default() -> None:
    """Without a version a model's last one answers; each can be asked by name."""
    registry = registry_of(models())
    assert registry.get("versioned").on_disk.version == "2"
    assert [registry.get("versioned", version).on_disk.version for version in ("1", "2")] == ["1", "2"]
    assert registry.versions("versioned") == ["1", "2"]


def test_all_models_are_listed_by_name_and_version() -> None:
    """Every version of every model is listed once, in order."""
    listed = [(model.on_disk.name, model.on_disk.version) for model in registry_of(reversed(models())).all()]
    assert listed == [("double", "1"), ("shout", "1"), ("versioned", "1"), ("versioned", "2")]


@pytest.mark.parametrize("name", ["", "Double", "double ", "../double", "x" * 100_000])
def test_an_unknown_name_is_answered_with_the_names_there_are(name: str) -> None:
    """A client that asks for another model learns which there are, and its own words are not repeated."""
    registry = registry_of(models())
    with pytest.raises(UnknownModel) as caught:
        registry.get(name)
    assert caught.value.message == "There is no model of that name. Models here: double, shout, versioned."
    with pytest.raises(UnknownModel):
        registry.versions(name)


@pytest.mark.parametrize("version", ["3", "01", " 1", "x" * 100_000])
def test_an_unknown_version_is_answered_with_the_versions_there_are(version: str) -> None:
    """A client that asks for another version learns which there are."""
    with pytest.raises(UnknownModel) as caught:
        registry_of(models()).get("versioned", version)
    assert caught.value.message == "Model versioned has no such version. Versions here: 1, 2."


def test_an_empty_registry_is_a_worker_that_still_loads() -> None:
    """Before the models are there, a request is worth another try later rather than wrong."""
    with pytest.raises(NoWorker, match="loading"):
        Registry().get("double")
    assert Registry().all() == []


def test_closing_closes_every_runtime() -> None:
    """Each model is closed once the registry is."""
    given = models()
    registry_of(given).close()
    assert [runtime_of(model).closed for model in given] == [True] * 4


def test_closing_waits_for_what_runs() -> None:
    """A running computation ends before its runtime is closed."""
    gate = Gate()
    model = loaded("slow", gate)
    model.threads[0].submit(partial(model.runtime.predict, {"features": np.zeros((1, 1), np.float32)}))
    assert gate.entered.wait(10)
    closing = threading.Thread(target=registry_of([model]).close)
    closing.start()
    assert not runtime_of(model).closed
    gate.leave.set()
    closing.join()
    assert runtime_of(model).closed


def test_the_revision_grows_with_every_change_and_with_nothing_else() -> None:
    """Models, defaults and labels that stay as they were leave it, so that who asks again learns of changes only."""
    registry = registry_of(models())
    (double,) = [model for model in registry.all() if model.on_disk.name == "double"]
    seen = [registry.revision]

    def grown() -> bool:
        seen.append(registry.revision)
        return seen[-1] > seen[-2]

    registry.put(double)
    assert grown()
    registry.prefer("versioned", "1")
    assert grown()
    registry.prefer("versioned", "1")
    assert not grown()
    registry.name_labels("double", {"stable": "1"})
    assert grown()
    registry.name_labels("double", {"stable": "1"})
    assert not grown()
    registry.remove("double", "1")
    assert grown()
    registry.remove("double", "1")
    assert not grown()
