"""Ledgers with cheap fingerprints, for tests of which of them are compared."""

from __future__ import annotations

import hashlib

import pytest

from gwctl.credentials import Secret
from gwctl.login_ledger import ledger as ledger_module


def quick_print(secret: Secret, salt_hex: str) -> str:
    """Return what stands in for scrypt."""
    return hashlib.sha256(f"{salt_hex}{secret.reveal()}".encode()).hexdigest()


@pytest.fixture
def quick_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make scrypt cheap."""
    monkeypatch.setattr(ledger_module, "fingerprint", quick_print)
