"""The terminal as an operation's observer: live steps on a terminal, plain lines elsewhere; asks a person questions."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Self

from gwctl.cli.call import Call
from gwctl.cli.output import write
from gwctl.lifecycle.profile import Observer
from gwctl.plain_text import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

    from gwctl.release.download import DownloadProgress


class Terminal(Observer):
    """Shows an operation's progress; inside ``with terminal:`` a spinner marks the current step on a terminal."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._stack = ExitStack()
        self._opened = False
        self._console: Console | None = None
        self._spinner: Status | None = None
        self._current: tuple[str, float, bool] | None = None
        self._began_s = time.monotonic()
        self.verbose = call.verbose

    @property
    def can_answer(self) -> bool:  # type: ignore[override] # known only when asked
        """Whether there is a person to ask."""
        return self._call.may_ask

    @property
    def undone(self) -> str:
        """What was undone after an interruption."""
        return self._call.undone

    @undone.setter
    def undone(self, text: str) -> None:
        self._call.undone = text

    @property
    def shows_times(self) -> bool:  # type: ignore[override] # known only when asked
        """Whether each step is shown with the time that it took."""
        return self._opened

    @property
    def _is_silent(self) -> bool:
        return self._call.quiet or self._call.as_json

    def __enter__(self) -> Self:
        self._opened = not self._is_silent and sys.stderr.isatty()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._settle(None if kind is None else "[red]✗[/]")
        self._opened, self._spinner = False, None
        self._stack.close()

    def say(self, text: str) -> None:
        """Write one line, unless quiet or for machines."""
        with self._spinner_stopped():
            self._call.say(text)

    def show(self, text: str, *, well: bool = True, until_s: float | None = None) -> None:
        """Write which step begins; on a terminal, show a spinner until the next step, and what is left of its time."""
        text = one_line(text)
        if not self._opened:
            self._call.say(text)
            return
        from rich.markup import escape

        self._settle()
        self._current = (text, time.monotonic(), well)
        shown = escape(text) if until_s is None else _Countdown(text, until_s)
        if self._spinner is None:
            from rich.console import Console

            self._console = Console(stderr=True, no_color=self._call.no_color or None, highlight=False)
            self._spinner = self._stack.enter_context(self._console.status(shown))
        else:
            self._spinner.update(shown)

    def _settle(self, mark: str | None = None) -> None:
        if self._current is None or self._console is None:
            return
        from rich.markup import escape

        (text, at_s, well), self._current = self._current, None
        mark = mark or ("[green]✓[/]" if well else "[yellow]![/]")
        self._console.print(f"{mark} {escape(text)} [dim]{at_s - self._began_s:.1f} s[/]")

    def ask_to_do(self, text: str) -> None:
        """Write what a person must do, even if an envelope is printed at the end: that would be too late."""
        if self._call.as_json and not self._call.quiet:
            write(one_line(text), sys.stderr)
        self.show(text)

    def ask(self, prompt: str, *, hidden: bool) -> str:
        """Ask the person at the terminal."""
        import click

        with self._spinner_stopped():
            return str(click.prompt(one_line(prompt), hide_input=hidden, err=True))

    @contextmanager
    def _spinner_stopped(self) -> Iterator[None]:
        if self._spinner is None:
            yield
            return
        self._spinner.stop()
        try:
            yield
        finally:
            self._spinner.start()

    @contextmanager
    def downloading(self) -> Iterator[Callable[[DownloadProgress], None]]:
        """Yield an observer of a download: a bar on a terminal, otherwise a line for each problem."""
        if self._is_silent or not sys.stderr.isatty():
            yield self._say_trouble
            return
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        console = self._console or Console(stderr=True, no_color=self._call.no_color or None)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with self._spinner_stopped(), Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("downloading", total=None)

            def show(seen: DownloadProgress) -> None:
                bar.update(task, completed=seen.received_bytes, total=seen.total_bytes)
                if seen.trouble:
                    bar.console.print(f"{one_line(seen.trouble)}; retrying in {seen.pause_s:.0f} s", markup=False)

            yield show

    def _say_trouble(self, seen: DownloadProgress) -> None:
        if seen.trouble:
            self.say(f"download: {seen.trouble}; retrying in {seen.pause_s:.0f} s")


class _Countdown:
    """A step and the seconds that are left of it, counted anew each time it is drawn."""

    def __init__(self, text: str, until_s: float) -> None:
        self._text = text
        self._until_s = until_s

    def __rich__(self) -> str:
        from rich.markup import escape

        return f"{escape(self._text)} [dim]{max(0.0, self._until_s - time.monotonic()):.0f} s left[/]"
