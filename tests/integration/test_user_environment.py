"""The user's own programs have the user's environment, in the background as in the foreground; nobody else has it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import threading
from pathlib import Path

from cli_fakes import Home, a_real_home, wait_for

from gwctl.config import load
from gwctl.credentials import Found, Secret
from gwctl.environment import Environment
from gwctl.integrations.notify import Message, ways_of

THEIRS = {
    "PASSWORD_STORE_DIR": "/somewhere/store",
    "SSH_AUTH_SOCK": "/run/user/1/ssh",
    "VAULT_ADDR": "https://vault.example",
    "VAULT_TOKEN": "s.canaryofthevault",
}
"""What such programs work with; the last one is a secret, though none of ours."""
PROGRAM = """#!{python}
import json, os, sys
open({log!r}, "a").write(json.dumps([sys.argv[1], dict(os.environ)]) + "\\n")
if os.environ.get("VAULT_TOKEN") != "s.canaryofthevault":
    sys.exit("no vault")
if sys.argv[1] == "password":
    print({password!r})
"""


def test_the_users_programs_have_the_users_environment(tmp_path: Path, real_release_zip: Path) -> None:
    """`password_command` and `notify_command` have it in the supervisor, too; gateway and browser never see it."""
    log, program = tmp_path / "calls", tmp_path / "program"
    with a_real_home(tmp_path, real_release_zip) as home:
        program.write_text(PROGRAM.format(python=sys.executable, log=str(log), password=home.account.password))
        program.chmod(0o700)
        home.write_config(
            f'[defaults]\npassword_command = ["{program}", "password"]\nnotify_command = ["{program}", "notify"]\n'
        )
        home.gwctl("up", GWCTL_TOTP_SECRET="JBSWY3DPEHPK3PXP", **THEIRS).check(0)
        before = len(log.read_text().splitlines())
        for process in home.processes():
            assert "s.canaryofthevault" not in json.dumps(process.environ()), process.cmdline()
        # The supervisor asks again for the login after this one, long after the call that started it.
        home.stand_in.state.act("drop_session", {})
        wait_for(lambda: len(log.read_text().splitlines()) > before, 60, "the program was run again")
        home.gwctl("notify", "test", **THEIRS).check(0)
        calls = [json.loads(line) for line in log.read_text().splitlines()]
    for _, environ in calls:
        assert {name: environ.get(name) for name in THEIRS} == THEIRS
        assert "GWCTL_TOTP_SECRET" not in environ


def test_a_webhook_goes_through_the_proxy_that_the_environment_names(tmp_path: Path) -> None:
    """Where the way out leads through a proxy, news take it."""
    listener = socket.create_server(("127.0.0.1", 0))
    asked: list[bytes] = []

    def refuse() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                asked.append(connection.recv(4096))
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    threading.Thread(target=refuse, daemon=True).start()
    proxy = f"http://127.0.0.1:{listener.getsockname()[1]}"
    settings = load("default", environment=Environment({"GWCTL_HOME": str(tmp_path)}))
    secrets = {"notify_webhook": Found(Secret("https://hooks.example.com/x"), "a test")}
    way = ways_of(settings, secrets, {**os.environ, "https_proxy": proxy, "no_proxy": ""})[0]
    asyncio.run(way.send(Message("test", "info", "default", "title", "text", "2026-01-01T00:00:00Z", "1")))
    listener.close()
    assert asked
    assert asked[0].startswith(b"CONNECT hooks.example.com:443")


def test_clients_go_past_the_proxy_to_the_gateway(home: Home) -> None:
    """`env` and `exec` add this machine to what is reached without a proxy, by both spellings."""
    given = {"NO_PROXY": "corp.example,10.0.0.0/8", "no_proxy": "other.example, localhost", "GWCTL_PORT": "5017"}
    data = home.gwctl("env", "--json", **given).check(0).envelope["data"]
    assert data["NO_PROXY"] == data["no_proxy"] == "corp.example,10.0.0.0/8,other.example,localhost,127.0.0.1"
    bare = home.gwctl("env", "--json", NO_PROXY=None, no_proxy=None).check(0).envelope["data"]
    assert bare["NO_PROXY"] == "localhost,127.0.0.1"
    asked = "import os; print(os.environ['NO_PROXY'], os.environ['no_proxy'])"
    done = home.gwctl("exec", "--sandbox", "--", sys.executable, "-c", asked, NO_PROXY=None, no_proxy="x.example")
    assert done.check(0).stdout.split() == ["x.example,localhost,127.0.0.1"] * 2
