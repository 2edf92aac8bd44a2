"""`gwctl service show --firewall`: the text that root loads by hand."""

from __future__ import annotations

import json
import os

import pytest
from cli_fakes import Home

from gwctl.isolation.firewall import Firewall


@pytest.mark.parametrize("form", ["nft", "pf"])
def test_the_firewall_is_printed_for_who_asks(home: Home, form: str) -> None:
    """It is about the profile's port, lets in the asking user and `allow_users`, and says OPEN and how to load it."""
    variables = {"GWCTL_PORT": "5123", "GWCTL_ALLOW_USERS": "4321"}
    firewall = Firewall(5123, tuple(dict.fromkeys((os.geteuid(), 4321))))
    shown = home.gwctl("service", "show", f"--firewall={form}", **variables).check(0).stdout
    assert shown == firewall.shown(form)
    assert "OPEN" in shown.partition("\n")[0]
    data = home.gwctl("service", "show", f"--firewall={form}", "--json", **variables).check(0).stdout
    assert json.loads(data)["data"] == {"profile": "default", "kind": form, "wanted": shown}


def test_pf_lets_in_only_who_is_named(home: Home) -> None:
    """The anchor's rules for loopback name users to pass and then block all: a list to block would block everybody."""
    shown = home.gwctl("service", "show", "--firewall=pf", GWCTL_ALLOW_USERS="4321").check(0).stdout
    rules = [line for line in shown.splitlines() if not line.startswith("#")]
    users = " ".join(dict.fromkeys((str(os.geteuid()), "4321")))
    assert rules == [
        f"block return in quick on ! lo0 proto tcp from any to any port {home.port}",
        f"pass out quick on lo0 proto tcp from any to any port {home.port} user {{ {users} }}",
        f"block return out quick on lo0 proto tcp from any to any port {home.port}",
    ]


def test_it_is_no_service(home: Home) -> None:
    """With the options of a service, and for a user that does not exist, nothing is printed."""
    assert "--firewall cannot be combined" in home.gwctl("service", "show", "--firewall", "--cron").check(2).stderr
    refused = home.gwctl("service", "show", "--firewall", GWCTL_ALLOW_USERS="no-such-user").check(78)
    assert (refused.stdout, "no such user" in refused.stderr) == ("", True)
