"""Work in threads: the end of the loop and of the process waits for it for a limited time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import pytest

from gwctl.background_writer import LooseThreads

HANGS = """
import asyncio, threading
from gwctl.background_writer import LooseThreads

async def main():
    asyncio.get_running_loop().set_default_executor(LooseThreads(0.3))
    try:
        async with asyncio.timeout(0.1):
            await asyncio.to_thread(threading.Event().wait)
    except TimeoutError:
        print("late", flush=True)

asyncio.run(main())
"""


def test_work_that_hangs_keeps_nobody_from_ending() -> None:
    """The loop and the interpreter leave a thread behind that never returns."""
    done = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=20, check=True)
    assert (done.stdout, done.stderr) == ("late\n", "")


def test_work_is_done_and_its_errors_are_raised() -> None:
    """It works like ``to_thread``; the end waits for running work."""
    ended: list[str] = []

    def slow() -> None:
        time.sleep(0.3)  # still running when the loop ends
        ended.append("slow")

    def fail() -> None:
        raise OSError(28, "No space left on device")

    async def main() -> int:
        asyncio.get_running_loop().set_default_executor(LooseThreads())
        with pytest.raises(OSError, match="No space left"):
            await asyncio.to_thread(fail)
        under_way = asyncio.create_task(asyncio.to_thread(slow))
        await asyncio.sleep(0)
        await asyncio.wait([under_way], timeout=0.01)
        return sum(await asyncio.gather(*(asyncio.to_thread(int, number) for number in range(10))))

    assert asyncio.run(main()) == 45
    assert ended == ["slow"]
