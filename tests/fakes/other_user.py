"""Act as another user of this machine, in a child: Python itself may be where that user cannot start it."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - looked up by name when a socket connects, where that user cannot read it
import json
import os
import traceback
from collections.abc import Callable
from typing import Any

STRANGER = 65534


def as_user(act: Callable[[], Any], uid: int = STRANGER) -> Any:
    """Return what ``act`` returns, in JSON's types, when ``uid`` runs it; raise AssertionError with its traceback."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.chdir("/")
            said = {"value": act()}
        except BaseException:  # noqa: BLE001 - told to the parent
            said = {"error": traceback.format_exc()}
        with os.fdopen(writing, "w") as pipe:
            json.dump(said, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = json.load(pipe)
    os.waitpid(child, 0)
    assert "error" not in said, said["error"]
    return said["value"]
