"""Our authority and the gateway's certificate, verified by the standard library over a real socket."""

import base64
import concurrent.futures
import contextlib
import datetime as dt
import hashlib
import ipaddress
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12

from gwctl.gateway.ca_bundle import write_bundle
from gwctl.gateway.keystore import Leaf, ensure_ca, ensure_leaf, kept_leaf
from gwctl.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths.for_profile("one", tmp_path)


def _opened(leaf: Leaf) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key, certificate, _ = pkcs12.load_key_and_certificates(leaf.keystore_file.read_bytes(), leaf.password.encode())
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert certificate is not None
    return key, certificate


def _handshake(key_and_chain: Path, context: ssl.SSLContext, name: str) -> bytes | None:
    """Serve one TLS connection with ``key_and_chain`` and return the certificate the client accepted."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(key_and_chain)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError), listener.accept()[0] as raw:
            server.wrap_socket(raw, server_side=True).close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with (
            socket.create_connection(listener.getsockname(), 10) as raw,
            context.wrap_socket(raw, server_hostname=name) as wrapped,
        ):
            return wrapped.getpeercert(binary_form=True)
    finally:
        thread.join(10)
        listener.close()


def _pem(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, target: Path) -> Path:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    target.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return target


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_a_client_that_trusts_our_authority_accepts_the_leaf(paths: Paths, tmp_path: Path, name: str) -> None:
    """The leaf is valid for each name of this machine, under strict verification."""
    leaf = ensure_leaf(paths)
    context = ssl.create_default_context(cafile=paths.ca_file)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    assert _handshake(_pem(*_opened(leaf), tmp_path / "pair.pem"), context, name) == leaf.der


@pytest.mark.parametrize("name", ["bank.example", "10.0.0.1"])
def test_our_authority_cannot_vouch_for_others(paths: Paths, tmp_path: Path, name: str) -> None:
    """A certificate for another host is refused, even if signed with our authority's stolen key (name constraints)."""
    authority = ensure_ca(paths.ca_dir)
    ca_key = serialization.load_pem_private_key(authority.key_file.read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    ca = x509.load_pem_x509_certificate(authority.ca_file.read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    try:
        alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        alternative = x509.DNSName(name)
    now = dt.datetime.now(dt.UTC)
    forged = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree"):
        _handshake(_pem(key, forged, tmp_path / "f.pem"), ssl.create_default_context(cafile=paths.ca_file), name)


def test_the_pin_is_the_digest_of_the_key_and_files_are_private(paths: Paths) -> None:
    """The pin has the form of Chromium's switch; private keys are 0600; a leaf lives 397 days at most."""
    leaf = ensure_leaf(paths)
    key, certificate = _opened(leaf)
    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert leaf.spki_pin_base64 == base64.b64encode(hashlib.sha256(spki).digest()).decode()
    for private in (leaf.keystore_file, paths.ca_dir / "ca.key", paths.profile_dir / "keystore.password"):
        assert private.stat().st_mode & 0o777 == 0o600
    assert paths.ca_dir.stat().st_mode & 0o777 == 0o700
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc <= dt.timedelta(days=397)
    assert leaf.password not in repr(leaf)
    assert leaf.password not in (paths.profile_dir / "leaf.json").read_text()


def test_again_it_changes_nothing_and_loads_no_cryptography(paths: Paths) -> None:
    """A restart finds the leaf unchanged, without loading the library that created it."""
    first = ensure_leaf(paths)
    program = (
        "import sys; from pathlib import Path; from gwctl.paths import Paths; from gwctl.gateway.keystore import *\n"
        "leaf = ensure_leaf(Paths.for_profile('one', Path(sys.argv[1])))\n"
        "assert not {'cryptography', 'filelock', 'yaml'} & set(sys.modules)\nprint(leaf.spki_pin_base64)"
    )
    said = subprocess.run(
        [sys.executable, "-c", program, str(paths.config_dir)], capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout.strip() == first.spki_pin_base64


@pytest.mark.parametrize(
    "name", ["one/gateway/root/gwctl.p12", "one/leaf.pem", "one/leaf.json", "one/keystore.password"]
)
@pytest.mark.parametrize("damage", [b"", b"garbage"])
def test_a_damaged_leaf_is_made_anew(paths: Paths, name: str, damage: bytes) -> None:
    """If any file of the leaf is damaged, the next start has a complete one that its password opens."""
    first = ensure_leaf(paths)
    (paths.profiles_dir / name).write_bytes(damage)
    second = ensure_leaf(paths)
    assert second.spki_pin_base64 != first.spki_pin_base64
    _opened(second)


@pytest.mark.parametrize("name", ["ca.pem", "ca.key"])
def test_a_damaged_authority_is_set_aside_and_its_leaves_follow(paths: Paths, name: str) -> None:
    """The damaged file is kept for inspection, and a new authority signs a new leaf."""
    first = ensure_leaf(paths)
    (paths.ca_dir / name).write_bytes(b"garbage")
    second = ensure_leaf(paths)
    assert second.spki_pin_base64 != first.spki_pin_base64
    assert list(paths.ca_dir.glob(f"{name}.damaged-*"))


def _age(facts_file: Path, days_left: int) -> None:
    facts = json.loads(facts_file.read_text())
    facts["not_after_s"] = int(dt.datetime.now(dt.UTC).timestamp()) + days_left * 86_400
    facts_file.write_text(json.dumps(facts))


def test_a_leaf_is_renewed_in_its_last_30_days(paths: Paths) -> None:
    """With 31 days left it stays, with 29 it is renewed."""
    first = ensure_leaf(paths)
    facts_file = paths.profile_dir / "leaf.json"
    _age(facts_file, 31)
    assert ensure_leaf(paths).leaf_pem == first.leaf_pem
    _age(facts_file, 29)
    assert ensure_leaf(paths).leaf_pem != first.leaf_pem


def test_a_renewed_authority_still_vouches_for_what_it_signed(paths: Paths, tmp_path: Path) -> None:
    """An authority near its end is renewed with its key: clients still trust a running gateway."""
    leaf = ensure_leaf(paths)
    old = paths.ca_file.read_bytes()
    pair = _pem(*_opened(leaf), tmp_path / "pair.pem")
    _age(paths.ca_dir / "ca.json", 399)
    ensure_ca(paths.ca_dir)
    assert paths.ca_file.read_bytes() != old
    assert _handshake(pair, ssl.create_default_context(cafile=paths.ca_file), "localhost") == leaf.der


def test_profiles_that_start_together_share_one_authority(tmp_path: Path) -> None:
    """Concurrent first starts make one authority, and every leaf is signed by it."""
    profiles = [Paths.for_profile(f"p{number}", tmp_path) for number in range(4)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        leaves = list(pool.map(ensure_leaf, profiles))
    ca = x509.load_pem_x509_certificate(profiles[0].ca_file.read_bytes())
    for leaf in leaves:
        x509.load_pem_x509_certificate(leaf.leaf_pem.encode()).verify_directly_issued_by(ca)
    assert not list(profiles[0].ca_dir.glob("*.damaged-*"))


def test_the_bundle_holds_the_public_roots_and_ours(paths: Paths) -> None:
    """A child with the bundle verifies public hosts and our gateway; a second call leaves the file unchanged."""
    bundle_file = write_bundle(paths.ca_dir)
    assert bundle_file == paths.ca_bundle_file
    context = ssl.create_default_context(cafile=bundle_file)
    assert len(context.get_ca_certs()) > 50
    assert ssl.PEM_cert_to_DER_cert(paths.ca_file.read_text()) in context.get_ca_certs(binary_form=True)
    inode = bundle_file.stat().st_ino
    write_bundle(paths.ca_dir)
    assert bundle_file.stat().st_ino == inode


def _authority(file: Path) -> bytes:
    """Write a company's authority to a file; return it in DER."""
    folder = file.with_suffix("")
    pem = ensure_ca(folder).ca_file.read_text()
    file.write_text(pem)
    return ssl.PEM_cert_to_DER_cert(pem)


def test_the_bundle_keeps_what_the_environment_trusts(paths: Paths, tmp_path: Path) -> None:
    """A company's authority stays trusted, also for a later caller whose environment names the bundle itself."""
    company = tmp_path / "company.pem"
    der = _authority(company)
    useless = tmp_path / "useless.pem"
    useless.write_text("no certificate")
    trusted = [company, company, useless, tmp_path / "missing.pem"]
    bundle_file = write_bundle(paths.ca_dir, trusted=trusted)
    for later in ([], [bundle_file], [bundle_file, company], trusted):
        write_bundle(paths.ca_dir, trusted=later)
        known = ssl.create_default_context(cafile=bundle_file).get_ca_certs(binary_form=True)
        assert der in known
        assert ssl.PEM_cert_to_DER_cert(paths.ca_file.read_text()) in known
        assert len(known) > 50
    assert bundle_file.read_text().count("BEGIN CERTIFICATE") == len(known)


NAMES = ("gwctl.example.internal", "10.1.2.3", "fd00::7")


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", *NAMES])
def test_the_names_of_a_profile_are_believed_and_no_others(paths: Paths, tmp_path: Path, name: str) -> None:
    """The leaf is valid for the requested names and for localhost; the authority may sign for no others."""
    leaf = ensure_leaf(paths, NAMES)
    pair = _pem(*_opened(leaf), tmp_path / "pair.pem")
    context = ssl.create_default_context(cafile=paths.ca_file)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    assert _handshake(pair, context, name) == leaf.der
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        _handshake(pair, context, "other.example.internal")
    authority = ensure_ca(paths.ca_dir)
    ca = x509.load_pem_x509_certificate(authority.ca_file.read_bytes())
    permitted = ca.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees
    assert permitted is not None
    assert {str(one.value) for one in permitted} == {
        *("localhost", "127.0.0.0/8", "::1/128"),
        *("gwctl.example.internal", "10.1.2.3/32", "fd00::7/128"),
    }


def test_names_change_the_leaf_once_and_only_for_whoever_asks(paths: Paths) -> None:
    """The same names keep the leaf; other names make another; looking at the served one changes nothing (law 4)."""
    plain = ensure_leaf(paths)
    named = ensure_leaf(paths, NAMES)
    assert named.leaf_pem != plain.leaf_pem
    assert ensure_leaf(paths, NAMES) == named
    assert kept_leaf(paths) == named
    assert ensure_leaf(paths, ()).leaf_pem != named.leaf_pem


def test_names_of_one_profile_leave_anothers_running_gateway_alone(tmp_path: Path) -> None:
    """The authority gets more names with the same key: another profile's leaf stays, and its clients trust it.

    That gateway's chain still contains the authority's earlier certificate.
    """
    one, other = Paths.for_profile("one", tmp_path), Paths.for_profile("other", tmp_path)
    leaf = ensure_leaf(other)
    key, certificate, chain = pkcs12.load_key_and_certificates(leaf.keystore_file.read_bytes(), leaf.password.encode())
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert certificate is not None
    pair = _pem(key, certificate, tmp_path / "pair.pem")
    pair.write_bytes(pair.read_bytes() + b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain))
    before = other.ca_file.read_bytes()
    for names in (NAMES[:1], NAMES):
        ensure_leaf(one, names)
        assert other.ca_file.read_bytes() != before
        assert ensure_leaf(other) == leaf
        assert _handshake(pair, ssl.create_default_context(cafile=other.ca_file), "localhost") == leaf.der


def test_an_authority_that_is_widened_again_forgets_no_name(paths: Paths, tmp_path: Path) -> None:
    """Names permitted for one profile stay permitted when another asks, and on a renewal."""
    ensure_ca(paths.ca_dir, NAMES[:1])
    ensure_ca(paths.ca_dir, NAMES[1:])
    _age(paths.ca_dir / "ca.json", 399)
    content = ensure_ca(paths.ca_dir).ca_file.read_bytes()
    leaf = ensure_leaf(paths, NAMES)
    assert paths.ca_file.read_bytes() == content
    context = ssl.create_default_context(cafile=paths.ca_file)
    assert _handshake(_pem(*_opened(leaf), tmp_path / "pair.pem"), context, NAMES[0]) == leaf.der


@pytest.mark.law(4)
def test_the_files_of_earlier_versions_stay_good(paths: Paths, tmp_path: Path) -> None:
    """After an update a running gateway is still recognized (law 4), and its clients trust it after the next start."""
    leaf = ensure_leaf(paths)
    pair = _pem(*_opened(leaf), tmp_path / "pair.pem")
    for facts_file in (paths.ca_dir / "ca.json", paths.profile_dir / "leaf.json"):
        facts = json.loads(facts_file.read_text())
        facts_file.write_text(json.dumps({**facts, "sha256": "0" * 64, "formerly": []}))
    assert kept_leaf(paths) == leaf
    ensure_leaf(paths)
    assert _handshake(pair, ssl.create_default_context(cafile=paths.ca_file), "localhost") == leaf.der


def test_the_leaf_of_a_running_gateway_is_found_whatever_its_age(paths: Paths) -> None:
    """In its last 30 days, and later, a running gateway is recognized by its certificate: it is not renewed."""
    assert kept_leaf(paths) is None
    leaf = ensure_leaf(paths)
    for days_left in (29, -1):
        _age(paths.profile_dir / "leaf.json", days_left)
        kept = kept_leaf(paths)
        assert kept is not None
        assert (kept.leaf_pem, paths.leaf_file.read_text()) == (leaf.leaf_pem, leaf.leaf_pem)
    _age(paths.ca_dir / "ca.json", 399)
    ensure_ca(paths.ca_dir)
    assert kept_leaf(paths) is not None
    paths.keystore_file.write_bytes(b"garbage")
    assert kept_leaf(paths) == kept
    for file in (paths.leaf_file, paths.profile_dir / "leaf.json"):
        content = file.read_bytes()
        for damage in (b"", b"garbage", b"{}"):
            file.write_bytes(damage)
            assert kept_leaf(paths) is None
        file.write_bytes(content)


def test_what_was_made_while_the_clock_was_ahead_is_made_again(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leaf and an authority that are not valid yet are recreated; the authority keeps its key."""
    ahead = time.time() + 40 * 86_400
    with monkeypatch.context() as clock:
        clock.setattr("gwctl.gateway.keystore.time.time", lambda: ahead)
        early = ensure_leaf(paths)
        assert ensure_leaf(paths) == early
    key = (paths.ca_dir / "ca.key").read_bytes()
    leaf = ensure_leaf(paths)
    assert leaf.leaf_pem != early.leaf_pem
    assert (paths.ca_dir / "ca.key").read_bytes() == key
    context = ssl.create_default_context(cafile=paths.ca_file)
    assert _handshake(_pem(*_opened(leaf), tmp_path / "pair.pem"), context, "localhost") == leaf.der
    assert ensure_leaf(paths) == leaf
