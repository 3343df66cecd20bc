"""The file of rules: followed by all, changed by any, never half, never lost."""

from __future__ import annotations

import json
import stat
import threading
from pathlib import Path

import pytest
import structlog

from gateway.routing import MOST_LABELS, Rule
from gateway.traffic_file import LARGEST_BYTES, MOST_EVENTS, Document, TrafficFile
from inference_core.errors import InferenceHubError, InputTooLarge

RULE = Rule(split={"1": 90, "2": 10})


def put(file: TrafficFile, model: str, rule: Rule | None, why: str = "") -> None:
    """Set a model's rule."""
    event = file.event(model, "changed", why=why)
    file.update(lambda document: document.with_rule(event, rule))


def test_a_change_is_seen_by_everybody_and_after_a_restart(tmp_path: Path) -> None:
    """What one process writes the others read, and who starts later reads it, too, with who changed it and why."""
    writer, reader = TrafficFile(tmp_path, "gateway-0"), TrafficFile(tmp_path, "gateway-1")
    assert not reader.poll()
    put(writer, "digits", RULE, "a new network")
    assert reader.poll()
    assert not reader.poll()
    assert reader.document.rules == {"digits": RULE}
    later = TrafficFile(tmp_path, "gateway-0")
    assert later.poll()
    assert later.document == reader.document
    (event,) = later.document.events
    assert (event.who, event.model, event.what, event.why) == ("gateway-0", "digits", "changed", "a new network")
    put(writer, "digits", None)
    assert reader.poll()
    assert reader.document.rules == {}


def test_the_file_is_private(tmp_path: Path) -> None:
    """Only its owner reads and writes it, for it says whose traffic goes where."""
    put(TrafficFile(tmp_path, "gateway-0"), "digits", RULE)
    assert {stat.S_IMODE(found.stat().st_mode) for found in tmp_path.iterdir()} == {0o600}


def test_changes_at_once_are_all_kept(tmp_path: Path) -> None:
    """Of twenty writers, each with a model of its own, none overwrites another."""
    writers = [
        threading.Thread(target=put, args=(TrafficFile(tmp_path, f"gateway-{number}"), f"m{number}", RULE))
        for number in range(20)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    file = TrafficFile(tmp_path, "gateway-0")
    assert file.poll()
    assert len(file.document.rules) == len(file.document.events) == 20


@pytest.mark.parametrize(
    "content",
    ["", "{", '{"rules": {"m": {"splt": {}}}}', '{"rules": {"m": {"split": {"1": 0}}}}', "\0", "[" * 100_000],
)
def test_a_broken_file_leaves_the_rules_as_they_were(tmp_path: Path, content: str) -> None:
    """The last good rules stay, the log says once what is wrong, and the next change keeps the broken file aside."""
    file = TrafficFile(tmp_path, "gateway-0")
    put(file, "digits", RULE)
    file.poll()
    file.path.write_text(content)
    with structlog.testing.capture_logs() as lines:
        assert not file.poll()
        assert not file.poll()
    assert [line["event"] for line in lines] == ["traffic rules cannot be read, the last good ones stay"]
    assert lines[0]["reason"]
    assert file.document.rules == {"digits": RULE}
    put(file, "other", RULE)
    assert file.poll()
    assert set(file.document.rules) == {"digits", "other"}
    (aside,) = tmp_path.glob("traffic.broken-*")
    assert aside.read_text() == content


def test_rules_beyond_the_size_of_the_file_are_refused(tmp_path: Path) -> None:
    """The sentence says what to do, and everybody still reads the rules as they were."""
    file = TrafficFile(tmp_path, "gateway-0")
    put(file, "digits", RULE)
    large = Rule(labels={f"{number:0128}": "1" * 128 for number in range(MOST_LABELS)})
    rules = {f"m{number}": large for number in range(LARGEST_BYTES // (256 * MOST_LABELS))}
    with pytest.raises(InputTooLarge, match="delete rules or labels"):
        file.update(lambda document: Document({**document.rules, **rules}))
    assert file.poll()
    assert file.document.rules == {"digits": RULE}


@pytest.mark.parametrize("rule", [Rule(split={"1": 2_000_000.0}), Rule(split={"1": 0.0})])
def test_a_rule_that_nobody_could_read_is_not_written(tmp_path: Path, rule: Rule) -> None:
    """Whatever would make the file unreadable leaves it as it was."""
    file = TrafficFile(tmp_path, "gateway-0")
    put(file, "digits", RULE)
    with pytest.raises((ValueError, InferenceHubError)):
        put(file, "other", rule)
    assert file.poll()
    assert file.document.rules == {"digits": RULE}


def test_a_change_that_does_nothing_writes_nothing(tmp_path: Path) -> None:
    """Who finds nothing to do leaves no trace."""
    file = TrafficFile(tmp_path, "gateway-0")
    assert file.update(lambda _: None) is None
    assert not file.path.exists()


def test_old_events_are_forgotten(tmp_path: Path) -> None:
    """The file does not grow for ever."""
    document, file = Document(), TrafficFile(tmp_path, "gateway-0")
    for number in range(MOST_EVENTS + 5):
        document = document.with_rule(file.event("m", "changed", why=str(number)), RULE)
    assert len(document.events) == MOST_EVENTS
    assert document.events[-1].why == str(MOST_EVENTS + 4)


def test_people_can_read_the_file(tmp_path: Path) -> None:
    """It is JSON over several lines, with nothing but what was set."""
    file = TrafficFile(tmp_path, "gateway-0")
    put(file, "digits", RULE)
    assert len(file.path.read_text().splitlines()) > 5
    assert json.loads(file.path.read_text())["rules"] == {"digits": {"split": {"1": 90.0, "2": 10.0}}}
