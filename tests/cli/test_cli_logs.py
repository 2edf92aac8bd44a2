"""`gwctl logs`: what it shows, and following through rotation. The test writes the logs."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue

import pytest
from cli_fakes import Home


class Reader:
    """The lines of a stream as they arrive."""

    def __init__(self, stream: Iterator[str]) -> None:
        self.lines: Queue[str] = Queue()
        self.thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self.thread.start()

    def _read(self, stream: Iterator[str]) -> None:
        for line in stream:
            self.lines.put(line)

    def expect(self, *wanted: str) -> None:
        for line in wanted:
            try:
                assert self.lines.get(timeout=15).rstrip("\n") == line
            except Empty:
                pytest.fail(f"{line!r} never came")


def logs_of(home: Home) -> tuple[Path, Path]:
    folder = home.profile_dir / "logs"
    folder.mkdir(parents=True)
    return folder / "supervisor.log", folder / "gateway.log"


def append(file: Path, text: str) -> None:
    with file.open("a") as log:
        log.write(text)


def test_lines_and_age(home: Home) -> None:
    """-n counts the lines of each log; --since drops older ones; a line without a timestamp follows the one before."""
    supervisor, gateway = logs_of(home)
    now = dt.datetime.now(tz=dt.UTC).astimezone()
    stamps = [(now - dt.timedelta(minutes=age)).strftime("%Y-%m-%d %H:%M:%S") for age in (90, 30, 1)]
    supervisor.write_text("".join(f"{stamp},000 INFO {number}\n" for number, stamp in enumerate(stamps)))
    gateway.write_text("without a stamp\n")
    assert home.gwctl("logs", "-n", "1", "--supervisor").check(0).stdout == f"{stamps[2]},000 INFO 2\n"
    young = home.gwctl("logs", "--since", "1h", "--json").check(0).envelope["data"]["lines"]
    assert [line["line"][-6:] for line in young] == ["INFO 1", "INFO 2", " stamp"]
    assert home.gwctl("logs", "-n", "0").check(0).stdout == ""


def test_following_survives_rotation(home: Home) -> None:
    """-f shows every new line once: across a rename (ours), a truncation (the gateway's), and a line in two parts."""
    supervisor, gateway = logs_of(home)
    supervisor.write_text("s1\n")
    gateway.write_text("g1\ng2\n")
    call = home.start("logs", "-f", "--json")
    assert call.stdout is not None
    reader = Reader(json.loads(line)["line"] for line in call.stdout)
    try:
        reader.expect("s1", "g1", "g2")
        append(supervisor, "s2\n")
        reader.expect("s2")
        append(supervisor, "s3\n")
        supervisor.rename(supervisor.with_suffix(".log.1"))
        supervisor.write_text("s4 is longer than all that stood in the old file together\n")
        reader.expect("s3", "s4 is longer than all that stood in the old file together")
        gateway.write_text("g\n")
        reader.expect("g")
        append(gateway, "in two ")
        append(gateway, "parts\n")
        reader.expect("in two parts")
    finally:
        call.terminate()
        call.wait(timeout=20)
        reader.thread.join(timeout=20)
        call.stdout.close()
        assert call.stderr is not None
        call.stderr.close()
    assert call.returncode == 143


def test_following_before_there_is_a_log(home: Home) -> None:
    """-f on a profile that never ran waits for its logs."""
    call = home.start("logs", "-f", "--gateway")
    assert call.stdout is not None
    reader = Reader(iter(call.stdout))
    try:
        _, gateway = logs_of(home)
        gateway.write_text("first\n")
        reader.expect("first")
    finally:
        call.terminate()
        call.communicate(timeout=20)
    reader.thread.join(timeout=20)
