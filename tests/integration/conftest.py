"""Homes for the tests of the command line."""

from cli_fixtures import home, sandbox

__all__ = ["home", "sandbox"]
