"""``gwctl env``: what a client needs to know."""

from __future__ import annotations

import shlex

import click

from gwctl.cli.call import Call, verb
from gwctl.cli.output import Outcome
from gwctl.config import Environment, Settings
from gwctl.errors import Configuration

NO_PROXY = ("NO_PROXY", "no_proxy")
THIS_MACHINE = ("localhost", "127.0.0.1")


@click.command("env")
@click.option("--dotenv", is_flag=True, help="Print NAME=value lines, for $GITHUB_ENV and files of variables.")
@verb
def command(call: Call, *, dotenv: bool) -> Outcome:
    """Print export lines: `eval "$(gwctl env)"`."""
    variables = variables_of(call.settings(), call.environment)
    if dotenv:
        lines = "\n".join(_plain(name, value) for name, value in variables.items())
    else:
        lines = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())
    return Outcome(dict(variables), lines)


def _plain(name: str, value: str) -> str:
    if "\n" in value or "\r" in value:
        # Whoever reads such a file would take what comes after it for a variable of its own.
        raise Configuration(f"{name} has a line break in it", hint="set GWCTL_HOME to a folder without one")
    return f"{name}={value}"


def variables_of(settings: Settings, environment: Environment) -> dict[str, str]:
    """Return the variables of the contract; the bundle is written if it is missing or old."""
    from gwctl.cli.running_port import port_of
    from gwctl.gateway.keystore import write_bundle

    bundle = str(write_bundle(settings.paths.ca_dir, settings["certificate_names"]))
    ca_file = str(settings.paths.ca_file)
    address = f"localhost:{port_of(settings)}"
    return {
        "GWCTL_BASE_URL": f"https://{address}/v1/api",
        "GWCTL_CA_FILE": ca_file,
        "SSL_CERT_FILE": bundle,
        "REQUESTS_CA_BUNDLE": bundle,
        "IBIND_REST_URL": f"https://{address}/v1/api/",
        "IBIND_WS_URL": f"wss://{address}/v1/api/ws",
        "IBIND_CACERT": ca_file,
        **dict.fromkeys(NO_PROXY, past_proxies(environment)),
    }


def past_proxies(environment: Environment) -> str:
    """Return what is reached without a proxy: what the environment names, by either spelling, and this machine."""
    named = [part.strip() for name in NO_PROXY for part in (environment.get(name) or "").split(",")]
    return ",".join(dict.fromkeys(part for part in (*named, *THIS_MACHINE) if part))
