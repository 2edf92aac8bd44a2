"""Back-off, budgets and law 2, pure: no clock, no I/O, the standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gwctl.core.budget import Budget, Rung


def default_budgets() -> dict[Rung, Budget]:
    """Return how often each rung may be climbed: above what a bad day needs, below what hurts at IBKR's door.

    A restart asks nothing of IBKR, so its number is no limit: beyond it a warning says how often it happens.
    """
    return {
        Rung.REAUTHENTICATE: Budget(30, 200),
        Rung.RESUME: Budget(20, 100),
        Rung.LOGIN: Budget(20, 60),
        Rung.RESTART: Budget(12, 60),
    }


@dataclass(frozen=True, slots=True)
class Policy:
    """The numbers the core decides by; seconds unless a name says otherwise.

    ``seed`` is what tells one machine's chance from another's; growing pauses are shortened by up to the part
    ``jitter``, so that machines that failed together do not try again together.
    """

    seed: int = 0
    jitter: float = 0.25
    budgets: Mapping[Rung, Budget] = field(default_factory=default_budgets)
    quiet_s: float = 600.0
    spread_s: float = 120.0
    spread_after_ill_s: float = 300.0
    check_interval_s: float = 5.0
    tickle_interval_s: float = 30.0
    hung_confirm_s: float = 0.1
    hung_checks: int = 2
    settle_timeout_s: float = 30.0
    handshake_tries_s: float = 13.0
    """How long after a login the gateway tries to have it validated: five times, 3 s apart (gateway-facts.md)."""
    resume_timeout_s: float = 6.0
    resume_lost_s: float = 1.5
    """A resumed session that is unknown to IBKR for so long was lost: nothing of it is still to come."""
    settle_expected_s: float = 3.0
    settle_check_s: float = 0.1
    settle_second_check_s: float = 0.6
    settle_late_check_s: float = 0.3
    settle_check_for_s: float = 1.0
    settle_slow_check_s: float = 1.0
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
    """The longest pause after a login that sent nothing: it has cost nobody anything, and its cause may be gone."""
    ill_pause_s: float = 15.0
    look_timeout_s: float = 45.0
    """When a check that says nothing is given up and made again; each request in it has its own deadline."""
    cure_timeout_s: float = 45.0
    """When a reauthentication or a resume that says nothing is given up; each request in it has its own deadline."""
    login_timeout_s: float = 240.0
    """The same for a login, from the reading of its secrets to its worker's report."""
    second_factor_timeout_s: float = 210.0
    """How much longer a login may take each time that a person is asked for something."""
    start_timeout_s: float = 240.0
    """When a start of the gateway that says nothing is given up."""
    by_hand_timeout_s: float = 900.0
    """How long a login by hand is waited for when whoever wants it does not say for how long."""
    transient_logins_before_restart: int = 3
    never_opened_told: int = 6
    """So many logins in a row that succeed and open nothing are told of: IBKR may want something of a person."""
    never_opened_often: int = 12
    never_opened_pause_max_s: float = 3600.0
    """After ``never_opened_often`` of them the next ones are this far apart at most."""
    take_over: bool = False
    take_over_pause_s: float = 600.0
    """How long a session that was taken back from us is left alone; doubled each time that happens again."""
    take_over_pause_max_s: float = 14_400.0


def back_off_s(attempt: int, first_s: float, max_s: float) -> float:
    """Return the pause before the next attempt: ``first_s`` doubled for each attempt before, ``max_s`` at most."""
    if attempt <= 0:
        return 0.0
    return min(max_s, first_s * 2.0 ** min(attempt - 1, 30))


def settle_pause_s(policy: Policy, passed_s: float) -> float:
    """Return when to look next for a session that is coming up, ``passed_s`` after its login.

    The gateway opens the brokerage session ``authDelay`` after the login (gateway-facts.md): until then a look is
    rarely of use, from then on quick ones are, for a while. A resumed session is there within moments, before all that.
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
