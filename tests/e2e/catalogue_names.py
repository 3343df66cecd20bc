"""Rows C14 to C17: models that are too large, names that look like others or like paths, files open to others."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import quote

import httpx

from inference_core.settings import CHECKOUT
from tests.e2e.catalogue_bench import MAX_MODEL_BYTES, Bench, Growth, counted, row, unless
from tests.e2e.opened import opened_by
from tests.e2e.outcome import Outcome
from tests.e2e.stock import UNAVAILABLE, numbered, repository_of, standings, stocked, workers_of
from tests.e2e.tensor_calls import named_calls
from tests.gateway.http_vectors import exchange, statuses_in
from tests.waiting import wait_for

TEBIBYTE = 1024**4
MOST_MEBIBYTES, MOST_SECONDS = 20.0, 3.0
REFUSED = {400, 404, 405}
ALIKE = (
    "Sentiment",
    "SENTIMENT",
    "sentiment.",
    "sentiment ",
    "\u0455entiment",
    "sent\u0131ment",
    "sentiment\u200b",
    "sentiment\u0301",
)
NOBODY = 65534
RESOLVER = ("/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf")
"""Opened for connections that are made anew, whatever anybody asks for."""

HOSTILE = (
    "../etc",
    "a/../b",
    "model/..",
    "/etc/passwd",
    "sentiment/1",
    " ..",
    ".. ",
    "..",
    "...",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f%2e%2e%2fetc",
    "%252e%252e%252fetc",
    "..\\..\\etc",
    "..;/etc",
    "x\0y",
    "x\ny",
    "file:///etc/passwd",
    "~root",
    "x" * 300,
    "\N{FULLWIDTH FULL STOP}\N{FULLWIDTH FULL STOP}/etc",
)
"""Triton's own list (L0_input_validation), and what web servers have stumbled over."""

READ, ACT = ("", "/ready", "/config", "/stats", "/versions/1", "/versions/1/config"), ("/infer", "/versions/1/infer")
BODY = b'{"inputs": [{"name": "prompt", "datatype": "BYTES", "shape": [1], "data": ["fine"]}]}'


@row("C14", "a model of 1 TiB that takes no room on disk; one byte more than inference.max_model_bytes")
def huge(bench: Bench) -> Outcome:
    """Refused by size before anything is read."""
    sizes = {TEBIBYTE: "bytes of memory are available", MAX_MODEL_BYTES + 1: "inference.max_model_bytes is"}
    with stocked(bench, "huge") as stock, Growth(workers_of(bench)) as growth:
        began = time.monotonic()
        for version, size in enumerate(sizes, 1):
            stock.publish(str(version), partial(_sparse, size))
        reasons = [stock.until(str(version), UNAVAILABLE) for version in range(1, 1 + len(sizes))]
        took = time.monotonic() - began
    wrong = unless(all(map(str.__contains__, reasons, sizes.values())), f"reasons {reasons}")
    wrong += unless(took < MOST_SECONDS and growth.mebibytes < MOST_MEBIBYTES, "it was read")
    return Outcome("both refused with their size", f"after {took:.1f} s, memory + {growth.mebibytes:.1f} MiB", wrong)


def _sparse(size: int, folder: Path) -> None:
    numbered(1)(folder)
    with (folder / "weights").open("wb") as stream:
        stream.truncate(size - (folder / "model.py").stat().st_size)


@row("C15", "names that look like sentiment: case, a dot or a blank behind, other alphabets, signs that do not show")
def alike(bench: Bench) -> Outcome:
    """404 at every door, never the other model's answer; a folder of such a name is no model, and the log says so."""
    with bench.client() as client:
        answers = [
            client.post(
                f"/v2/models/{quote(name, safe='')}/infer", content=BODY, headers={"Content-Type": "application/json"}
            )
            for name in ALIKE
        ]
        answers += [client.post("/predict", json={"prompt": "fine", "model_name": name}) for name in ALIKE]
    codes = {code for name in ALIKE for code in named_calls(bench, name)}
    folder = repository_of(bench) / ALIKE[4]
    folder.mkdir()
    (folder / "model.toml").touch()
    try:
        wait_for(lambda: b"a name has up to 128 ASCII letters" in bench.logged(), "a line of the log")
    finally:
        (folder / "model.toml").unlink()
        folder.rmdir()
    known = [name for each in standings(bench) for name, _ in each if name in ALIKE]
    statuses = [answer.status_code for answer in answers]
    wrong = unless(set(statuses) <= {400, 404}, f"statuses {set(statuses)}") + unless(not known, f"models {known}")
    wrong += unless(codes <= {"NOT_FOUND", "INVALID_ARGUMENT"}, f"over gRPC {codes}")
    return Outcome(f"{counted(statuses)}; over gRPC {', '.join(sorted(codes))}; such a folder is left out", wrong=wrong)


@row("C16", "names that are paths, in every place of both doors and of a worker, with strace at gateways and workers")
def traversal(bench: Bench) -> Outcome:
    """400, 404 or 405, and no process opens anything but its own."""
    processes = [process.pid for process in (*bench.gateways(), *workers_of(bench))]
    with opened_by(processes) as paths:
        statuses = [status for line in _lines(every_form=bench.measuring) for status in _asked(bench, line)]
        with bench.client() as client:
            bodies = [client.post("/predict", json={"prompt": "fine", "model_name": name}) for name in HOSTILE]
        codes = {code for name in HOSTILE for code in named_calls(bench, name)}
    statuses += [answer.status_code for answer in bodies]
    own = [path for path in paths if Path(os.path.normpath(path)).is_relative_to(repository_of(bench))]
    outside = sorted({path for path in paths if _is_outside(bench, path)})
    wrong = unless(set(statuses) <= REFUSED, f"statuses {set(statuses) - REFUSED}")
    wrong += unless(codes <= {"NOT_FOUND", "INVALID_ARGUMENT"}, f"over gRPC {codes}")
    wrong += unless(len(own) > 0, "strace saw not even the repository being looked at")
    wrong += unless(not outside, f"opened {outside[:3]}")
    happened = f"{len(HOSTILE)} names: {counted(statuses)}; over gRPC {', '.join(sorted(codes))}"
    figure = f"opens outside {len(outside)} of {len(paths)}, {len(own)} in the repository"
    return Outcome(happened, figure, wrong)


def _lines(*, every_form: bool) -> Iterator[bytes]:
    for name in HOSTILE:
        forms = quote(name, safe="%/;:~\\"), quote(name, safe="")
        for told in dict.fromkeys(forms if every_form else forms[:1]):
            yield from (f"GET /v2/models/{told}{more}".encode() for more in READ)
            yield from (f"POST /v2/models/{told}{more}".encode() for more in ACT)
            yield from (f"POST /v2/repository/models/{told}/{verb}".encode() for verb in ("load", "unload"))
            yield f"GET /v2/models/sentiment/versions/{told}".encode()
            yield f"POST /v2/models/sentiment/versions/{told}/infer".encode()
            yield f"GET /console/api/models/{told}/card".encode()
            yield f"GET /console/{told}".encode()
            yield f"GET /admin/traffic/{told}".encode()


def _asked(bench: Bench, line: bytes) -> list[int]:
    body = BODY if line.endswith(b"infer") else b""
    head = b"%b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" % line
    head += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    return statuses_in(exchange(bench.address, head + body, 10)[0]) or [0]


def _is_outside(bench: Bench, path: str) -> bool:
    own = (bench.system.run_folder.parent, CHECKOUT, sys.prefix, sys.base_prefix, "/proc", "/sys", "/dev", *RESOLVER)
    return not any(Path(os.path.normpath(path)).is_relative_to(folder) for folder in own)


@row("C17", "a repository that others may write to: everybody, and as root another group")
def open_to_others(bench: Bench) -> Outcome:
    """Each worker warns of it with what to do, and serves."""
    with stocked(bench, "open") as stock:
        stock.serve("1", numbered(1))
        file = stock.folder / "1" / "model.py"
        file.chmod(0o646)
        _wait_for_warning(bench, f"Every user may change {file} ")
        told = ["every user"]
        if os.geteuid() == 0:
            file.chmod(0o664)
            os.chown(file, 0, NOBODY)
            _wait_for_warning(bench, f"Group {NOBODY} may change {file} ")
            told.append("another group")
        with bench.client() as client:
            answer = stock.ask(client)
    wrong = unless(answer.status_code == httpx.codes.OK, f"asked: {answer.status_code}")
    return Outcome(f"warned of {' and of '.join(told)} in each worker's log; served", wrong=wrong)


def _wait_for_warning(bench: Bench, words: str) -> None:
    def warned() -> bool:
        lines = [line for line in bench.log_lines() if words.encode() in line]
        return len(lines) >= len(workers_of(bench)) and all(
            b'"level":"warning"' in line.replace(b" ", b"") for line in lines
        )

    wait_for(warned, f"a warning: {words}")
