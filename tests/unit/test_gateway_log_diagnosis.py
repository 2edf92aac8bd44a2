"""The cause of a login that succeeds and never authenticates, from logs as the real gateway writes them."""

from pathlib import Path

import pytest

from gwctl.gateway.log_diagnosis import Cause, read_cause

_REFUSED = """\
2026-11-22T23:04:29.387Z INFO  GatewayHttpProxy : Client login succeeds
2026-11-22T23:04:29.401Z WARN  BaseServiceProxy : failed /v1/portal/sso/validate
2026-11-22T23:04:29.404Z ERROR GatewayHttpProxy : authentication to cp failed, retry 1
io.vertx.core.impl.NoStackTraceThrowable: Access Denied
"""
_ILL = _REFUSED.replace("Access Denied", "503")
"""As the jar writes it where every answer of IBKR's is 503 [seen]."""
_GIVES_UP = "2026-11-22T23:04:41.432Z ERROR GatewayHttpProxy : giving up ...\n"


def _logs(folder: Path, text: str, name: str = "gw.2026-11-22.0.log") -> Path:
    (folder / "logs").mkdir(exist_ok=True)
    (folder / "logs" / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", Cause.NONE),
        (_REFUSED, Cause.LOGIN_NOT_VALIDATED),
        (_REFUSED + "2026-11-22T23:04:41.432Z ERROR GatewayHttpProxy : giving up ...\n", Cause.GAVE_UP),
        (_REFUSED + "23:04:41.432 ERROR vert.x GatewayHttpProxy : giving up ...\n", Cause.GAVE_UP),
        (_REFUSED + "2026-11-22T23:05:00.000Z INFO  GatewayHttpProxy : authenticated to cp\n", Cause.NONE),
        (
            "2026-11-22T23:05:00.000Z WARN  ClientPortalService : Reauthentication failed 5 times, stopping\n",
            Cause.REAUTHENTICATION_STOPPED,
        ),
        (_REFUSED + "java.net.ConnectException: Connection refused\n", Cause.UPSTREAM_UNREACHABLE),
        (_REFUSED + "java.io.IOException: Connection reset by peer\n", Cause.UPSTREAM_UNREACHABLE),
        (_REFUSED + "java.net.SocketException: Connection reset\n", Cause.UPSTREAM_UNREACHABLE),
        (_REFUSED + "io.vertx.core.VertxException: Connection was closed\n", Cause.UPSTREAM_UNREACHABLE),
        (_ILL, Cause.UPSTREAM_ILL),
        (_ILL + _GIVES_UP, Cause.UPSTREAM_ILL),
        (_ILL.replace("503", "429") + _GIVES_UP, Cause.UPSTREAM_ILL),
        (_REFUSED + _ILL + _GIVES_UP, Cause.UPSTREAM_ILL),
        (_ILL + _REFUSED + _GIVES_UP, Cause.GAVE_UP),
        (_ILL.replace("503", "Connection refused: /192.0.2.1:443") + _GIVES_UP, Cause.UPSTREAM_UNREACHABLE),
        (_REFUSED + _GIVES_UP + "io.vertx.core.impl.NoStackTraceThrowable: 503\n", Cause.GAVE_UP),
        ("\x00\xff\n" * 10, Cause.NONE),
    ],
)
def test_the_latest_trouble_is_named(tmp_path: Path, text: str, cause: Cause) -> None:
    """Each line that the jar logs has its cause, and a success clears earlier causes."""
    assert read_cause(_logs(tmp_path, text)) is cause


def test_what_is_older_than_asked_does_not_count(tmp_path: Path) -> None:
    """The trouble of an earlier login is not taken for this one's, whichever zone the log was written in."""
    _logs(tmp_path, _REFUSED.replace("Z ", "+02:00 "))
    assert read_cause(tmp_path, since_s=1795381500.0) is Cause.NONE
    assert read_cause(tmp_path, since_s=1795381400.0) is Cause.LOGIN_NOT_VALIDATED


def test_reading_is_bounded_and_missing_logs_are_no_cause(tmp_path: Path) -> None:
    """A huge log costs no more than its tail; a missing log is no error."""
    assert read_cause(tmp_path) is Cause.NONE
    _logs(tmp_path, _REFUSED + "x" * 300_000 + "\n")
    assert read_cause(tmp_path) is Cause.NONE


def test_no_text_holds_a_line_of_the_log(tmp_path: Path) -> None:
    """A person reads only our own words (law 8)."""
    assert all(cause.text and "Access Denied" not in cause.text for cause in Cause)
