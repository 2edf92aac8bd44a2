"""Who follows an operation: is told what happens and answers questions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gwctl.errors import CredentialsMissing

if TYPE_CHECKING:
    from gwctl.release.download import DownloadProgress


class Observer:
    """One that says nothing and answers nothing; the command line has its own."""

    verbose = False
    """Whether the supervisor that is started writes a detailed log."""
    can_answer = False
    """Whether there is a person to ask."""
    undone = ""
    """What was undone when the operation was interrupted, for the last line."""

    def say(self, text: str) -> None:
        """Pass on one line for a person."""

    def show(self, text: str) -> None:
        """Pass on which step begins."""

    def ask_to_do(self, text: str) -> None:
        """Pass on what a person has to do now, or nothing goes on."""
        self.show(text)

    def ask(self, prompt: str, *, hidden: bool) -> str:  # noqa: ARG002 - others hide what is typed
        """Return a person's answer; called only where ``can_answer``."""
        raise CredentialsMissing(f"there is nobody to ask for {prompt}")

    @contextmanager
    def downloading(self) -> Iterator[Callable[[DownloadProgress], None]]:
        """Yield what is called with the progress of a download."""
        yield lambda _seen: None


SILENT = Observer()
