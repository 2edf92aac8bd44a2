"""``gwctl env``: what a client needs to know."""

from __future__ import annotations

import shlex

import click

from gwctl.cli.call import Call, verb
from gwctl.cli.output import Outcome
from gwctl.config import Settings


@click.command("env")
@verb
def command(call: Call) -> Outcome:
    """Print export lines: `eval "$(gwctl env)"`."""
    variables = variables_of(call.settings())
    lines = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())
    return Outcome(dict(variables), lines)


def variables_of(settings: Settings) -> dict[str, str]:
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
    }
