"""Every path of a profile, in one frozen class; the only user of platformdirs."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import Struct

from gwctl.errors import Configuration
from gwctl.ownership import require_ours


def without_tilde(path: str) -> str:
    """Return a path with the home folder in the place of ``~``, unchanged if there is none."""
    return os.path.expanduser(path)  # noqa: PTH111 - expanduser() of a Path raises where there is no home folder


def _no_home() -> Configuration:
    return Configuration(
        "this account has no home folder: neither HOME nor the user database names one",
        hint="set GWCTL_HOME to a folder of yours",
    )


class Paths(Struct, frozen=True):
    """The locations of one profile's files.

    Reading a path creates nothing. ``for_profile`` puts everything under ``home`` if it is given (``GWCTL_HOME``),
    otherwise into the platform's folders; it raises Configuration if the account has no home folder for those.
    """

    profile: str
    config_dir: Path
    data_dir: Path
    state_dir: Path
    cache_dir: Path

    @classmethod
    def for_profile(cls, profile: str, home: Path | None) -> Paths:
        """Return the paths of ``profile``, all below ``home`` if it is given."""
        if home is not None:
            home = home.expanduser().absolute()
            return cls(profile, home, home, home / "state", home / "cache")
        import platformdirs

        dirs = platformdirs.PlatformDirs("gwctl", appauthor=False)
        try:
            own = (dirs.user_config_path, dirs.user_data_path, dirs.user_state_path, dirs.user_cache_path)
        except RuntimeError:
            raise _no_home() from None
        if not all(folder.is_absolute() for folder in own):
            # Older platformdirs return "~/…", which would be a folder of that name in the current directory.
            raise _no_home()
        return cls(profile, *own)

    def require_ours(self) -> None:
        """Raise Untrusted if another user could change anything of this profile."""
        require_ours(
            (
                self.config_file,
                self.default_profile_file,
                self.releases_dir,
                self.ca_dir,
                self.cache_dir,
                self.gateway_dir,
                self.logs_dir,
                self.ledgers_dir,
            )
        )

    # Shared by all profiles.

    @property
    def default_profile_file(self) -> Path:
        """The name of the profile that is used where none is named."""
        return self.config_dir / "profile"

    @property
    def config_file(self) -> Path:
        """The settings file."""
        return self.config_dir / "config.toml"

    @property
    def releases_dir(self) -> Path:
        """The installed Standard Releases, one folder each."""
        return self.data_dir / "releases"

    @property
    def ca_dir(self) -> Path:
        """The machine's certificate authority: ``ca.pem`` and ``ca.key`` (0600)."""
        return self.data_dir / "ca"

    @property
    def profiles_dir(self) -> Path:
        """The folder with one folder per profile."""
        return self.state_dir / "profiles"

    @property
    def ledgers_dir(self) -> Path:
        """The login ledgers (law 2): IBKR counts for each username, whatever profile sent the password."""
        return self.state_dir / "ledgers"

    def account_ledger_file(self, account: str) -> Path:
        """Every login submit of one account, and its outcome."""
        return self.ledgers_dir / f"{account}.json"

    @property
    def class_archives_dir(self) -> Path:
        """The archives of gateways' classes, which the supervisors make again where they are missing."""
        return self.cache_dir / "java-classes"

    @property
    def release_check_file(self) -> Path:
        """When gwctl last asked for a newer release and a newer gwctl, and the answers."""
        return self.state_dir / "release-check.json"

    # Of one profile.

    @property
    def profile_dir(self) -> Path:
        """All files of this profile, 0700."""
        return self.profiles_dir / self.profile

    @property
    def gateway_dir(self) -> Path:
        """The gateway's working directory: gwctl writes ``root/``; ``bin``, ``build`` and ``dist`` are links."""
        return self.profile_dir / "gateway"

    @property
    def keystore_file(self) -> Path:
        """The PKCS12 keystore with which the gateway serves TLS."""
        return self.gateway_dir / "root" / "gwctl.p12"

    @property
    def leaf_file(self) -> Path:
        """The gateway's certificate, PEM, without its key."""
        return self.profile_dir / "leaf.pem"

    @property
    def leaf_key_file(self) -> Path:
        """The certificate's key, PEM, for the front of an isolated gateway."""
        return self.profile_dir / "leaf.key"

    @property
    def ca_file(self) -> Path:
        """The CA certificate that clients of the gateway verify against."""
        return self.ca_dir / "ca.pem"

    @property
    def ca_bundle_file(self) -> Path:
        """The public roots and our CA in one file, for whole processes (``SSL_CERT_FILE``)."""
        return self.ca_dir / "bundle.pem"

    @property
    def gateway_state_file(self) -> Path:
        """The running gateway: pids, creation times, release, port."""
        return self.profile_dir / "gateway.json"

    @property
    def gateway_served_file(self) -> Path:
        """What the gateway is connected to: IBKR or the sandbox, the address, the user (a salted hash)."""
        return self.profile_dir / "gateway-serves.json"

    @property
    def firewall_file(self) -> Path:
        """The firewall that was loaded for the gateway's port, which outlives every process."""
        return self.profile_dir / "firewall.json"

    @property
    def supervisor_state_file(self) -> Path:
        """The running supervisor and how to reach it (0600: it contains a token)."""
        return self.profile_dir / "supervisor.json"

    @property
    def control_socket(self) -> Path:
        """The Unix socket for commands to the supervisor (0600), unless its record names another one."""
        return self.profile_dir / "control.sock"

    @property
    def sandbox_state_file(self) -> Path:
        """The running sandbox and its admin token (0600)."""
        return self.profile_dir / "sandbox.json"

    @property
    def chosen_port_file(self) -> Path:
        """The port that the first `up` chose because no port was set and another program held the built-in one."""
        return self.profile_dir / "port.json"

    @property
    def ledger_file(self) -> Path:
        """Which account the profile's last start was for; in earlier versions, the ledger of this profile alone."""
        return self.profile_dir / "ledger.json"

    @property
    def sandbox_ledger_file(self) -> Path:
        """Every login submit at this profile's sandbox: those never count against an account."""
        return self.profile_dir / "ledger.sandbox.json"

    @property
    def journal_file(self) -> Path:
        """What happened, one JSON object per line."""
        return self.profile_dir / "journal.jsonl"

    @property
    def journal_seen_file(self) -> Path:
        """Until when the supervisor that writes the journal is known to have run."""
        return self.profile_dir / "journal.seen"

    @property
    def budget_file(self) -> Path:
        """How often each recovery action was tried recently, and when the next login is allowed."""
        return self.profile_dir / "budgets.json"

    @property
    def keyring_notes_dir(self) -> Path:
        """Which secrets gwctl put into the keyring, and where that was searched for nothing."""
        return self.profile_dir / "keyring"

    @property
    def pause_file(self) -> Path:
        """The pause that a person asked for."""
        return self.profile_dir / "pause.json"

    @property
    def news_file(self) -> Path:
        """When each notification was sent, so that the next supervisor does not send it again."""
        return self.profile_dir / "news.json"

    @property
    def last_end_file(self) -> Path:
        """How the last supervisor ended, for ``status`` of a stopped profile."""
        return self.profile_dir / "last-end.json"

    @property
    def login_scratch_dir(self) -> Path:
        """Where a login's browser keeps its profile folder while it runs."""
        return self.profile_dir / "login"

    @property
    def supervisor_lock(self) -> Path:
        """Held by the supervisor as long as it runs."""
        return self.profile_dir / "supervisor.lock"

    @property
    def start_lock(self) -> Path:
        """Held while a process starts or stops the supervisor."""
        return self.profile_dir / "start.lock"

    @property
    def logs_dir(self) -> Path:
        """This profile's logs, 0700."""
        return self.profile_dir / "logs"

    @property
    def gateway_log(self) -> Path:
        """The output of the gateway's processes."""
        return self.logs_dir / "gateway.log"

    @property
    def door_log(self) -> Path:
        """The door's access log."""
        return self.logs_dir / "door.log"

    @property
    def door_token_file(self) -> Path:
        """The token that gwctl made for clients of the door."""
        return self.profile_dir / "door.token"

    @property
    def supervisor_log(self) -> Path:
        """The supervisor's log."""
        return self.logs_dir / "supervisor.log"

    @property
    def evidence_dir(self) -> Path:
        """What gwctl kept of failed logins."""
        return self.profile_dir / "evidence"
