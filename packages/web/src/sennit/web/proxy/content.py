"""A request's content on its way through a proxy: streamed, and kept while it is small.

An upstream may fail when some of the content has left. As long as no more came than
is kept, another can be sent all of it again; from then on nothing is held, so that a
large upload costs no memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sennit.core.interfaces import Buffer
    from sennit.web.request import Request

__all__ = ["Content"]


class Content:
    """What a request carries.

    Args:
        request: Whose.
        keep: Octets that are kept.

    Attributes:
        begun: Whether any of it was asked for.
        replayable: Whether all that was taken of it is kept.
        error: What went wrong with it: the client's fault, and not the upstream's.
    """

    def __init__(self, request: Request, keep: int) -> None:
        self._request = request
        self._left = keep
        self._kept: list[Buffer] = []
        self.begun = False
        self.replayable = True
        self.error: BaseException | None = None

    async def pieces(self) -> AsyncIterator[Buffer]:
        """All of it from its beginning, as it comes."""
        self.begun = True
        for piece in list(self._kept):
            yield piece
        try:
            # A client that waits for leave to send it gets that here (RFC 9110 §10.1.1).
            async for piece in self._request.encoded_body:
                if self.replayable:
                    self._left -= len(piece)
                    if self._left < 0:
                        self.replayable = False
                        self._kept.clear()
                    else:
                        self._kept.append(piece)
                yield piece
        except (GeneratorExit, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self.error = error
            raise

    def trailers(self) -> list[tuple[bytes, bytes]]:
        """The fields behind it, once it has ended."""
        end = self._request.encoded_body.end
        found: list[tuple[bytes, bytes]] = getattr(end, "trailers", [])
        return found
