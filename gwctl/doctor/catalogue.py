"""Every check, what others depend on first. The codes are for scripts: one that is here stays."""

from __future__ import annotations

from gwctl.doctor.account import check_budget, check_login, check_secrets
from gwctl.doctor.certificate import check_certificate
from gwctl.doctor.examining import Check
from gwctl.doctor.files import check_logs, check_permissions, check_settings, check_state_files
from gwctl.doctor.machine import check_disk, check_localhost, check_python, check_scratch, check_time_zones
from gwctl.doctor.network import check_allow_ips, check_clock, check_port, check_upstream
from gwctl.doctor.programs import check_browser, check_java, check_release
from gwctl.doctor.running import (
    check_drift,
    check_last_end,
    check_leftovers,
    check_maintenance,
    check_session,
    check_supervisor,
)
from gwctl.doctor.unattended import check_unattended

CHECKS: tuple[Check, ...] = (
    Check("python", "the interpreter, and whether all that gwctl needs is installed beside it", check_python),
    Check("disk", "free space and inodes where state and releases are", check_disk),
    Check("scratch", "the folder for temporary files, and `/dev/shm`", check_scratch),
    Check("time_zones", "the time zones of IBKR's maintenance windows", check_time_zones),
    Check("settings", "`config.toml`, variables, the profile", check_settings, ("time_zones",)),
    Check(
        "permissions", "mode and owner of every file of the profile, the authority and the releases", check_permissions
    ),
    Check("state_files", "whether every state file can be read", check_state_files),
    Check("java", "a Java that is new enough", check_java, ("settings",)),
    Check(
        "browser", "the login's browser is started once, without a window", check_browser, ("settings", "scratch"), 20.0
    ),
    Check("release", "the Standard Release: installed, chosen, every file as it was", check_release, ("settings",)),
    Check("port", "who has the gateway's port", check_port, ("settings",)),
    Check("localhost", "what `localhost` means here", check_localhost),
    Check("certificate", "our authority, the gateway's certificate and key, the bundle", check_certificate),
    Check("allow_ips", "whom the gateway lets in", check_allow_ips, ("settings",)),
    Check(
        "secrets",
        "which source has each secret, and whether it is usable; never its value",
        check_secrets,
        ("settings",),
    ),
    Check("upstream", "the way to IBKR: name, connection, certificate, answer", check_upstream, ("settings",), 8.0),
    Check("clock", "this machine's clock against IBKR's", check_clock, ("upstream",)),
    Check("maintenance", "whether one of IBKR's maintenance windows is open", check_maintenance, ("settings",)),
    Check("supervisor", "whether it runs, answers, turns, holds the lock, is of this version", check_supervisor),
    Check("session", "phase and reason, and the cause that the gateway's log names", check_session, ("supervisor",)),
    Check(
        "drift",
        "settings that were changed since the gateway or its supervisor started",
        check_drift,
        ("settings", "supervisor"),
    ),
    Check("last_end", "why the last supervisor gave up", check_last_end, ("supervisor",)),
    Check("login", "how the last login ended, refusals, the lock-out", check_login, ("settings",)),
    Check("budget", "whether a cure waits because it was tried too often", check_budget),
    Check("leftovers", "processes of the profile that nobody supervises", check_leftovers, ("settings",)),
    Check("logs", "how large logs, journal and evidence are", check_logs),
    Check("unattended", "whether units and the crontab start a gwctl that is there", check_unattended),
)
