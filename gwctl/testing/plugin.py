"""The pytest plugin: the fixture `ibkr_gateway`, a ready session for a test run.

Every pytest run imports this module where gwctl is installed. So it imports only pytest and does nothing until a test
asks for the fixture; `gateway` has the rest.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gwctl.testing.gateway import IbkrGateway, Run

_RUN: pytest.StashKey[Run] = pytest.StashKey()
"""What this process must bring down at the end of its run."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the command-line options."""
    group = parser.getgroup("gwctl", "Interactive Brokers session (gwctl)")
    for account, text in (
        ("sandbox", "the built-in sandbox, even if credentials are set"),
        ("paper", "the paper account of GWCTL_USERNAME or the profile"),
    ):
        group.addoption(
            f"--ibkr-{account}", dest="ibkr_account", action="store_const", const=account, help=f"ibkr_gateway: {text}"
        )
    group.addoption("--ibkr-fast", action="store_true", help="ibkr_gateway: the sandbox without a browser")
    group.addoption("--ibkr-timeout", type=float, metavar="S", help="ibkr_gateway: seconds to wait for the session")
    parser.addini("ibkr_account", "ibkr_gateway: auto, sandbox or paper", default="auto")
    parser.addini("ibkr_fast", "ibkr_gateway: the sandbox without a browser", type="bool")
    parser.addini("ibkr_timeout", "ibkr_gateway: seconds to wait for the session", default="180")
    parser.addini("ibkr_per_worker", "ibkr_gateway: a sandbox for each worker of pytest-xdist", type="bool")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 - pytest-xdist's, which may not be there
    """Tell a worker of pytest-xdist to end its session when we end: we outlive all workers."""
    node.workerinput["gwctl_pid"] = os.getpid()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:  # noqa: ANN401 - likewise
    """Record what a worker brought up."""
    brought_up = getattr(node, "workeroutput", {}).get("gwctl_run")
    if brought_up is not None:
        from gwctl.testing.gateway import Run

        node.config.stash[_RUN] = Run.from_json(brought_up)


@pytest.fixture(scope="session")
def ibkr_gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[IbkrGateway]:
    """Provide a ready session, on the sandbox, or on a paper account if credentials are set."""
    from gwctl.testing.gateway import Run, Trouble

    config = request.config
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    per_worker = worker is None or bool(config.getini("ibkr_per_worker"))
    base: Path = tmp_path_factory.getbasetemp()
    problem = ""
    try:
        run = Run.plan(
            account=config.getoption("ibkr_account") or config.getini("ibkr_account"),
            timeout_s=config.getoption("ibkr_timeout") or config.getini("ibkr_timeout"),
            folder=(base if per_worker else base.parent) / "gwctl",
            pid=os.getpid() if worker is None or per_worker else worker["gwctl_pid"],
            apart=worker is not None and per_worker,
            fast=bool(config.getoption("ibkr_fast") or config.getini("ibkr_fast")),
        )
        if not per_worker:
            config.workeroutput["gwctl_run"] = run.to_json()  # type: ignore[attr-defined] # pytest-xdist's
        gateway = run.bring_up()
    except Trouble as trouble:
        problem = str(trouble)
    if problem:
        # Not inside the handler: pytest would show the original exception and its cause.
        pytest.fail(problem, pytrace=False)
    if per_worker:
        config.stash[_RUN] = run
    yield gateway
    gateway.close()
    if left := _bring_down(config):
        pytest.fail(left, pytrace=False)


def _bring_down(config: pytest.Config) -> str | None:
    """Bring down what this process must bring down, and return what went wrong."""
    run = config.stash.get(_RUN, None)
    if run is None:
        return None
    del config.stash[_RUN]
    from gwctl.testing.gateway import Trouble

    try:
        run.bring_down()
    except Trouble as trouble:
        return str(trouble)
    return None


def pytest_unconfigure(config: pytest.Config) -> None:
    """Bring down what the workers shared, and what an interruption left."""
    if problem := _bring_down(config):
        from gwctl.plain_text import many_lines

        sys.stderr.write(f"{many_lines(problem)}\n")
