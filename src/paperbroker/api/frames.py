"""A websocket that takes many frames at once, because a busy stream has many to send."""

from typing import Any, cast

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

from paperbroker.api.corked import Corked

Frame = bytes | str  # binary or text


def message_of(frames: list[Frame]) -> dict[str, object]:
    """The ASGI message that `FramesTogether` knows beside those of the standard."""
    return {"type": "websocket.send", "frames": frames}


class FramesTogether(WebSocketsSansIOProtocol):
    """uvicorn's protocol: what it does for each frame is done once for all of a message."""

    def eof_received(self) -> None:
        """The client says no more, and uvloop closes: what is told already goes out before."""
        cast("Corked", self.transport).flush()

    async def send(self, message: Any) -> None:
        """Raises ClientDisconnected."""
        frames: list[Frame] | None = message.get("frames")
        if frames is None:
            await super().send(message)
            return
        await self.writable.wait()
        if self.disconnected or self.close_sent:
            raise ClientDisconnected
        try:
            for frame in frames:
                if isinstance(frame, str):
                    self.conn.send_text(frame.encode())
                else:
                    self.conn.send_binary(frame)
        except InvalidState:  # the client is closing
            raise ClientDisconnected from None
        self.transport.write(b"".join(self.conn.data_to_send()))
