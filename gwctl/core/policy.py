"""The numbers that the core decides by, and back-off. Pure: no clock, no I/O."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from gwctl.core.budget import Budget, Budgeted, default_budgets


class Policy(Struct, frozen=True):
    """The numbers that the core decides by; seconds unless a name says otherwise.

    ``seed`` gives each machine its own random numbers; growing pauses are shortened by a random share up to ``jitter``,
    so that machines that failed together do not retry together.
    """

    seed: int = 0
    jitter: float = 0.25
    budgets: Mapping[Budgeted, Budget] = field(default_factory=default_budgets)
    quiet_s: float = 600.0
    spread_s: float = 120.0
    spread_after_ill_s: float = 300.0
    check_interval_s: float = 5.0
    tickle_interval_s: float = 30.0
    hung_confirm_s: float = 0.1
    hung_checks: int = 2
    settle_timeout_s: float = 30.0
    handshake_tries_s: float = 13.0
    """How long the gateway tries to validate a login: five times, 3 s apart (gateway-facts.md)."""
    resume_timeout_s: float = 6.0
    resume_lost_s: float = 1.5
    """A resumed session that IBKR still does not know after this time is lost."""
    settle_expected_s: float = 3.0
    settle_check_s: float = 0.1
    settle_second_check_s: float = 0.6
    settle_late_check_s: float = 0.3
    settle_check_for_s: float = 1.0
    settle_slow_check_s: float = 1.0
    open_early: bool = False
    """Whether to open the brokerage session right after a login, instead of waiting for the gateway's handshake."""
    reauthenticate_tries: int = 3
    reauthenticate_wait_s: float = 5.0
    rate_limit_pause_first_s: float = 15.0
    rate_limit_pause_max_s: float = 240.0
    borrowed_retry_s: float = 60.0
    start_pause_first_s: float = 1.0
    start_pause_max_s: float = 60.0
    local_pause_max_s: float = 5.0
    start_tries_before_ready: int = 3
    stable_after_s: float = 60.0
    login_pause_first_s: float = 5.0
    login_pause_max_s: float = 900.0
    environment_pause_max_s: float = 30.0
    unsent_pause_max_s: float = 60.0
    """The longest pause after a login that sent nothing: it cost nothing, and its cause may be gone."""
    ill_pause_s: float = 15.0
    look_timeout_s: float = 45.0
    """When a check without a result is abandoned and repeated; each request in it has its own deadline."""
    recovery_timeout_s: float = 45.0
    """When a reauthentication or a resume without a result is abandoned; each request in it has its own deadline."""
    login_timeout_s: float = 240.0
    """The same for a login, from reading its secrets to the worker's report."""
    second_factor_timeout_s: float = 210.0
    """How much longer a login may take each time that it asks a person for something."""
    start_timeout_s: float = 240.0
    """When a gateway start without a result is abandoned."""
    by_hand_timeout_s: float = 900.0
    """How long to wait for a login by hand if the caller gives no time."""
    transient_logins_before_restart: int = 3
    never_opened_told: int = 6
    """After this many logins in a row that succeed without opening a session, warn: IBKR may need a person to act."""
    never_opened_often: int = 12
    never_opened_pause_max_s: float = 3600.0
    """The longest pause between logins after ``never_opened_often`` of them."""
    hours_spread_s: float = 20.0
    """Within which time after the beginning of the login hours the first login begins."""
    planned_login_min_age_s: float = 3600.0
    """A planned login is left out if the last one is younger."""
    take_over: bool = False
    take_over_pause_s: float = 600.0
    """How long to leave a session alone that another client took back; doubled each time it happens again."""
    take_over_pause_max_s: float = 14_400.0


def back_off_s(attempt: int, first_s: float, max_s: float) -> float:
    """Return the pause before the next attempt: ``first_s`` doubled for each attempt before, ``max_s`` at most."""
    if attempt <= 0:
        return 0.0
    return min(max_s, first_s * 2.0 ** min(attempt - 1, 30))


def settle_pause_s(policy: Policy, passed_s: float) -> float:
    """Return in how many seconds to check next for a session that is opening, ``passed_s`` after its login.

    The gateway opens the brokerage session ``authDelay`` after the login (gateway-facts.md): before that a check rarely
    helps, after it quick checks help for a while. A resumed session opens within moments, before all that.
    """
    if passed_s < policy.settle_check_s:
        return policy.settle_check_s
    if passed_s < min(policy.settle_second_check_s, policy.settle_expected_s):
        return min(policy.settle_second_check_s, policy.settle_expected_s) - policy.settle_check_s
    if passed_s < policy.settle_expected_s:
        return policy.settle_expected_s - passed_s
    if passed_s < policy.settle_expected_s + policy.settle_check_for_s:
        return policy.settle_late_check_s
    return policy.settle_slow_check_s
