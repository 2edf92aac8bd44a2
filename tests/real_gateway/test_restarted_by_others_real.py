"""What restarts gwctl for ever, as a cluster or a container engine does, never makes it log in again."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_fakes import CALL_TIMEOUT_S, RealHome, a_real_home, wait_for

pytestmark = [pytest.mark.real_gateway, pytest.mark.browser, pytest.mark.timeout(180)]

RESTARTS = 3
AT_ONCE_S = 20.0
"""What tells a start that is refused from one that starts a gateway and a browser, on any machine."""
GRACE_S = 60.0
"""terminationGracePeriodSeconds of deploy/kubernetes."""


@pytest.fixture
def real(tmp_path: Path, real_release_zip: Path) -> Iterator[RealHome]:
    """Yield a home with an ordinary profile whose secrets are mounted as files, and a stopped real gateway."""
    with a_real_home(tmp_path, real_release_zip) as home:
        (tmp_path / "secrets").mkdir()
        home.variables["CREDENTIALS_DIRECTORY"] = str(tmp_path / "secrets")
        yield home


@pytest.mark.wide
def test_a_crash_loop_sends_the_password_once(real: RealHome) -> None:
    """A refused password ends with 77; each restart ends with 77 at once and sends nothing, until the Secret changes.

    Then the next restart logs in, and the pod's end logs out within its grace.
    """
    secret = Path(real.variables["CREDENTIALS_DIRECTORY"]) / "password"
    secret.write_text("not the password")
    real.gwctl("up", "--foreground").check(77)
    assert real.submits() == 1
    gateways = [entry["kind"] for entry in real.journal()].count("gateway")
    for _ in range(RESTARTS):
        began_s = time.perf_counter()
        assert "not send it again" in real.gwctl("up", "--foreground").check(77).stderr
        assert time.perf_counter() - began_s < AT_ONCE_S
    assert real.submits() == 1
    assert [entry["kind"] for entry in real.journal()].count("gateway") == gateways

    secret.write_text(real.account.password)
    pod = real.start("up", "--foreground")
    wait_for(lambda: real.status()["ready"], CALL_TIMEOUT_S, "the new password's session")
    assert real.submits() == 2
    assert real.stand_in.state.sessions.summary()["sso"]
    began_s = time.perf_counter()
    pod.send_signal(signal.SIGTERM)
    pod.communicate(timeout=GRACE_S)
    assert pod.returncode == 143
    print(f"ended after {time.perf_counter() - began_s:.1f} s")  # noqa: T201 - the figure is reported
    assert real.stand_in.state.sessions.summary()["sso"] == []
