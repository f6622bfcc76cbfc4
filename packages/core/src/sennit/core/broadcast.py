"""`Broadcast`: one message to many connections, encoded once.

All members share the octets of a message; what is kept per member is what its
transport has not sent yet, and that is bounded: a member that does not read
cannot make the others wait, nor hold more than its bound. What happens at the
bound is the policy:

* ``drop``: this message is not for that member (positions, sensor readings);
* ``close``: the member is aborted, reason ``limit:broadcast`` (chat, logs: a
  stream with a hole would be wrong);
* ``coalesce``: the latest message of each key waits until there is room, and
  those before it are forgotten (state that each message describes in full).

Ten thousand members cost ten thousand calls of `write` and nothing else: no
Task, no queue, no Deferred per member, unless the member is slow.
"""

from __future__ import annotations

from sennit.core.transport.flow import HIGH_WATER, READY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterator
    from typing import Any, Final, Literal

    from sennit.core.deferred import Deferred
    from sennit.core.interfaces import Buffer, IStreamTransport

    Policy = Literal["drop", "close", "coalesce"]

__all__ = ["Broadcast"]

_POLICIES: Final = ("drop", "close", "coalesce")


class Broadcast:
    """A set of connections that are all told the same.

    Args:
        policy: What happens when a member's bound is reached (module docstring).
        limit: Octets that may wait for one member (its transport's write
            buffer); a message that finds more waiting meets the policy.
        encode: Makes octets of a message, once per message; when left out,
            messages are octets.

    Attributes:
        dropped: Messages that were not given to a member, all members counted.
        closed: Members that were aborted at the bound.
    """

    def __init__(
        self,
        policy: Policy = "drop",
        *,
        limit: int = HIGH_WATER,
        encode: Callable[[Any], Buffer] | None = None,
    ) -> None:
        if policy not in _POLICIES:
            raise ValueError(f"policy {policy!r} is none of {', '.join(_POLICIES)}")
        if limit < 0:
            raise ValueError(f"limit ({limit}) counts octets")
        self._policy = policy
        self._limit = limit
        self._encode = encode
        # The latest messages of a member that is slow, by key; None for one that is not.
        self._members: dict[IStreamTransport, dict[Hashable, bytes] | None] = {}
        self.dropped = 0
        self.closed = 0

    def __len__(self) -> int:
        """How many members there are."""
        return len(self._members)

    def __iter__(self) -> Iterator[IStreamTransport]:
        """The members, as they are now."""
        return iter(list(self._members))

    def __contains__(self, member: object) -> bool:
        """Whether this transport is a member."""
        return member in self._members

    def add(self, member: IStreamTransport) -> None:
        """Tell this transport from now on (harmless when it is told already).

        A member whose connection ends is forgotten at the next message; whoever
        knows sooner calls `remove`.
        """
        self._members.setdefault(member, None)

    def remove(self, member: IStreamTransport) -> None:
        """Tell it no more (harmless when it is no member)."""
        self._members.pop(member, None)

    def send(
        self, message: Any, *, key: Hashable = None, skip: IStreamTransport | None = None
    ) -> int:
        """Give a message to every member.

        Args:
            message: Given to `encode`, or octets. (`Any`: what `encode` takes.)
            key: With ``coalesce``: a later message of the same key takes the
                place of this one where it still waits.
            skip: A member that is not told, such as the one it came from.

        Returns:
            How many members were given it at once.
        """
        encoded = message if self._encode is None else self._encode(message)
        data = encoded if type(encoded) is bytes else bytes(encoded)
        if not data:
            return 0
        members = self._members
        limit = self._limit
        given = 0
        gone: list[IStreamTransport] | None = None
        # A copy: what a write sets off may add and remove.
        for member in list(members):
            if member is skip:
                continue
            if member.is_closing():
                if gone is None:
                    gone = []
                gone.append(member)
            elif member.get_write_buffer_size() <= limit and members.get(member, False) is None:
                member.write(data)
                given += 1
            else:
                self._at_bound(member, key, data)
        if gone is not None:
            for member in gone:
                self.remove(member)
        return given

    def _at_bound(self, member: IStreamTransport, key: Hashable, data: bytes) -> None:
        """More waits for this member than shall."""
        if member not in self._members:
            return  # removed by what an earlier write of this message set off
        if self._policy == "drop":
            self.dropped += 1
        elif self._policy == "close":
            self.closed += 1
            self.remove(member)
            member.abort("limit:broadcast")
        else:
            waiting = self._members[member]
            if waiting is None:
                waiting = self._members[member] = {}
                waiting[key] = data
                self._wait_for_room(member)
            else:
                self.dropped += key in waiting
                # Last in line again, as the newest message.
                waiting.pop(key, None)
                waiting[key] = data

    def _wait_for_room(self, member: IStreamTransport) -> None:
        """Send what waits for `member` once its transport is below the low mark."""
        room: Awaitable[None] = member.writable()
        if room is READY:
            # The bound is below the transport's high mark: make the mark the bound.
            member.set_write_buffer_limits(high=self._limit)
            room = member.writable()
        if room is READY:
            self._room(member)
            return
        waiting: Deferred[None] = room  # type: ignore[assignment]  # what it is when there is no room
        waiting.add_callbacks(lambda _: self._room(member), lambda _: self.remove(member))

    def _room(self, member: IStreamTransport) -> None:
        waiting = self._members.get(member)
        if waiting is None or member.is_closing():
            return
        self._members[member] = None
        pieces = list(waiting.items())
        for at, (_, data) in enumerate(pieces):
            if member.get_write_buffer_size() > self._limit:
                # Room for some of it only.
                self._members[member] = dict(pieces[at:])
                self._wait_for_room(member)
                return
            member.write(data)
