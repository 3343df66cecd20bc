"""What a worker says of one of its models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from inference_pb import open_inference_pb2 as wire

LABEL = "label."
"""What the parameters of a model's configuration begin with that name a version."""

LOADED = "loaded."
"""The same for when a version was loaded."""

UNBATCHED = 1
"""What a V2 server that does not tell is taken to batch."""

Key = tuple[str, str]
"""A model and one of its versions; an empty version is whichever the worker has for its default."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """How many rows a worker computes at once, and in how many instances.

    `labels`: the versions they stand for. `loaded`: for each version what changes when it is loaded again.
    """

    versions: tuple[str, ...]
    max_rows: int = UNBATCHED
    instances: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)
    loaded: Mapping[str, str] = field(default_factory=dict)


def facts_from(versions: tuple[str, ...], config: wire.ModelConfig) -> ModelFacts:
    """Return what a model's configuration says of it."""
    instances = sum(group.count for group in config.instance_group)
    labels, loaded = _named(config, LABEL), _named(config, LOADED)
    return ModelFacts(versions, max(UNBATCHED, config.max_batch_size), max(1, instances), labels, loaded)


def _named(config: wire.ModelConfig, prefix: str) -> Mapping[str, str]:
    return {
        name.removeprefix(prefix): parameter.string_value
        for name, parameter in config.parameters.items()
        if name.startswith(prefix)
    }
