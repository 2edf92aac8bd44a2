"""Names in the certificate, as a user sets them: used from the gateway's next start, without losing a session."""

from __future__ import annotations

import os
import signal
import ssl
from pathlib import Path

import httpx
import pytest
from cli_fakes import Home

pytestmark = pytest.mark.browser


def believed(home: Home, name: str) -> bool:
    """Return whether a client that trusts our CA accepts the gateway under ``name``."""
    context = ssl.create_default_context(cafile=home.home / "ca" / "ca.pem")
    with httpx.Client(verify=context, timeout=20, trust_env=False) as client:
        try:
            client.get(f"https://127.0.0.1:{home.port}/", extensions={"sni_hostname": name})
        except httpx.ConnectError as error:
            assert "CERTIFICATE_VERIFY_FAILED" in str(error)  # noqa: PT017 - any other error proves nothing
            return False
    return True


@pytest.mark.wide
def test_other_names_wait_for_the_gateways_next_start(home: Home) -> None:
    """A supervisor with other names adopts the running gateway (law 4); `restart` serves the new ones."""
    before = home.gwctl("up", "--sandbox", "--json", GWCTL_CERTIFICATE_NAMES="a.example").check(0).envelope["data"]
    assert believed(home, "a.example")
    os.kill(before["supervisor"]["pid"], signal.SIGKILL)

    after = home.gwctl("up", "--sandbox", "--json", GWCTL_CERTIFICATE_NAMES="b.example").check(0).envelope["data"]
    assert after["gateway"]["pid"] == before["gateway"]["pid"]
    assert home.sandbox_submits() == 1
    assert believed(home, "a.example")
    assert not believed(home, "b.example")

    home.gwctl("restart").check(0)
    assert believed(home, "b.example")
    assert believed(home, "localhost")
    assert not believed(home, "a.example")
    assert Path(home.gwctl("env", "--json").envelope["data"]["GWCTL_CA_FILE"]).is_file()


def test_a_wildcard_is_a_setting_that_is_wrong(home: Home) -> None:
    """A name that the certificate must not contain exits with 78 and names its place."""
    said = home.gwctl("env", GWCTL_CERTIFICATE_NAMES="*.example").check(78).stderr
    assert "certificate_names" in said
    assert "wildcard" in said
