"""Repositories for experiments."""

from __future__ import annotations

from pathlib import Path

from deploy.repositories import SAMPLES, repository


def test_models_of_several_folders_are_copied_together(tmp_path: Path) -> None:
    """The folder has all models as real files, and is gone afterwards."""
    (tmp_path / "mine" / "1").mkdir(parents=True)
    (tmp_path / "mine" / "model.toml").write_text('runtime = "python"\n')
    with repository(SAMPLES, tmp_path) as folder:
        assert {path.name for path in folder.iterdir()} >= {"digits", "mine", "sentiment", "v1-mock"}
        assert not [path for path in folder.rglob("*") if path.is_symlink()]
    assert not folder.exists()
