"""Chromium's network errors are sorted by who is at fault."""

from __future__ import annotations

import pytest

from gwctl.core.messages import LoginResult
from gwctl.login.browser_reports import Fault, ended_by, fault_of
from gwctl.login.outcome import LoginOutcome
from gwctl.login_ledger.outcome_policy import MEANINGS

OF_EACH = {
    Fault.IBKR: "HTTP_RESPONSE_CODE_FAILURE INVALID_RESPONSE INVALID_HTTP_RESPONSE TOO_MANY_REDIRECTS INVALID_REDIRECT "
    "UNSAFE_REDIRECT CONTENT_LENGTH_MISMATCH CONTENT_DECODING_FAILED CONTENT_DECODING_INIT_FAILED "
    "INCOMPLETE_CHUNKED_ENCODING INVALID_CHUNKED_ENCODING RESPONSE_HEADERS_TOO_BIG RESPONSE_HEADERS_TRUNCATED "
    "RESPONSE_HEADERS_MULTIPLE_LOCATION HTTP2_PROTOCOL_ERROR HTTP2_PING_FAILED HTTP2_SERVER_REFUSED_STREAM "
    "HTTP_1_1_REQUIRED INCOMPLETE_HTTP2_HEADERS TOO_MANY_RETRIES ABORTED FAILED BLOCKED_BY_RESPONSE BLOCKED_BY_CSP "
    "UNKNOWN_URL_SCHEME DISALLOWED_URL_SCHEME INVALID_AUTH_CREDENTIALS MISSING_AUTH_CREDENTIALS "
    "UNSUPPORTED_AUTH_SCHEME QUIC_PROTOCOL_ERROR ENCODING_CONVERSION_FAILED",
    Fault.GATEWAY: "CONNECTION_REFUSED CONNECTION_RESET CONNECTION_CLOSED CONNECTION_ABORTED CONNECTION_FAILED "
    "CONNECTION_TIMED_OUT TIMED_OUT EMPTY_RESPONSE SOCKET_NOT_CONNECTED",
    Fault.NETWORK: "INTERNET_DISCONNECTED NETWORK_CHANGED NETWORK_ACCESS_DENIED NETWORK_IO_SUSPENDED "
    "ADDRESS_UNREACHABLE ADDRESS_INVALID",
    Fault.NAME: "NAME_NOT_RESOLVED NAME_RESOLUTION_FAILED ICANN_NAME_COLLISION DNS_TIMED_OUT DNS_SERVER_FAILED "
    "DNS_MALFORMED_RESPONSE HOST_RESOLVER_QUEUE_TOO_LARGE",
    Fault.PROXY: "PROXY_CONNECTION_FAILED TUNNEL_CONNECTION_FAILED PROXY_AUTH_REQUESTED PROXY_AUTH_UNSUPPORTED "
    "SOCKS_CONNECTION_FAILED SOCKS_CONNECTION_HOST_UNREACHABLE MANDATORY_PROXY_CONFIGURATION_FAILED PAC_SCRIPT_FAILED "
    "NO_SUPPORTED_PROXIES UNEXPECTED_PROXY_AUTH PROXY_CERTIFICATE_INVALID PROXY_HTTP_1_1_REQUIRED",
    Fault.CERTIFICATE: "CERT_AUTHORITY_INVALID CERT_COMMON_NAME_INVALID CERT_DATE_INVALID CERT_INVALID CERT_REVOKED "
    "CERT_WEAK_KEY SSL_PROTOCOL_ERROR SSL_VERSION_OR_CIPHER_MISMATCH SSL_PINNED_KEY_NOT_IN_CERT_CHAIN "
    "SSL_CLIENT_AUTH_CERT_NEEDED BAD_SSL_CLIENT_AUTH_CERT CERTIFICATE_TRANSPARENCY_REQUIRED SSL_SERVER_CERT_BAD_FORMAT "
    "TLS13_DOWNGRADE_DETECTED ECH_NOT_NEGOTIATED CERT_KNOWN_INTERCEPTION_BLOCKED",
    Fault.PORT: "UNSAFE_PORT",
    Fault.BROWSER: "INSUFFICIENT_RESOURCES OUT_OF_MEMORY FILE_NO_SPACE BLOCKED_BY_CLIENT BLOCKED_BY_ADMINISTRATOR "
    "ACCESS_DENIED UNEXPECTED CONTEXT_SHUT_DOWN CACHE_READ_FAILURE",
}
ALL = [(name, fault) for fault, names in OF_EACH.items() for name in names.split()]


@pytest.mark.parametrize(("name", "fault"), ALL)
def test_each_error_is_somebodys(name: str, fault: Fault) -> None:
    """The error's name says who is at fault."""
    assert fault_of(f"net::ERR_{name} at https://localhost:5000/") is fault


@pytest.mark.parametrize(("name", "fault"), ALL)
def test_only_a_browsers_own_fault_calls_for_another_browser(name: str, fault: Fault) -> None:
    """A fault of IBKR, a network or a port never ends as `browser_missing`; the error's name is kept."""
    ended = ended_by(f"net::ERR_{name} at https://localhost:5000/")
    assert (MEANINGS[ended.outcome].code == "browser_missing") is (fault is Fault.BROWSER)
    assert f"net::ERR_{name}" in ended.text
    if fault in {Fault.IBKR, Fault.NETWORK, Fault.NAME, Fault.PROXY}:
        assert MEANINGS[ended.outcome].result is LoginResult.IBKR_ILL


def test_the_status_of_an_answer_without_a_page_is_told() -> None:
    """The text has the status of an answer without a body, but not of a good one."""
    said = "net::ERR_HTTP_RESPONSE_CODE_FAILURE at https://localhost:5000/"
    assert ended_by(said, 503).text == f"IBKR answered 503 without a page: {said}"
    assert ended_by(said, 200).text == f"IBKR answered without a page: {said}"


def test_what_is_no_network_error_is_the_browsers() -> None:
    """A closed browser is the browser's fault."""
    assert ended_by("Target page, context or browser has been closed").outcome is LoginOutcome.BROWSER_FAILED
