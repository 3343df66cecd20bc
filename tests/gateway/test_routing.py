"""Which arm a key meets, and what is said of a rule that cannot be used."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing import LEAST_WEIGHT, MOST_LABELS, MOST_WEIGHT, Rule, choose, draw_of, rule_from, shares
from inference_core.errors import InvalidInput

KEYS = [f"user-{number}" for number in range(4000)]
names = st.lists(st.sampled_from(["1", "2", "3", "stable", "canary", "blue"]), min_size=1, max_size=5, unique=True)
weights = st.floats(0.01, 1000)


def arms(split: dict[str, float], model: str = "m", keys: list[str] = KEYS) -> list[str]:
    """Return the arm of each key."""
    rule = Rule(split=split)
    return [choose(rule, model, key) for key in keys]


def test_shares_follow_the_weights() -> None:
    """10,000 keys of a 90/10 split lie within the 99 % binomial interval, and so do three arms of any scale."""
    keys = [f"{number:x}" for number in range(10_000)]
    found = Counter(arms({"stable": 90, "canary": 10}, keys=keys))
    assert 923 <= found["canary"] <= 1078
    found = Counter(arms({"a": 0.5, "b": 0.3, "c": 0.2}, keys=keys))
    assert [abs(found[arm] / 10_000 - share) < 0.013 for arm, share in (("a", 0.5), ("b", 0.3), ("c", 0.2))] == [
        True
    ] * 3


@given(names, st.data())
def test_an_arm_that_grows_only_takes_keys(split_names: list[str], data: st.DataObject) -> None:
    """Whoever meets another arm than before meets the one that grew, whatever the others' weights are."""
    before = {name: data.draw(weights) for name in split_names}
    grown = data.draw(st.sampled_from(split_names))
    after = {**before, grown: before[grown] * data.draw(st.floats(1, 100))}
    for old, new in zip(arms(before, keys=KEYS[:200]), arms(after, keys=KEYS[:200]), strict=True):
        assert new in {old, grown}


@given(names, st.data())
def test_an_arm_that_loses_its_traffic_moves_no_other_key(split_names: list[str], data: st.DataObject) -> None:
    """After a rollback the lost arm's keys meet the baseline or another arm, and nobody meets the lost one."""
    split = {name: data.draw(weights) for name in ["base", *split_names]}
    rule = Rule(split=split)
    lost = data.draw(st.sampled_from(split_names))
    rest = rule.without(lost)
    assert sum(rest.split.values()) == pytest.approx(sum(split.values()))
    for key in KEYS[:200]:
        old, new = choose(rule, "m", key), choose(rest, "m", key)
        assert new != lost
        assert new in {old, "base"} or old == lost


def test_a_rule_after_a_rollback_can_be_read() -> None:
    """The baseline gets the lost weight even where the sum is beyond the largest weight, and the others' keys stay."""
    split = {"1": MOST_WEIGHT, "2": MOST_WEIGHT, "3": MOST_WEIGHT, "4": LEAST_WEIGHT}
    rule = rule_from(msgspec.json.encode({"split": split, "rollback": {}}))
    rest = rule_from(msgspec.json.encode(rule.without("2")))
    assert [round(share, 6) for share in shares(rest).values()] == [0.666667, 0, 0.333333, 0]
    for key in KEYS[:200]:
        assert choose(rest, "m", key) in {choose(rule, "m", key), "1"} or choose(rule, "m", key) == "2"


def test_the_smallest_weight_is_chosen() -> None:
    """An arm with the whole of the traffic gets it, however small its weight is."""
    assert set(arms({"1": LEAST_WEIGHT, "2": 0})) == {"1"}


def test_a_key_never_moves() -> None:
    """The same key meets the same arm in every process and at any time: these draws are a promise to all callers."""
    assert arms({"1": 90, "2": 10}) == arms({"1": 90, "2": 10})
    assert [round(draw_of("digits", arm, "user-7"), 9) for arm in ("stable", "canary")] == [0.109844357, 0.142312175]


def test_models_split_their_users_differently() -> None:
    """Who is among the 10 % of one model is not for that reason among those of another."""
    first, second = (arms({"1": 90, "2": 10}, model) for model in ("a", "b"))
    both = sum(one == two == "2" for one, two in zip(first, second, strict=True))
    assert 15 <= both <= 70  # 40 of 4,000 where the two are independent


def test_an_arm_without_weight_gets_nothing() -> None:
    """A weight of 0 keeps an arm in the rule and away from the traffic; without a split there is no arm."""
    assert set(arms({"1": 1, "2": 0})) == {"1"}
    assert shares(Rule(split={"1": 3, "2": 1, "3": 0})) == {"1": 0.75, "2": 0.25, "3": 0}
    assert choose(Rule(), "m", "key") == ""


def test_any_bytes_of_a_header_are_a_key() -> None:
    """A key that is no text is a key all the same."""
    assert choose(Rule(split={"1": 1}), "m", b"\xff\xfe".decode("utf-8", "surrogateescape")) == "1"


def test_a_label_stands_for_a_version() -> None:
    """The rule's labels go before the worker's, and what is no label is a version."""
    rule = Rule(labels={"canary": "2"})
    assert rule.version("canary", {"canary": "9"}) == "2"
    assert rule.version("stable", {"stable": "1"}) == "1"
    assert rule.version("7", {}) == "7"


def test_a_rule_is_the_same_after_a_round_trip() -> None:
    """What is kept in the file is what was sent."""
    rule = rule_from(
        b'{"split": {"stable": 90, "canary": 10}, "labels": {"stable": "1", "canary": "2"}, "baseline": "stable",'
        b' "shadow": {"to": "3", "fraction": 0.1}, "rollback": {"error_margin": 0.05}, "cache": {"seconds": 5}}'
    )
    assert rule_from(msgspec.json.encode(rule)) == rule
    assert rule.base == "stable"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b'{"a":' * 100_000, "cannot be used|not valid JSON"),
        (b'{"splt": {"1": 1}}', "Did you mean split?"),
        (b'{"rollback": {"eror_margin": 1}, "split": {"1": 1}}', "Did you mean error_margin?"),
        (b'{"split": {"1": -1}}', "split"),
        (b'{"split": {"1": 1e999}}', "cannot be used|not valid JSON"),
        (b'{"split": {"1": "many"}}', "float"),
        (b'{"split": {"../1": 1}}', "matching regex|Labels and versions"),
        (b'{"split": {"override": 1}}', "none is override"),
        (b'{"split": {"1": 0, "2": 0}}', "nobody would answer"),
        (b'{"split": {"stable": 1}, "baseline": "stabel"}', "Did you mean stable?"),
        (b'{"split": {"1": 0, "2": 1}, "rollback": {}}', "baseline"),
        (b'{"rollback": {}}', "baseline"),
        (b'{"shadow": {"to": "2", "fraction": 1.5}}', "fraction"),
        (b'{"cache": {"seconds": 0}}', "seconds"),
        (('{"split": {' + ", ".join(f'"{number}": 1' for number in range(17)) + "}}").encode(), "at most 16 arms"),
        (b'{"split": {"1": 1e-320}}', "between 1e-09 and 1000000"),
        (msgspec.json.encode({"labels": {f"l{n}": "1" for n in range(MOST_LABELS + 1)}}), "at most 256 labels"),
    ],
)
def test_a_rule_that_cannot_be_used_says_why(data: bytes, reason: str) -> None:
    """The sentence names the mistake, and what may have been meant."""
    with pytest.raises(InvalidInput, match=reason):
        rule_from(data)
