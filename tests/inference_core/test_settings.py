"""The settings file: complete, checked, and refused with the file and the key."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from inference_core.errors import ConfigurationError
from inference_core.settings import CHECKOUT, DEFAULT_FILE, SOCKET_PATH_LIMIT, VARIABLE, Settings, load


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Name a settings file that does not exist yet."""
    return tmp_path / "settings.toml"


def refusal(file: Path, text: str | bytes) -> str:
    """Write a settings file and return why it is refused, which starts with the file's name."""
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    assert caught.value.message.startswith(f"Settings file {file}")
    return caught.value.message


def keys(document: dict[str, dict[str, Any]]) -> set[tuple[str, str]]:
    """Return the pairs of section and key."""
    return {(section, key) for section, values in document.items() for key in values}


def test_the_shipped_file_states_every_default() -> None:
    """deploy/settings.toml has every key there is, each with its default."""
    assert load(DEFAULT_FILE) == Settings()
    shipped = tomllib.loads(DEFAULT_FILE.read_text())
    assert keys(shipped) == keys(msgspec.to_builtins(Settings()))


def test_an_empty_file_is_all_defaults(file: Path) -> None:
    """Every key may be left out."""
    file.touch()
    assert load(file) == Settings()


def test_the_environment_names_another_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """INFERENCEHUB_SETTINGS replaces the shipped file; empty, it does not."""
    file.write_text("[gateway]\nport = 4000\n")
    monkeypatch.setenv(VARIABLE, str(file))
    assert load().gateway.port == 4000
    monkeypatch.setenv(VARIABLE, "")
    assert load() == load(DEFAULT_FILE)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[gateway]\nprot = 1\n", ["prot", "gateway"]),
        ("[gatway]\n", ["gatway"]),
        ("[gateway]\nport = '3000'\n", ["gateway.port"]),
        ("[gateway]\nport = 0\n", ["gateway.port"]),
        ("[gateway]\nport = 65536\n", ["gateway.port"]),
        ("[gateway]\nprocesses = 1\n", ["gateway.processes"]),
        ("[gateway]\ndeadline = 0\n", ["gateway.deadline"]),
        ("[gateway]\ndeadline = inf\n", ["gateway.deadline"]),
        ("[gateway]\ndeadline = nan\n", ["gateway.deadline"]),
        ("[gateway]\nallowed_hosts = 'localhost'\n", ["gateway.allowed_hosts"]),
        ("[inference]\nworkers = true\n", ["inference.workers"]),
        ("[inference]\nmax_message_bytes = 2147483648\n", ["inference.max_message_bytes"]),
        ("[inference]\nport = 65535\nworkers = 2\n", ["inference.port", "65535"]),
        ("[inference]\ndrain_pause = -0.1\n", ["inference.drain_pause"]),
        ("[telemetry]\nsample_ratio = 1.1\n", ["telemetry.sample_ratio"]),
        ("[telemetry]\nsample_ratio = nan\n", ["telemetry.sample_ratio"]),
        ("[telemetry]\nlog_level = 'loud'\n", ["telemetry.log_level"]),
        ("[traffic]\nuser_header = 'X-User-Bin'\n", ["traffic.user_header"]),
        ("layout = 3\n", ["layout"]),
    ],
)
def test_a_wrong_key_is_named(file: Path, text: str, names: list[str]) -> None:
    """An unknown key, a wrong type and a value out of range are refused with the file and the key."""
    message = refusal(file, text)
    assert [name for name in names if name not in message] == []


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[gateway]\nprot = 1\n", 2, "gateway.prot: there is no such key; did you mean 'port'?"),
        ("[inference]\n[gatway]\n", 2, "gatway: there is no such section; did you mean 'gateway'?"),
        ("inference.worker = 2\n", 1, "inference.worker: there is no such key; did you mean 'workers'?"),
        ("[layout]\nzzz = 1\n", 2, "layout.zzz: there is no such key; known here: run_folder, allow_remote."),
        ("[gateway]\n\n[inference]\nworkers = 0\n", 4, "inference.workers"),
    ],
)
def test_a_wrong_key_has_its_line_and_the_nearest_right_one(file: Path, text: str, line: int, said: str) -> None:
    """Whoever mistypes a key reads where it stands and which one was meant."""
    message = refusal(file, text)
    assert message.startswith(f"Settings file {file}:{line}: ")
    assert said in message


@pytest.mark.parametrize(
    "text",
    ["port =", "[gateway]\nport = 1\nport = 2\n", "\ufeff[gateway]\n", b"\xff\xfe", b'a = "\xe9"', "\0", "{}"],
    ids=["no value", "twice", "byte order mark", "UTF-16", "Latin-1", "NUL", "JSON"],
)
def test_a_file_that_is_not_toml_is_named(file: Path, text: str | bytes) -> None:
    """Broken TOML, another encoding and a byte order mark are refused with the file's name."""
    assert len(refusal(file, text)) > len(f"Settings file {file}: ")


def test_a_missing_file_is_named(file: Path) -> None:
    """A file that is not there is refused with its name and the system's reason."""
    with pytest.raises(ConfigurationError, match="cannot be read: No such file or directory") as caught:
        load(file)
    assert str(file) in caught.value.message


def test_a_folder_is_no_settings_file(tmp_path: Path) -> None:
    """A folder in the file's place is refused with its name."""
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory") as caught:
        load(tmp_path)
    assert str(tmp_path) in caught.value.message


@pytest.mark.parametrize("section", ["gateway", "inference"])
@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "192.168.1.7", "example.org", "", "127.0.0.1.example.org"],  # noqa: S104  # what is refused
)
def test_an_address_for_others_needs_consent(file: Path, section: str, host: str) -> None:
    """A host that other machines reach is refused by its key, unless allow_remote says that this is meant."""
    text = f'[{section}]\nhost = "{host}"\n'
    message = refusal(file, text)
    assert f"{section}.host" in message
    assert "allow_remote" in message
    file.write_text(f"{text}[layout]\nallow_remote = true\n")
    assert getattr(load(file), section).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_no_consent(file: Path, host: str) -> None:
    """Every form of this machine's own address is accepted."""
    file.write_text(f'[gateway]\nhost = "{host}"\n[inference]\nhost = "{host}"\n')
    assert load(file).inference.host == host


def test_the_longest_socket_path_fits_exactly(file: Path) -> None:
    """A run folder whose last socket needs 107 bytes is accepted; one byte more is refused with the way out."""
    room = SOCKET_PATH_LIMIT - len("/inference-1.sock")
    fits = "/" + "x" * (room - 1)
    file.write_text(f'[layout]\nrun_folder = "{fits}"\n')
    assert len(str(load(file).worker_socket(1))) == SOCKET_PATH_LIMIT
    assert "layout.run_folder" in refusal(file, f'[layout]\nrun_folder = "{fits}x"\n')


def test_the_socket_path_is_counted_in_bytes(file: Path) -> None:
    """A letter that takes two bytes counts twice, as the kernel counts."""
    room = SOCKET_PATH_LIMIT - len("/inference-1.sock")
    assert "layout.run_folder" in refusal(file, f'[layout]\nrun_folder = "/{"é" * (room // 2 + 1)}"\n')


def test_relative_folders_count_from_the_checkout(file: Path) -> None:
    """A relative folder does not depend on where a program is started; an absolute one stays as it is."""
    file.write_text('[layout]\nrun_folder = "here"\n[inference]\nrepository = "/models"\n')
    settings = load(file)
    assert settings.run_folder == CHECKOUT / "here"
    assert settings.repositories == (Path("/models"),)
    assert settings.worker_socket(3) == CHECKOUT / "here" / "inference-3.sock"
