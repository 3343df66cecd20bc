"""What is read of strace's lines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.opened import opened_by, paths_in

CALLS = """
1216  openat(AT_FDCWD</srv/run>, "models/a", O_RDONLY|O_CLOEXEC) = 3</srv/models/a>
1216  openat(AT_FDCWD, "/etc/passwd", O_RDONLY) = -1 EACCES (Permission denied)
1217  openat(9</srv/models>, "../x\\"y", O_RDONLY <unfinished ...>
1217  <... openat resumed>) = 4
1217  open("/dev/null", O_RDWR) = 5
1217  openat2(AT_FDCWD</>, "z", {flags=O_RDONLY}, 24) = 6
"""
WAITING = "import sys; sys.stdin.readline(); open('/etc/hostname'); print('done', flush=True); sys.stdin.readline()"


def test_every_path_is_found() -> None:
    """Each call's path is there with its folder, whether or not it could be opened."""
    assert paths_in(CALLS) == ["/srv/run/models/a", "/etc/passwd", '/srv/models/../x\\"y', "/dev/null", "/z"]


def test_a_running_process_is_watched() -> None:
    """What a process opens after it is watched is seen, and it goes on afterwards."""
    with subprocess.Popen([sys.executable, "-c", WAITING], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with opened_by([process.pid]) as paths:
            process.stdin.write("go\n")
            process.stdin.flush()
            assert process.stdout.readline() == "done\n"
        process.communicate("end\n", timeout=10)
    assert "/etc/hostname" in paths
    assert process.returncode == 0


def test_a_process_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where strace may not look, the reason is told instead of an empty list."""
    monkeypatch.delenv("CI", raising=False)
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    with pytest.raises(pytest.skip.Exception, match="strace may not look"), opened_by([int(gone.stdout)]):
        pass
    assert not Path("/proc", gone.stdout.decode().strip()).exists()
