"""`make dev`: the system, with its own code reloaded when a file is saved.

Python models need nothing of this: the workers follow their repositories by themselves. What runs is restarted member
by member, so that requests are answered meanwhile; a mistake that keeps a program from starting shows in its log, and
the next save tries again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from deploy.supervisor import Supervisor
from deploy.up import up
from inference_core.errors import ConfigurationError
from inference_core.settings import CHECKOUT, Settings

LOOK_SECONDS = 0.3
GROUPS: Mapping[str, tuple[str, ...]] = {
    "gateway": ("gateway",),
    "model_service": ("inference",),
    "inference_core": ("inference", "gateway"),
    "otel": ("inference", "gateway"),
    "proto": ("inference", "gateway"),
}
"""Which supervisord groups run the code in a folder, in the order in which they are restarted."""

Stamps = dict[Path, int]


def dev(settings: Settings) -> None:
    """Start everything, then restart what runs a file whenever that is saved; ends with Ctrl-C, the system goes on.

    Raises ConfigurationError where the system cannot be started.
    """
    supervisor = Supervisor(settings)
    if not supervisor.is_running():
        up(settings)
    _say("Watching the code; save a file to have it reloaded, Ctrl-C to stop watching. Models reload by themselves.")
    before = stamps(CHECKOUT)
    while True:
        time.sleep(LOOK_SECONDS)
        now = stamps(CHECKOUT)
        changed = {file for file in before.keys() | now.keys() if before.get(file) != now.get(file)}
        before = now
        if changed:
            _reload(supervisor, CHECKOUT, changed)


def stamps(checkout: Path) -> Stamps:
    """Return when each source file of the programs was changed, in nanoseconds; models are none of them."""
    models = checkout / "model_service" / "models"
    files = [file for folder in GROUPS for file in (checkout / folder).rglob("*.py") if not file.is_relative_to(models)]
    return {file: file.stat().st_mtime_ns for file in files if file.exists()}


def groups_of(checkout: Path, changed: Iterable[Path]) -> list[str]:
    """Return the groups that run any of these files, each once, workers before gateways."""
    folders = {file.relative_to(checkout).parts[0] for file in changed}
    groups = {group for folder in folders for group in GROUPS[folder]}
    return sorted(groups, reverse=True)


def _reload(supervisor: Supervisor, checkout: Path, changed: set[Path]) -> None:
    names = ", ".join(sorted(str(file.relative_to(checkout)) for file in changed))
    started = time.monotonic()
    for group in groups_of(checkout, changed):
        for member in _members(supervisor, group):
            done = supervisor.control("restart", member)
            if "ERROR" in done.stdout:
                _say(f"{member} does not start; see `make logs`, mend it and save.")
                return
    _say(f"Reloaded after a change of {names} in {time.monotonic() - started:.1f} s.")


def _members(supervisor: Supervisor, group: str) -> list[str]:
    lines = supervisor.control("status", f"{group}:*").stdout.splitlines()
    members = [line.split()[0] for line in lines if line.startswith(f"{group}:")]
    if not members:
        raise ConfigurationError("InferenceHub does not run any more; start it again with `make dev`.")
    return members


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
