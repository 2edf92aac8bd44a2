"""One profile, as every operation gets it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gwctl.config import DEFAULT_PROFILE, Environment, Settings, check_profile_name, load
from gwctl.paths import Paths


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile's name, and what its settings are read from; ``flags`` are settings that override all others."""

    name: str = DEFAULT_PROFILE
    environment: Environment = field(default_factory=Environment)
    flags: Mapping[str, Any] = field(default_factory=dict)

    @property
    def paths(self) -> Paths:
        """The profile's paths; its settings are not read, so that a broken file does not prevent a stop."""
        return Paths.for_profile(check_profile_name(self.name), self.environment.home)

    def settings(self) -> Settings:
        """Read the profile's settings; raise Configuration."""
        return load(self.name, flags=self.flags, environment=self.environment)

    def with_name(self, name: str) -> Profile:
        """Return another profile of the same home."""
        return replace(self, name=name)

    def command(self, rest: str) -> str:
        """Return the command to type next for this profile."""
        option = "" if self.name == DEFAULT_PROFILE else f" --profile {self.name}"
        return f"gwctl{option} {rest}"
