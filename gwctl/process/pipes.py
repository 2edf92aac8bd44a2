"""What a program writes into its pipes, of limited size: a person's program may print without end."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from typing import IO

KEPT_BYTES = 8_000_000
"""The start of an output; the rest is read and dropped."""
_PIECE_BYTES = 65_536


def feed_and_read(popen: subprocess.Popen[bytes], fed: bytes, timeout_s: float) -> tuple[bytes, bytes]:
    """Write ``fed`` to a program's stdin and return its stdout and stderr at its end; raise TimeoutExpired.

    ``Popen.communicate`` does the same, and keeps everything.
    """
    deadline_s, left = time.monotonic() + timeout_s, memoryview(fed)
    kept: dict[IO[bytes], bytearray] = {pipe: bytearray() for pipe in (popen.stdout, popen.stderr) if pipe is not None}
    with selectors.DefaultSelector() as selector:
        for pipe in kept:
            selector.register(pipe, selectors.EVENT_READ)
        if popen.stdin is not None:
            os.set_blocking(popen.stdin.fileno(), False)
            selector.register(popen.stdin, selectors.EVENT_WRITE)
        while selector.get_map():
            for key, _ in selector.select(_left_s(popen, deadline_s)):
                pipe = key.fileobj  # type: ignore[assignment] # we registered only pipes
                if pipe in kept:
                    is_done = _keep(kept[pipe], os.read(key.fd, _PIECE_BYTES))
                else:
                    left = left[_written(key.fd, left) :]
                    is_done = not left
                if is_done:
                    selector.unregister(pipe)
                    pipe.close()
    popen.wait(_left_s(popen, deadline_s))
    stdout, stderr = (bytes(one) for one in kept.values())
    return stdout, stderr


def _left_s(popen: subprocess.Popen[bytes], deadline_s: float) -> float:
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise subprocess.TimeoutExpired(popen.args, 0.0)
    return left_s


def _keep(kept: bytearray, piece: bytes) -> bool:
    """Keep a piece if there is room, and return whether it was the end."""
    kept += piece[: KEPT_BYTES - len(kept)]
    return not piece


def _written(pipe_fd: int, fed: memoryview) -> int:
    """Return how much was written; everything if the program reads no more."""
    try:
        return os.write(pipe_fd, fed)
    except BlockingIOError:
        return 0
    except BrokenPipeError:
        return len(fed)


async def read_to_end(pipe: IO[bytes] | None) -> bytes:
    """Return the start of everything that comes out of a pipe, at its end, and close it."""
    import asyncio

    reader, kept = asyncio.StreamReader(), bytearray()
    connect = asyncio.get_running_loop().connect_read_pipe
    transport, _ = await connect(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        while not _keep(kept, await reader.read(_PIECE_BYTES)):
            pass
    finally:
        transport.close()
    return bytes(kept)
