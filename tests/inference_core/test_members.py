"""The list of the requests in one call."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inference_core.members import LONGEST_TRACEPARENT, Member, from_text, to_text
from inference_core.names import REQUEST_ID

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
MEMBERS = st.lists(
    st.builds(
        Member, st.integers(0, 10**9 - 1), st.from_regex(REQUEST_ID, fullmatch=True), st.sampled_from(["", TRACEPARENT])
    )
)


@given(MEMBERS)
def test_what_was_written_is_read(members: list[Member]) -> None:
    """Any list crosses the hop unchanged, the empty one too."""
    assert from_text(to_text(members)) == members


@given(st.text(alphabet="0123456789,;.-abc²٣ \n") | st.text())
def test_any_text_can_be_read(text: str) -> None:
    """Whatever a peer sends, what is read is well formed and short, and nothing is raised."""
    for member in from_text(text):
        assert member.rows >= 0
        assert REQUEST_ID.fullmatch(member.request_id)
        assert len(member.traceparent) <= LONGEST_TRACEPARENT


def test_a_malformed_member_is_left_out() -> None:
    """Its neighbours are still shown."""
    text = f"1,good,{TRACEPARENT};x,id,;-1,id,;²,id,;1,,;1,spaced id,;1234567890,id,;2,also-good,"
    assert from_text(text) == [Member(1, "good", TRACEPARENT), Member(2, "also-good", "")]
