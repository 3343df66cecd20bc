"""What the verbs refuse before they start anything."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec
import pytest

from deploy.up import down, status, up
from inference_core.errors import ConfigurationError
from inference_core.settings import Settings


def settings_for(folder: Path, port: int = 3000) -> Settings:
    """Return settings with a run folder and a port of their own."""
    return msgspec.convert({"gateway": {"port": port}, "layout": {"run_folder": str(folder / "run")}}, Settings)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    """`up` says which address cannot be used, who to ask and which key to change, and starts nothing."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1:{port} cannot be used.*gateway\.port"):
            up(settings_for(tmp_path, port))
    assert not (tmp_path / "run" / "supervisord.pid").exists()


@pytest.mark.parametrize("metrics", [True, False])
def test_metrics_have_a_folder_where_they_are_on(tmp_path: Path, metrics: bool) -> None:  # noqa: FBT001  # parametrized
    """Where they are off there is none, so no process shares its numbers, and those of a former run are gone."""
    former = tmp_path / "run" / "metrics" / "counter_gateway-0.db"
    former.parent.mkdir(parents=True)
    former.touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = settings_for(tmp_path, taken.getsockname()[1])
        telemetry = msgspec.structs.replace(settings.telemetry, metrics=metrics)
        with pytest.raises(ConfigurationError, match="cannot be used"):
            up(msgspec.structs.replace(settings, telemetry=telemetry))
    assert former.parent.exists() is metrics
    assert not former.exists()


def test_down_and_status_say_that_nothing_runs(tmp_path: Path) -> None:
    """Without a running system both verbs end with one line."""
    said: list[str] = []
    down(settings_for(tmp_path), said.append)
    status(settings_for(tmp_path), said.append)
    assert said == ["Not running.", "Not running; start with make up."]


def test_two_settings_that_need_one_port_are_named(tmp_path: Path) -> None:
    """`up` refuses at once, and starts nothing that would then fight for it."""
    with pytest.raises(ConfigurationError, match=r"gateway\.port and inference\.port both need port 50051"):
        up(settings_for(tmp_path, 50051))
    assert not (tmp_path / "run" / "supervisord.pid").exists()
