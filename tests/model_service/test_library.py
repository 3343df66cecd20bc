"""Models come and go on disk while others serve: what serves is never hurt by what does not."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from pathlib import Path

import pytest

from inference_core.errors import InferenceHubError, InvalidInput, UnknownModel
from model_service.sums import FILE
from tests.model_service.libraries import answering, shop, write_version
from tests.model_service.repository_tree import PYTHON_TOML

BROKEN = "class Model(:\n"


async def test_a_version_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """New contents answer from one call to the next, and what they replaced is closed once."""
    write_version(tmp_path, "1", answering(1))
    async with shop(tmp_path) as made:
        assert await made.ask() == 1
        write_version(tmp_path, "1", answering(2))
        await made.until(lambda: made.closed() == ["1"])
        assert await made.ask() == 2
        assert made.states() == {("m", "1"): "READY"}


async def test_calls_that_run_end_on_the_version_that_they_began_on(tmp_path: Path) -> None:
    """A call under way keeps its version: it is answered by that, and only then is that closed."""
    waiting = answering(1).replace(
        'return {"class_id"',
        'import time\n        while not (self.marks.parent / "go").exists(): time.sleep(0.005)\n'
        '        (self.marks.parent / "done").touch()\n        return {"class_id"',
    )
    write_version(tmp_path, "1", waiting)
    async with shop(tmp_path) as made:
        running, queued = asyncio.create_task(made.ask()), asyncio.create_task(made.ask())
        await asyncio.sleep(0)
        write_version(tmp_path, "1", answering(2))
        await made.library.load("m")
        assert await made.ask() == 2
        assert made.closed() == []
        (tmp_path / "go").touch()
        assert [await running, await queued] == [1, 1]
        await made.until(lambda: made.closed() == ["1"])


@pytest.mark.parametrize("source", [BROKEN, "", "raise OSError('no weights')", answering(0).replace("predict", "p")])
async def test_a_broken_replacement_leaves_what_serves(tmp_path: Path, source: str) -> None:
    """A version that cannot be loaded is told with its reason, and the one before it serves on.

    Clients read the reason: it has the file's place in the repository, and not the repository's on this machine.
    """
    write_version(tmp_path, "1", answering(1))
    async with shop(tmp_path) as made:
        file = write_version(tmp_path, "1", source)
        await made.until(lambda: str(file.relative_to(tmp_path)) in made.reason())
        assert str(tmp_path) not in made.reason()
        assert (await made.ask(), made.states()) == (1, {("m", "1"): "READY"})
        write_version(tmp_path, "1", answering(3))
        await made.until(lambda: made.reason() == "")
        assert await made.ask() == 3


async def test_a_broken_new_version_is_unavailable(tmp_path: Path) -> None:
    """A new version that is broken never becomes the default, and the index says why."""
    write_version(tmp_path, "1", answering(1))
    async with shop(tmp_path) as made:
        write_version(tmp_path, "2", BROKEN)
        await made.until(lambda: made.states().get(("m", "2")) == "UNAVAILABLE")
        assert "SyntaxError" in made.reason("2")
        assert await made.ask() == 1
        with pytest.raises(UnknownModel, match="UNAVAILABLE"):
            await made.ask("2")


async def test_a_version_is_not_loaded_while_it_is_copied(tmp_path: Path) -> None:
    """A file that keeps growing is left alone until it has stayed the same for a while."""
    write_version(tmp_path, "1", answering(1))
    async with shop(tmp_path, settle_seconds=60.0) as made:
        file = write_version(tmp_path, "2", BROKEN)
        for _ in range(5):
            file.write_text(file.read_text() + "#\n")
            await made.library._glance()
        assert made.states() == {("m", "1"): "READY"}


async def test_touching_a_file_loads_nothing(tmp_path: Path) -> None:
    """New times and the same contents are the same model."""
    file = write_version(tmp_path, "1", answering(1))
    async with shop(tmp_path) as made:
        before = made.registry.get("m")
        os.utime(file, (1, 1))
        await made.library.load("m")
        assert made.registry.get("m") is before
        assert made.closed() == []


async def test_labels_and_default_change_without_loading(tmp_path: Path) -> None:
    """model.toml may choose another default and other labels, and the models that are loaded stay."""
    for number in (1, 2):
        write_version(tmp_path, str(number), answering(number))
    async with shop(tmp_path) as made:
        assert await made.ask() == 2
        before = made.registry.all()
        choice = 'default_version = 1\nlabels = {stable = 1, canary = "2"}\n'
        (tmp_path / "m" / "model.toml").write_text(choice + PYTHON_TOML)
        await made.library.load("m")
        assert await made.ask() == 1
        assert dict(made.registry.labels("m")) == {"stable": "1", "canary": "2"}
        assert made.registry.all() == before


async def test_a_version_that_is_too_large_is_not_even_read(tmp_path: Path) -> None:
    """Beyond the limit a version is refused by its size: a file that would take hours to read is refused at once."""
    write_version(tmp_path, "1", answering(1))
    async with shop(tmp_path, most_bytes=10_000) as made:
        file = write_version(tmp_path, "2", answering(2))
        with (file.parent / "weights").open("wb") as stream:
            stream.truncate(2**40)
        await made.until(lambda: made.states().get(("m", "2")) == "UNAVAILABLE")
        assert made.reason("2").startswith("m/2 has ")
        os.truncate(file.parent / "weights", 10_000)
        await made.until(lambda: made.reason("2").endswith("inference.max_model_bytes is 10000."))
        os.truncate(file.parent / "weights", 1_000)
        await made.until(lambda: made.states()["m", "2"] == "READY")
        assert await made.ask() == 2


async def test_changed_digests_leave_what_serves(tmp_path: Path) -> None:
    """A version whose files are no longer those of its list serves on as it was loaded, and says what differs."""
    file = write_version(tmp_path, "1", answering(1))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    (file.parent / FILE).write_text(f"{digest}  model.py\n")
    async with shop(tmp_path) as made:
        write_version(tmp_path, "1", answering(2))
        await made.until(lambda: "other digests than these files: model.py." in made.reason())
        assert (await made.ask(), made.states()) == (1, {("m", "1"): "READY"})
        (file.parent / FILE).unlink()
        await made.until(lambda: made.reason() == "")
        assert await made.ask() == 2


async def test_a_broken_description_leaves_what_serves(tmp_path: Path) -> None:
    """A mistake in model.toml is told beside every version, with its line, and takes none away."""
    write_version(tmp_path, "1", answering(1))
    async with shop(tmp_path) as made:
        (tmp_path / "m" / "model.toml").write_text(PYTHON_TOML + "\n[limit]\n")
        await made.until(lambda: "did you mean 'limits'" in made.reason())
        assert "model.toml:14:" in made.reason()
        assert await made.ask() == 1


@pytest.mark.parametrize(
    ("policy", "kept"), [("{latest = 1}", {"3"}), ('["1", "3"]', {"1", "3"}), ('"all"', {"1", "2", "3"})]
)
async def test_the_policy_says_which_versions_are_loaded(tmp_path: Path, policy: str, kept: set[str]) -> None:
    """Of the folders that are there those are loaded that `versions` names; a newer one takes the place of the last."""
    for number in (1, 2):
        write_version(tmp_path, str(number), answering(number), toml=f"versions = {policy}\n{PYTHON_TOML}")
    async with shop(tmp_path) as made:
        write_version(tmp_path, "3", answering(3))
        await made.until(lambda: made.states() == {("m", version): "READY" for version in kept})
        assert await made.ask() == 3


async def test_a_newer_version_that_is_broken_leaves_the_last_one(tmp_path: Path) -> None:
    """Where only the latest is wanted and that is broken, the one before it serves on."""
    write_version(tmp_path, "1", answering(1), toml="versions = {latest = 1}\n" + PYTHON_TOML)
    async with shop(tmp_path) as made:
        write_version(tmp_path, "2", BROKEN)
        await made.until(lambda: made.states().get(("m", "2")) == "UNAVAILABLE")
        assert (await made.ask(), made.states()["m", "1"]) == (1, "READY")


async def test_a_removed_version_goes_and_the_last_one_stays(tmp_path: Path) -> None:
    """A version goes with its folder; a model's last version serves on without its own, and says so."""
    for number in (1, 2):
        write_version(tmp_path, str(number), answering(number))
    async with shop(tmp_path) as made:
        (tmp_path / "m" / "2").rename(tmp_path / "away")
        await made.until(lambda: made.states() == {("m", "1"): "READY"})
        assert await made.ask() == 1
        (tmp_path / "m").rename(tmp_path / "gone")
        await made.until(lambda: "its folder is gone" in made.reason())
        assert await made.ask() == 1


async def test_unload_lasts_until_load(tmp_path: Path) -> None:
    """An unloaded model stays away though its folder is there; both may be repeated, and health follows."""
    write_version(tmp_path, "1", answering(1))
    async with shop(tmp_path) as made:
        for _ in range(2):
            await made.library.unload("m")
        assert made.closed() == ["1"]
        write_version(tmp_path, "1", answering(2))
        for _ in range(20):
            await made.library._glance()
        assert made.states() == {("m", "1"): "UNAVAILABLE"}
        with pytest.raises(UnknownModel, match="unloaded"):
            await made.ask()
        for _ in range(2):
            await made.library.load("m")
        assert (await made.ask(), made.states()) == (2, {("m", "1"): "READY"})
        assert made.said == [("m", True), ("m", False), ("m", True)]


async def test_an_unloaded_model_without_a_folder_is_forgotten(tmp_path: Path) -> None:
    """Once both are gone, the model and what was wrong with its versions, the index says nothing of it."""
    write_version(tmp_path, "1", answering(1))
    async with shop(tmp_path) as made:
        write_version(tmp_path, "2", BROKEN)
        await made.until(lambda: made.states().get(("m", "2")) == "UNAVAILABLE")
        await made.library.unload("m")
        assert made.states() == {("m", "1"): "UNAVAILABLE", ("m", "2"): "UNAVAILABLE"}
        (tmp_path / "m").rename(tmp_path.with_name(f"{tmp_path.name}-away"))
        await made.until(lambda: made.states() == {})
        with pytest.raises(UnknownModel, match="There is no model of that name"):
            await made.ask()


async def test_load_and_unload_say_what_is_wrong(tmp_path: Path) -> None:
    """A name that no repository has is unknown, a model that cannot be loaded is refused with the reason."""
    write_version(tmp_path, "1", BROKEN)
    async with shop(tmp_path) as made:
        for change in (made.library.load, made.library.unload):
            with pytest.raises(UnknownModel, match="Models here: m"):
                await change("../m")
        with pytest.raises(InvalidInput, match=r"model\.py cannot be loaded: SyntaxError"):
            await made.library.load("m")


async def test_what_failed_is_tried_again_when_asked(tmp_path: Path) -> None:
    """A failure for another reason than the files is mended by load, which watching would not notice."""
    write_version(tmp_path, "1", "import os\nassert os.path.exists(os.environ['MENDED'])\n" + answering(1))
    os.environ["MENDED"] = str(tmp_path / "mended")
    async with shop(tmp_path) as made:
        (tmp_path / "mended").touch()
        for _ in range(10):
            await made.library._glance()
        assert made.states() == {("m", "1"): "UNAVAILABLE"}
        await made.library.load("m")
        assert await made.ask() == 1


async def test_loading_that_hangs_is_given_up(tmp_path: Path) -> None:
    """A model whose loading never ends is UNAVAILABLE after its time, and no other waits for it."""
    write_version(tmp_path, "1", "import time\nwhile True: time.sleep(0.01)\n", name="hanging")
    write_version(tmp_path, "1", answering(1))
    async with shop(tmp_path, load_seconds=0.2) as made:
        assert made.states() == {("hanging", "1"): "UNAVAILABLE", ("m", "1"): "READY"}
        assert "was not loaded within 0.2 s" in made.reason(name="hanging")
        assert await made.ask() == 1


async def test_a_storm_of_loads_and_unloads_ends_as_the_last_one_says(tmp_path: Path) -> None:
    """32 threads load and unload one model while another one serves: nothing fails there, and nothing is left over.

    Who loads is refused only because somebody else unloads.
    """
    write_version(tmp_path, "1", answering(1))
    write_version(tmp_path, "1", answering(7), name="steady")
    async with shop(tmp_path) as made:
        loop, refused = asyncio.get_running_loop(), set[str]()

        def storm(number: int) -> None:
            for step in range(8):
                change = made.library.load if (number + step) % 2 else made.library.unload
                try:
                    asyncio.run_coroutine_threadsafe(change("m"), loop).result(60)
                except InferenceHubError as error:
                    refused.add(error.message)

        threads = [threading.Thread(target=storm, args=(number,)) for number in range(32)]
        for thread in threads:
            thread.start()
        answers = {await made.ask(name="steady") for _ in range(200)}
        for thread in threads:
            await asyncio.to_thread(thread.join)
        await made.library.load("m")
        assert (answers, await made.ask()) == ({7}, 1)
        assert refused <= {"Model m cannot be loaded: it was unloaded; load it, or restart the worker"}
        await made.library.unload("m")
        assert made.states() == {("m", "1"): "UNAVAILABLE", ("steady", "1"): "READY"}
        assert len(made.engine._serving) == 1
        assert made.library._placing.tasks == set()
