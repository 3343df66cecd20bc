"""Archives are measured before they are unpacked, whatever they say of themselves."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.errors import ConfigurationError
from model_service.archives import check_archive

ROOM = 100_000
ZEROS = bytes(1_000_000)
CONTENT = st.dictionaries(st.text("abc/.", min_size=1, max_size=8), st.binary(max_size=200), max_size=4)
STORED, DEFLATED, BZIP2 = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2


def zipped(entries: dict[str, bytes], method: int = DEFLATED) -> bytes:
    """Return a zip file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return stream.getvalue()


def lying(data: bytes, said: int) -> bytes:
    """Return a zip file whose only entry says that it has another size."""
    honest, lie = struct.pack("<I", len(ZEROS)), struct.pack("<I", said)
    assert data.count(honest) == 2  # in its own head, and in the list at the end
    return data.replace(honest, lie)


def refusal(folder: Path, data: bytes) -> str:
    """Return the sentence with which a file is refused."""
    (folder / "model.skops").write_bytes(data)
    with pytest.raises(ConfigurationError) as caught:
        check_archive(folder / "model.skops", ROOM)
    assert caught.value.message.startswith(f"Model file {folder / 'model.skops'} ")
    return caught.value.message


@given(entries=CONTENT, method=st.sampled_from([STORED, DEFLATED]))
def test_honest_archives_pass(tmp_path_factory: pytest.TempPathFactory, entries: dict[str, bytes], method: int) -> None:
    """What leads nowhere else, and has room, is left to the runtime."""
    file = tmp_path_factory.mktemp("archive") / "model.skops"
    safe = {name: content for name, content in entries.items() if name[0] != "/" and ".." not in name}
    file.write_bytes(zipped(safe, method))
    check_archive(file, ROOM)
    assert zipfile.is_zipfile(file)


@pytest.mark.parametrize("data", [None, b"", b"no archive", b"PK\x03\x04 and no more"])
def test_what_is_no_archive_is_left_to_the_runtime(tmp_path: Path, data: bytes | None) -> None:
    """A missing file and one of another kind are not judged here."""
    file = tmp_path / "model.skops"
    if data is not None:
        file.write_bytes(data)
    check_archive(file, ROOM)
    assert not zipfile.is_zipfile(file)


@pytest.mark.parametrize("method", [STORED, DEFLATED])
def test_a_bomb_is_refused(tmp_path: Path, method: int) -> None:
    """An archive that would become more than there is room for is refused with both sizes."""
    found = refusal(tmp_path, zipped({"schema.json": ZEROS}, method))
    assert "is not unpacked: it would become 1000000 bytes, and there is room for 100000." in found


def test_many_small_entries_count_together(tmp_path: Path) -> None:
    """It is the sum that counts, and not one entry."""
    assert "it would become 120000 bytes" in refusal(tmp_path, zipped({f"{n}": ZEROS[:1000] for n in range(120)}))


@pytest.mark.parametrize("said", [0, 10, 99_999])
def test_a_size_that_is_a_lie_is_found(tmp_path: Path, said: int) -> None:
    """An entry that says it is small is unpacked piece by piece, and no further than it says."""
    found = refusal(tmp_path, lying(zipped({"schema.json": ZEROS}), said))
    assert "has another size than it says" in found or "Bad CRC-32" in found


def test_an_archive_in_an_archive_counts(tmp_path: Path) -> None:
    """A sparse matrix in a skops file is a zip file of its own, and a bomb in there is one, too."""
    inner = zipped({"data.npy": ZEROS})
    assert len(inner) < 2000
    assert "it would become 1000000 bytes" in refusal(tmp_path, zipped({"matrix.npz": inner}, STORED))


def test_what_only_begins_like_an_archive_passes(tmp_path: Path) -> None:
    """An entry with an archive's first bytes, and nothing behind them, is an entry."""
    file = tmp_path / "model.skops"
    file.write_bytes(zipped({"data": b"PK\x03\x04 and no more"}))
    check_archive(file, ROOM)
    assert zipfile.is_zipfile(file)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "..\\x"])
def test_entries_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    """No entry is named as a place outside of the archive."""
    assert "leads out of it" in refusal(tmp_path, zipped({name: b"x"}))


def test_other_methods_are_refused(tmp_path: Path) -> None:
    """bzip2 cannot be unpacked piece by piece here, so it is refused with what can."""
    assert "is neither stored nor deflated" in refusal(tmp_path, zipped({"a": b"x" * 99}, BZIP2))


def test_a_damaged_archive_is_explained(tmp_path: Path) -> None:
    """A flipped byte in what is packed is found before the runtime is."""
    data = bytearray(zipped({"schema.json": bytes(range(256)) * 9}))
    data[60] ^= 0xFF
    assert "cannot be loaded: " in refusal(tmp_path, bytes(data))
