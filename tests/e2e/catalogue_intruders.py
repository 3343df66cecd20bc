"""Rows C09 to C13: files that want to run code, to read what is elsewhere, or to take all memory."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import socket
import stat
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import skops.io
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from tests.e2e.catalogue_bench import MEBIBYTE, Bench, Growth, row, unless
from tests.e2e.outcome import Outcome
from tests.e2e.stock import READY, UNAVAILABLE, numbered, stocked, workers_of
from tests.model_service.runtimes.test_onnx import with_external
from tests.model_service.runtimes.test_sklearn import Canary
from tests.model_service.runtimes.test_torch import HAS_TORCH
from tests.model_service.runtimes.test_torch import TOML as TORCH_TOML
from tests.model_service.test_archives import lying, zipped

Fill = Callable[[Path], object]
MOST_MEBIBYTES = 40.0
BOMB_MEBIBYTES = 512
ROOT = 0


def _refused(bench: Bench, runtime: str, fills: Mapping[str, Fill], description: str = "") -> dict[str, str]:
    """Publish each as a version of one model, and return with which reason each was refused."""
    with stocked(bench, runtime, description or f'runtime = "{runtime}"\n') as stock:
        for version, fill in enumerate(fills.values(), 1):
            stock.publish(str(version), fill)
        return {name: stock.until(str(version), UNAVAILABLE) for version, name in enumerate(fills, 1)}


def _writing(name: str, data: bytes) -> Fill:
    return lambda folder: (folder / name).write_bytes(data)


def _canary(bench: Bench) -> tuple[bytes, Path]:
    """Return a pickle and the file that it touches when it is loaded; a sibling of it has just proved that it does."""
    folder = bench.system.run_folder.parent
    control, file = folder / "control", folder / "canary"
    pickle.loads(pickle.dumps(Canary(control)))  # noqa: S301  # our own
    assert control.exists()
    control.unlink()
    return pickle.dumps(Canary(file)), file


@row("C09", "pickles that run code: .pkl, .joblib, .pt, .pt2", destructive=True)
def pickles(bench: Bench) -> Outcome:
    """Refuse them by their kind and touch no canary; without PyTorch its files are refused with what to install."""
    data, canary = _canary(bench)
    found = _refused(bench, "sklearn", {name: _writing(name, data) for name in ("model.pkl", "model.joblib")})
    torch = _refused(bench, "torch", {name: _writing(name, data) for name in ("model.pt", "model.pt2")}, TORCH_TOML)
    wrong = unless(not canary.exists(), "a pickle was run")
    wrong += unless(all("can run any code" in reason for reason in found.values()), f"{found}")
    expected = "cannot be loaded" if HAS_TORCH else "pip install"
    wrong += unless(all(expected in reason for reason in torch.values()), f"{torch}")
    installed = "" if HAS_TORCH else " (PyTorch is not installed here, its own refusal was not tried)"
    return Outcome(f"{len(found) + len(torch)} refused{installed}", "canaries touched 0", wrong)


@row("C10", "pickles under other names, in a zip, and as .npy within a skops file", destructive=True)
def renamed_pickles(bench: Bench) -> Outcome:
    """Refused by what they hold, whatever they are called."""
    data, canary = _canary(bench)
    archive = zipped({"schema.json": data, "data.pkl": data}, zipfile.ZIP_STORED)
    skops_fills = {
        "as skops": _writing("model.skops", data),
        "zipped": _writing("model.skops", archive),
        "npy": _writing("model.skops", _with_pickled_array(canary)),
    }
    found = _refused(bench, "sklearn", skops_fills)
    found |= _refused(bench, "onnx", {"as onnx": _writing("model.onnx", data), "zip": _writing("model.onnx", archive)})
    found |= _refused(bench, "xgboost", {name: _writing(name, data) for name in ("model.ubj", "model.json")})
    found |= _refused(bench, "lightgbm", {"as text": _writing("model.txt", data)})
    wrong = unless(not canary.exists(), "a pickle was run")
    wrong += unless(all("cannot be loaded" in reason for reason in found.values()), f"{found}")
    wrong += unless("allow_pickle=False" in found["npy"], f"npy: {found['npy']}")
    return Outcome(f"{len(found)} of {len(found)} refused by content", "canaries touched 0", wrong)


def _with_pickled_array(canary: Path) -> bytes:
    """Return a skops file of which one array is a pickle in numpy's own form."""
    flowers, kinds = load_iris(return_X_y=True)
    good = zipfile.ZipFile(io.BytesIO(skops.io.dumps(LogisticRegression(max_iter=500).fit(flowers, kinds))))
    array = io.BytesIO()
    np.save(array, np.array([Canary(canary)], object), allow_pickle=True)
    return zipped(
        {name: array.getvalue() if name.endswith(".npy") else good.read(name) for name in good.namelist()},
        zipfile.ZIP_STORED,
    )


@row("C11", "ONNX external data: ../, absolute, a symbolic link, a hard link")
def external_data(bench: Bench) -> Outcome:
    """Nothing outside of the version's folder is read; what lies in it is."""
    secret = bench.system.run_folder.parent / "secret"
    np.array([7, 8], np.float32).tofile(secret)
    locations = {"..": "../../../secret", "absolute": str(secret), "link": "link", "hard link": "hard"}
    with stocked(bench, "external", 'runtime = "onnx"\n') as stock:
        for version, location in enumerate(("weights", *locations.values()), 1):
            stock.publish(str(version), _graph(location, secret))
        control = stock.until("1", READY)
        found = {name: stock.until(str(version), UNAVAILABLE) for version, name in enumerate(locations, 2)}
    wrong = unless(control == "", f"inside its folder: {control}")
    return Outcome(f"refused: {', '.join(found)}; a file of its own is read", "files read outside 0", wrong)


def _graph(location: str, secret: Path) -> Fill:
    def fill(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as name:
            model = with_external(Path(name), location)
            shutil.copy(model.folder / "model.onnx", folder)
        np.array([7, 8], np.float32).tofile(folder / "weights")
        if location == "link":
            (folder / "link").symlink_to(secret)
        if location == "hard":
            os.link(secret, folder / "hard")

    return fill


@row("C12", "symbolic links to /etc, /dev/zero and a secret; a device, a FIFO, a socket")
def no_files(bench: Bench) -> Outcome:
    """Refused wherever they lie, before anything is read."""
    fills: dict[str, Fill] = {
        "a folder's link": lambda folder: (folder / "more").symlink_to("/etc"),
        "a file's link": lambda folder: (folder / "weights").symlink_to("/dev/zero"),
        "model.py's link": lambda folder: (folder / "model.py").symlink_to("/etc/hostname"),
        "a FIFO": lambda folder: os.mkfifo(folder / "model.py"),
        "a socket": _socket,
    }
    if os.geteuid() == ROOT:
        fills["a device"] = lambda folder: os.mknod(folder / "zero", 0o644 | stat.S_IFCHR, os.makedev(1, 5))
    found = _refused(bench, "python", {name: _beside(fill) for name, fill in fills.items()})
    with stocked(bench, "description") as stock:
        (stock.folder / "model.toml").unlink()
        (stock.folder / "model.toml").symlink_to("/etc/passwd")
        found["model.toml's link"] = stock.until("", UNAVAILABLE, "symbolic link")
    known = ("leaves the model repository", "is not a regular file")
    wrong = unless(all(any(word in reason for word in known) for reason in found.values()), f"{found}")
    return Outcome(f"{len(found)} of {len(found)} refused: {', '.join(found)}", wrong=wrong)


def _beside(fill: Fill) -> Fill:
    def filled(folder: Path) -> None:
        fill(folder)
        if not os.path.lexists(folder / "model.py"):
            numbered(1)(folder)

    return filled


def _socket(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s"))


@row(
    "C13",
    f"skops files: entries that lead out, {BOMB_MEBIBYTES} MB of zeros, a size that is a lie, a bomb in a bomb",
    destructive=True,
)
def bombs(bench: Bench) -> Outcome:
    """Refuse what a runtime would unpack after measuring it, at little cost; other archives are not offered."""
    zeros = bytes(BOMB_MEBIBYTES * MEBIBYTE)
    bomb = zipped({"schema.json": zeros})
    inner = zipped({"data.npy": zeros})
    liar = zipped({"schema.json": bytes(1_000_000)})
    fills = {
        "../": _writing("model.skops", zipped({"../../evil.json": b"{}", "schema.json": b"{}"})),
        "bomb": _writing("model.skops", bomb),
        "liar": _writing("model.skops", lying(liar, 10)),
        "bomb in a bomb": _writing("model.skops", zipped({"schema.json": b"{}", "x.npz": inner}, zipfile.ZIP_STORED)),
        "bzip2": _writing("model.skops", zipped({"schema.json": zeros[:MEBIBYTE]}, zipfile.ZIP_BZIP2)),
    }
    _refused(
        bench, "sklearn", {"first": _writing("model.skops", b"no archive")}
    )  # the library's import is not the bombs'
    with Growth(workers_of(bench)) as growth:
        found = _refused(bench, "sklearn", fills)
    evil = list(bench.system.run_folder.parent.rglob("evil.json"))
    words = ("leads out of it", "it would become", "Bad CRC-32", "it would become", "neither stored nor deflated")
    wrong = unless(all(map(str.__contains__, found.values(), words)), f"{found}") + unless(not evil, f"written: {evil}")
    wrong += unless(growth.mebibytes < MOST_MEBIBYTES, f"memory grew by {growth.mebibytes:.0f} MiB")
    happened = f"{len(found)} of {len(found)} refused; {len(bomb) // 1024} KiB that would be {BOMB_MEBIBYTES} MiB"
    return Outcome(happened, f"memory + {growth.mebibytes:.1f} MiB", wrong)
