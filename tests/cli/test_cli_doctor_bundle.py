"""Secrets and personal data, planted everywhere the bundle could take them from, are not in it."""

from __future__ import annotations

import base64
import json
import secrets
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from canaries import Canaries
from doctor_rig import PASSWORD, Machine, a_sound_machine
from release_fakes import release_zip

from gwctl.doctor import CHECKS, bundle
from gwctl.doctor.case import examine
from gwctl.gateway import keystore

TOTP_SECRET = "GEZDGNBVGY3TQOJQHERONHERONHERON2"
PLANTED = Canaries(
    {
        "username": "magpieuser7",
        "other username": "heronuser9",
        "password in a file": PASSWORD,
        "password in a variable": 'Tern"Cliff\\4417',
        "password of a command": "Plover-Marsh-8830",
        "argument of a command": "--account=warblerfund",
        "TOTP secret": TOTP_SECRET,
        "supervisor's token": secrets.token_urlsafe(24),
        "stand-in's token": secrets.token_urlsafe(24),
        "device": "Phone of Wren",
        "webhook": "https://hooks.example/T0AAAA/" + secrets.token_hex(12),
        "place to tell": "tgram://" + secrets.token_hex(10) + "/77123456",
        "certificate name": "curlew-desk.example",
        "upstream": "gateway.kestrel-capital.example",
    }
)
"""Secrets known to gwctl: the bundle must not contain any spelling of them."""
UNKNOWN = Canaries(
    {
        "cookie": secrets.token_hex(16),
        "session": "9fe1c272dc44e023a3aefe52b71d42bd",
        "code": "73529146",
        "e-mail": "wren.osprey@kestrel.example",
        "paper account": "DU5550123",
        "live account": "U7770456",
        "address": "192.168.77.31",
        "hardware": "F4:03:43:DC:B4:60",
        "another user": "ospreyadmin",
        "proxy password": "Dunlin5512",
    }
)
"""Data that gwctl cannot know in advance: recognized by its form."""


def spellings(secret: str) -> list[str]:
    """Return the spellings in which programs may have written the secret."""
    plain = secret.encode()
    in_base64 = [base64.b64encode(f"{before}{secret} tail".encode()).decode() for before in ("", "a", "ab")]
    return [
        *(secret, secret.swapcase(), quote(secret, safe=""), json.dumps(secret), repr(secret), plain.hex()),
        *(in_base64[0], in_base64[1], in_base64[2], "".join(f"%{byte:02X}" for byte in plain)),
    ]


def lines() -> list[str]:
    """Return log lines that contain everything the bundle must not."""
    known = [f"2026-01-01 00:00:00,000 INFO x {form} y" for one in PLANTED.secrets.values() for form in spellings(one)]
    unknown = UNKNOWN.secrets
    return [
        *known,
        f"GET https://u:{unknown['proxy password']}@proxy.example/x?y",
        f"Cookie: XYZAB={unknown['cookie']}; other=1",
        f"set-cookie: XYZAB={unknown['cookie']}",
        f'the gateway said {unknown["cookie"]} and "session":"{unknown["session"]}"',
        f"code {unknown['code']} for {unknown['e-mail']} of {unknown['paper account']} and {unknown['live account']}",
        f"from {unknown['address']} ({unknown['hardware']}), nginx (pid 7, user {unknown['another user']} in /x)",
        f"/home/{unknown['another user']}/x proxy_password={unknown['proxy password']}",
    ]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with a_sound_machine(tmp_path, release_zip()) as sound:
        plant(sound)
        yield sound


def plant(machine: Machine) -> None:
    """Plant everything wherever gwctl stores or receives something."""
    known = PLANTED.secrets
    paths, text = machine.paths, "\n".join(lines())
    (machine.folder / "command").write_text(known["password of a command"] + "\n")
    (machine.folder / "urls").write_text(f"json://localhost/x\n{known['place to tell']}\n")
    (machine.folder / "urls").chmod(0o600)
    machine.write_config(
        "[defaults]\nmaintenance = []\n"
        f'password_command = ["sh", "-c", "cat {machine.folder}/command", "{known["argument of a command"]}"]\n'
        f'second_factor_device = "{known["device"]}"\n'
        f'java_options = "-Xmx128m -Dkey={UNKNOWN.secrets["cookie"]}"\n'
        f'certificate_names = ["{known["certificate name"]}"]\n'
        f'allow_ips = ["127.0.0.1", "{UNKNOWN.secrets["address"]}"]\n'
        f'[profiles.other]\nusername = "{known["other username"]}"\n'
    )
    machine.variables |= {
        "GWCTL_UPSTREAM": f"https://{known['upstream']}:{machine.ibkr.port}",
        "GWCTL_PASSWORD": known["password in a variable"],
        "GWCTL_TOTP_SECRET": known["TOTP secret"],
        "GWCTL_NOTIFY_WEBHOOK": known["webhook"],
        "GWCTL_NOTIFY_URLS_FILE": str(machine.folder / "urls"),
    }
    for log in (paths.supervisor_log, paths.logs_dir / "start.log", paths.gateway_log):
        machine.write_state(log, text + "\n")
    machine.write_state(paths.supervisor_log, _cut_in_the_middle(text))
    entries = [{"at": "2026-01-01T00:00:00.000Z", "kind": "warning", "text": line, line: [line]} for line in lines()]
    journal = "".join(json.dumps(one) + "\n" for one in [*entries, {"at": "2026-01-02", "kind": "end", "user_id": 5}])
    machine.write_state(paths.journal_file, journal + text + '\n{"torn')
    machine.write_state(paths.gateway_dir / "logs" / "gw.2026-01-01.log", text)
    end = {"exit_code": 77, "code": "x", "text": text[:3000], "hint": lines()[0], "at_s": 1.0}
    machine.write_state(paths.last_end_file, end)
    machine.write_state(paths.sandbox_state_file, {"admin_token": known["stand-in's token"]})
    ledger: dict[str, Any] = {
        "salt": "00" * 16,
        "submits": [],
        "worked_print": None,
        "refused_print": None,
        "block": None,
    }
    machine.write_state(paths.ledger_file, {**ledger, "locked_reason": lines()[1]})
    evidence = paths.evidence_dir / "20260101T000000Z-1-refused"
    steps = {"outcome": "refused", "at": "2026-01-01T00:00:00Z", "text": text[:3000], "steps": [[lines()[2], 1]]}
    machine.write_state(evidence / "steps.json", steps)
    for folder in (paths.evidence_dir, evidence, paths.gateway_dir / "logs"):
        folder.chmod(0o700)


def _cut_in_the_middle(text: str) -> str:
    """Return a log whose last 256 KB begin inside a secret."""
    half = len(PASSWORD) // 2
    rest = "\n" + text + "\n"
    padding = bundle.TAIL_BYTES - half - len(rest.encode())
    return "begin " + PASSWORD + rest.replace("\n", "\n" + "z" * padding + "\n", 1)[:-1]


def members_of(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_nothing_that_is_planted_is_in_the_bundle(machine: Machine) -> None:
    """No secret in any spelling and no personal data from logs, journal, state or settings is in the zip."""
    status = {"phase": "locked_out", "ready": False, "reason": lines()[3]}
    with machine.supervised(status=status, token=PLANTED.secrets["supervisor's token"]):
        done = machine.gwctl("doctor", "--bundle", "report.zip", "--json")
    assert done.exit_code == 1, done
    members = members_of(machine.folder / "report.zip")
    keystore_password = keystore.password_file(machine.paths).read_text()
    planted = PLANTED.and_also(**UNKNOWN.secrets, **{"keystore's password": keystore_password})
    found = [f"{one} in {name}" for name, content in members.items() for one in planted.in_bytes(content)]
    assert found == []
    halves = [PASSWORD[: len(PASSWORD) // 2], PASSWORD[len(PASSWORD) // 2 :]]
    assert not [name for name, content in members.items() for half in halves if half.encode() in content]
    assert not [name for name, content in members.items() if str(machine.folder).encode() in content]
    # The files that could contain them are there.
    assert set(members) == set(bundle.CONTENTS)
    assert members["supervisor.log"].count("•••".encode()) > 50
    assert members["journal.jsonl"].count(b'"kind": "warning"') == len(lines())
    assert json.loads(members["status.json"])["phase"] == "locked_out"
    assert "•••" in json.loads(members["last.json"])["failed_login"]["text"]
    assert json.loads(members["settings.json"])["username"] == {"value": "(set)", "source": "$GWCTL_USERNAME"}
    assert json.loads(members["settings.json"])["password_command"]["value"] == ["sh", "(3 arguments)"]


def test_a_bundle_that_would_hold_a_secret_is_not_written(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """If redaction missed a known secret, gwctl would write no bundle."""
    from gwctl.doctor.redaction import Redactor
    from gwctl.errors import GwctlError

    monkeypatch.setattr(Redactor, "text", lambda _self, text: text)
    file, case = machine.folder / "report.zip", machine.case()
    findings = examine(case, CHECKS)
    with pytest.raises(GwctlError, match=r"supervisor\.log.* would contain a secret; nothing was written"):
        bundle.write_bundle(file, case, findings)
    assert not file.exists()
