"""`--fast`: a sandbox without a browser and without the gateway's delay, and nothing but a sandbox."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_fakes import Home, a_home, one_line_with_hint, wait_for

import gwctl
from gwctl.errors import Usage

NO_BROWSER = {"GWCTL_BROWSER": "/nonexistent/browser"}
SOON_S = 10.0
"""On a machine where other tests run beside; alone it takes one to two seconds."""


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Yield a home whose sandbox was started with --fast, where there is no browser."""
    with a_home(tmp_path_factory.mktemp("fast")) as running:
        began_s = time.monotonic()
        running.gwctl("up", "--sandbox", "--fast", **NO_BROWSER).check(0)
        assert time.monotonic() - began_s < SOON_S
        yield running


def steps(home: Home) -> list[str]:
    return [entry["step"] for entry in home.journal() if entry["kind"] == "step"]


def test_it_needs_no_browser_and_no_delay(fast: Home) -> None:
    """Without any browser the session is ready; the gateway does not wait; the sandbox saw one correct password."""
    status = fast.status()
    assert (status["ready"], status["sandbox"]) == (True, True)
    assert steps(fast) == ["logged in without a page"]
    assert "authDelay: 1\n" in (fast.profile_dir / "gateway" / "root" / "conf.yaml").read_text()
    state = json.loads(fast.gwctl("sandbox", "show", "--json").check(0).stdout)["data"]
    assert [submit["outcome"] for submit in state["login"]["submits"]] == ["success"]
    again = fast.gwctl("up", "--sandbox", "--fast").check(0)
    assert "took" not in again.stdout
    assert fast.gwctl("api", "GET", "/iserver/secdef/search?symbol=AAPL").check(0).stdout.startswith("[{")


def test_a_lost_session_comes_back_without_a_browser(fast: Home) -> None:
    """When the sandbox drops the session, the next login is without a page, too."""
    before = len(steps(fast))
    fast.gwctl("sandbox", "do", "drop_session").check(0)
    wait_for(lambda: len(steps(fast)) > before, 40, "another login")
    fast.gwctl("wait", "--timeout", "40").check(0)
    assert set(steps(fast)) == {"logged in without a page"}


def test_what_needs_the_page_says_so(fast: Home) -> None:
    """A second factor cannot be given without a page: the session waits, and says that --fast is the reason."""
    fast.gwctl("sandbox", "on", "second_factor", "kind=app").check(0)
    fast.gwctl("sandbox", "do", "drop_session").check(0)
    status = wait_for(lambda: one if (one := fast.status())["phase"] == "locked_out" else None, 40, "locked out")
    assert "leave out --fast" in json.dumps(status)
    fast.gwctl("sandbox", "off", "second_factor").check(0)
    fast.gwctl("login", "--reset-lockout").check(0)
    fast.gwctl("wait", "--timeout", "40").check(0)


@pytest.mark.parametrize(
    "words", [("up",), ("exec",), ("up", "--foreground"), ("up", "--all", "--sandbox")], ids=" ".join
)
def test_only_a_sandbox_may_be_fast(home: Home, words: tuple[str, ...]) -> None:
    """Without --sandbox, or for all profiles, --fast is a usage error, and nothing was started."""
    command = ("--", "true") if words == ("exec",) else ()
    refused = home.gwctl(*words, "--fast", *command).check(2)
    assert "--fast" in one_line_with_hint(refused)
    assert not home.profile_dir.exists()


def test_the_python_api_and_exec(tmp_path: Path) -> None:
    """`exec --sandbox --fast` and ``gwctl.session(sandbox=True, fast=True)`` need no browser; fast alone is refused."""
    with a_home(tmp_path) as home:
        done = home.gwctl("exec", "--sandbox", "--fast", "--", "sh", "-c", "echo $GWCTL_BASE_URL", **NO_BROWSER)
        assert done.check(0).stdout.splitlines()[-1].endswith("/v1/api")
        environ = home.environment(**NO_BROWSER)
        with gwctl.session(sandbox=True, fast=True, environ=environ) as session, session.client() as client:
            assert client.get("/iserver/accounts").json()["isPaper"] is True
        with pytest.raises(Usage, match="--fast"), gwctl.session(fast=True, environ=environ):
            pass
