"""What a client needs to reach the gateway, as environment variables of the contract."""

from __future__ import annotations

from gwctl.config import Environment, Settings
from gwctl.state_file import read_json

NO_PROXY = ("NO_PROXY", "no_proxy")
THIS_MACHINE = ("localhost", "127.0.0.1")


def variables_of(settings: Settings, environment: Environment) -> dict[str, str]:
    """Return the variables of the contract; the bundle is written if it is missing or old."""
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


def port_of(settings: Settings) -> int:
    """Return the running gateway's port, which may be one of its `up`'s own flags, or the settings' one."""
    raw, _ = read_json(settings.paths.supervisor_state_file)
    port = (raw or {}).get("gateway_port")
    return int(port) if isinstance(port, int) else int(settings["port"])
