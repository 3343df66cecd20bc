"""One worker for one dangerous input: who is suspected of killing workers runs where nothing else can be hurt.

Only one at a time, so that at any moment at most one worker dies of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.slots import Slot, State
from inference_core.deadline import now

RESERVED_SECONDS = 1.0
"""How long a worker is kept free for somebody who does not come back for it: its request may be over.

Whoever still wants it claims again whenever all are told, which `Workers` does twice in that time.
"""


class Isolation:
    """Reserves a slot, waits until it runs nothing, and hands it out once."""

    def __init__(self) -> None:
        self._slot: Slot | None = None
        self._asked_at = 0.0
        self._is_running = False

    @property
    def is_waiting(self) -> bool:
        """Whether a slot is kept free and not yet used."""
        return self._slot is not None and not self._is_running

    def slot_now(self) -> Slot | None:
        """Return the slot that nothing else may use."""
        if self.is_waiting and now() - self._asked_at > RESERVED_SECONDS:
            self._slot = None
        return self._slot

    def claim(self, able: Sequence[Slot]) -> Slot | None:
        """Return one of the slots once it runs nothing; until then None, and it gets nothing new."""
        if self._is_running or not able:
            return None
        if self._slot is None or self._slot not in able:
            self._slot = min(able, key=lambda slot: slot.batches)
        self._asked_at = now()
        if self._slot.batches:
            return None
        self._is_running = True
        return self._slot

    def ended_by_release(self, slot: Slot) -> bool:
        """Note that a batch left a slot; return whether others may use it again, or the one that waits for it may."""
        if slot is not self._slot or slot.batches:
            return False
        if self._is_running:
            self._slot, self._is_running = None, False
        return True

    def give_up(self) -> None:
        """Keep no slot free any more, unless it is in use."""
        if not self._is_running:
            self._slot = None

    def left_by(self, slot: Slot) -> None:
        """Note that a slot's worker changed: one that is no longer ready is not worth waiting for."""
        if slot is self._slot and not self._is_running and slot.state is not State.READY:
            self._slot = None
