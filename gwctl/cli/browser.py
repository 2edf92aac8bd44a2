"""``gwctl browser``: the login's browser."""

from __future__ import annotations

import click

from gwctl.cli.call import Call, global_options, verb
from gwctl.cli.output import Outcome
from gwctl.cli.parsing import SuggestingGroup


@click.group("browser", cls=SuggestingGroup)
@global_options
def command() -> None:
    """Install the login's browser, or show which one is used."""


@command.command("install")
@click.option("--window", is_flag=True, help="The one that can show a window, too, for `login --manual`.")
@verb
def install(call: Call, *, window: bool) -> Outcome:
    """Install Playwright's Chromium with gwctl's own interpreter."""
    from gwctl.login.browser import install_chromium

    call.say("installing Playwright's Chromium (about 110 MB)")
    browser = install_chromium(call.environment.variables, window=window)
    return Outcome({"executable": str(browser.executable), "kind": browser.kind}, f"installed {browser.executable}")


@command.command("show")
@verb
def show(call: Call) -> Outcome:
    """Show the browser that a login would use."""
    from gwctl.login.browser import find_browser

    browser = find_browser(call.settings()["browser"], call.environment.variables)
    data = {"executable": str(browser.executable), "kind": browser.kind, "source": browser.source}
    return Outcome(data, f"{browser.executable} ({browser.source})")
