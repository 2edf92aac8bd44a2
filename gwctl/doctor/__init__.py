"""The doctor: checks of everything that a session needs. They change nothing."""

from gwctl.doctor import files, installation, network, session_checks
from gwctl.doctor.case import Check

CHECKS: tuple[Check, ...] = (
    Check("python", installation.check_python),
    Check("disk", installation.check_disk),
    Check("scratch", installation.check_scratch),
    Check("time_zones", installation.check_time_zones),
    Check("home", files.check_home),
    Check("settings", files.check_settings, needs=("home", "time_zones")),
    Check("permissions", files.check_permissions),
    Check("state_files", files.check_state_files, needs=("home",), after=("settings",)),
    Check("java", installation.check_java, needs=("settings",)),
    Check("browser", installation.check_browser, needs=("settings", "scratch"), bound_s=50.0),
    Check("release", installation.check_release, needs=("settings",)),
    Check("port", network.check_port, needs=("settings",)),
    Check("localhost", network.check_localhost),
    Check("certificate", network.check_certificate, needs=("home",)),
    Check("isolation", network.check_isolation, needs=("settings",)),
    Check("door", network.check_door, needs=("settings",), after=("supervisor",)),
    Check("secrets", session_checks.check_secrets, needs=("settings",)),
    Check("upstream", network.check_upstream, needs=("settings",)),
    Check("clock", network.check_clock, needs=("upstream",)),
    Check("maintenance", session_checks.check_maintenance, needs=("settings",)),
    Check("supervisor", session_checks.check_supervisor, needs=("home",)),
    Check("session", session_checks.check_session, needs=("supervisor",)),
    Check("drift", session_checks.check_drift, needs=("settings", "supervisor")),
    Check("last_end", session_checks.check_last_end, needs=("supervisor",)),
    Check("login", session_checks.check_login, needs=("settings",), after=("supervisor",)),
    Check("budget", session_checks.check_budget, needs=("home",)),
    Check("leftovers", session_checks.check_leftovers, needs=("settings",)),
    Check("logs", files.check_logs, needs=("home",)),
    Check("unattended", files.check_unattended),
)
"""Every check is declared here, once: its code, its function, the checks that must pass first."""
