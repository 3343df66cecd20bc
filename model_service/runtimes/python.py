"""Runs a model that is written in Python: class `Model` in `<version>/model.py`.

What lies beside that file is imported with `from . import helper`: each loading of a version is a package of its own,
so that equal names in two models, or in a version and its successor, never meet.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Protocol

from inference_core.errors import ConfigurationError
from inference_core.tensors import Arrays
from model_service.description import Parameter, Tensor
from model_service.repository import ModelOnDisk
from model_service.runtime import Runtime

FILE = "model.py"
PREFIX = "model:"
"""A colon keeps a loaded model's name from ever meeting one that an import statement can reach."""

SERIAL = itertools.count()


class Model(Protocol):
    """What model.py offers; `warmup()`, run once after construction, and `close()` may be left out."""

    def __init__(self, folder: Path, parameters: Mapping[str, Parameter]) -> None:
        """Load from the version's folder with the parameters of model.toml."""

    def predict(self, inputs: Arrays) -> Arrays:
        """As `Runtime.predict`."""


class FreshSource(SourceFileLoader):
    """Compiles what the file says now. Python's cached bytecode is told apart by whole seconds and the size alone."""

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002  # as `InspectLoader.get_code`
        """Return the file's code; nothing is written beside it."""
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


class Beside(MetaPathFinder):
    """Finds what lies in a version's folder, as the files are now, and for that version's own package alone."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As `MetaPathFinder.find_spec`."""
        if not fullname.startswith(PREFIX):
            return None
        # A finder keeps what it saw of its folder, so each look takes a new one.
        finders = [FileFinder(folder, (FreshSource, SOURCE_SUFFIXES)) for folder in path or ()]
        return next((found for finder in finders if (found := finder.find_spec(fullname, target))), None)


BESIDE = Beside()


class PythonRuntime:
    """A constructed and warmed-up Model; what it waits for is not known."""

    only_computes = False
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()

    def __init__(self, model: Model, module_name: str) -> None:
        self._model = model
        self._module_name = module_name

    def predict(self, inputs: Arrays) -> Arrays:
        """As `Runtime.predict`."""
        return self._model.predict(inputs)

    def close(self) -> None:
        """As `Runtime.close`."""
        try:
            _call_if_there(self._model, "close")
        finally:
            del self._model
            _forget(self._module_name)


def load(model: ModelOnDisk, parameters: Mapping[str, Parameter]) -> Runtime:
    """Import model.py, construct its Model and warm it up.

    Raises ConfigurationError with the file and the reason, whatever went wrong in it.
    """
    file = model.folder / FILE
    # The number keeps two loadings of one version apart while one takes the other's place. A dot would split the name.
    name = f"{PREFIX}{model.name}:{model.version}:{next(SERIAL)}".replace(".", "_")
    try:
        loaded = _construct(_import(name, file), model.folder, parameters)
        _call_if_there(loaded, "warmup")
    except ConfigurationError as error:
        raise _refusal(name, file, error.message) from error
    except (Exception, SystemExit) as error:
        place = _place(error, model.folder)
        raise _refusal(name, file, f"{type(error).__name__}{place}: {error}{_advice(error, model.folder)}") from error
    return PythonRuntime(loaded, name)


def _import(name: str, file: Path) -> ModuleType:
    if BESIDE not in sys.meta_path:
        # Before Python's own finder, which would trust cached bytecode.
        sys.meta_path.insert(0, BESIDE)
    loader, around = FreshSource(name, str(file)), [str(file.parent)]
    specification = importlib.util.spec_from_file_location(name, file, loader=loader, submodule_search_locations=around)
    if specification is None:
        raise ConfigurationError("is not Python source.")
    module = importlib.util.module_from_spec(specification)
    # dataclasses and pickle look a class's module up by name.
    sys.modules[name] = module
    loader.exec_module(module)
    return module


def _construct(module: ModuleType, folder: Path, parameters: Mapping[str, Parameter]) -> Model:
    model: Model = module.Model(folder, parameters)
    if not callable(getattr(model, "predict", None)):
        raise ConfigurationError("class Model has no method predict.")
    return model


def _refusal(name: str, file: Path, reason: str) -> ConfigurationError:
    _forget(name)
    return ConfigurationError(f"Model file {file} cannot be loaded: {reason}")


def _place(error: BaseException, folder: Path) -> str:
    """Return the last line of the version's own files that the error came through."""
    if isinstance(error, SyntaxError):
        return ""  # it names its line itself
    own = [step for step in traceback.extract_tb(error.__traceback__) if Path(step.filename).is_relative_to(folder)]
    return f" in line {own[-1].lineno} of {Path(own[-1].filename).relative_to(folder)}" if own else ""


def _advice(error: BaseException, folder: Path) -> str:
    missing = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if missing and ((folder / missing).is_dir() or (folder / f"{missing}.py").is_file()):
        return f". It lies beside model.py, so write: from . import {missing}"
    return ""


def _forget(name: str) -> None:
    for loaded in [each for each in list(sys.modules) if each == name or each.startswith(f"{name}.")]:
        sys.modules.pop(loaded, None)


def _call_if_there(model: Model, method: str) -> None:
    function = getattr(model, method, None)
    if function is not None:
        function()
