"""Programs that stand in for systemctl, named by how they behave; each writes down what it is asked."""

from __future__ import annotations

from pathlib import Path

_TEXT = """#!/bin/sh
printf '%s\\n' "$*" >>"{asked}"
case " $* " in
  *" is-system-running "*) echo {state} ;;
  *" is-active "*) exit {active} ;;
  *" enable "*) {enable} ;;
esac
"""


class RecordingSystemctl:
    """Does what it is asked; ``active`` says whether the unit ran before."""

    state = "running"
    enable = ":"

    def __init__(self, folder: Path, *, active: bool = False) -> None:
        self.folder = folder
        self._asked = folder / "asked"
        folder.mkdir()
        program = folder / "systemctl"
        text = _TEXT.format(asked=self._asked, state=self.state, active=0 if active else 3, enable=self.enable)
        program.write_text(text)
        program.chmod(0o755)

    def path(self, rest: str) -> str:
        """Return a PATH on which it is found first."""
        return f"{self.folder}:{rest}"

    def asked_to(self) -> list[str]:
        """Return what it was asked to do, looks left out, and forget it."""
        lines = self._asked.read_text().splitlines() if self._asked.exists() else []
        self._asked.unlink(missing_ok=True)
        return [line for line in lines if " is-" not in f" {line}"]


class OfflineSystemctl(RecordingSystemctl):
    """Is there, as in most containers, and no systemd is."""

    state = "offline"


class RefusingSystemctl(RecordingSystemctl):
    """Starts nothing."""

    enable = "echo 'Created symlink a → b.' >&2; echo 'Job for the unit failed.' >&2; exit 1"
