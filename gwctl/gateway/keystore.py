"""Our own certificate authority, one per machine, and the gateway's certificate, one per profile.

The authority may sign only for localhost, 127.0.0.0/8 and ::1 (name constraints), so a stolen key is worth little, and
for names that a profile lists explicitly. ``cryptography`` is loaded only to create files: existing ones are recognized
by their digests.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import hashlib
import ipaddress
import secrets
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from gwctl import state_file
from gwctl.errors import DiskTrouble
from gwctl.ownership import read_ours
from gwctl.paths import Paths
from gwctl.setting_values import address_of
from gwctl.state_file import locked
from gwctl.times import DAY_S

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

_CA_LIFE_DAYS = 3650
_CA_RENEW_DAYS = 400
_LEAF_LIFE_DAYS = 397
_LEAF_RENEW_DAYS = 30
_FRIENDLY_NAME = b"gateway"


class Authority(Struct, frozen=True):
    """The location of the machine's certificate authority."""

    ca_file: Path
    key_file: Path


@dataclass(frozen=True, slots=True)
class Leaf:
    """The gateway's certificate: its keystore, and the facts to recognize it by."""

    keystore_file: Path
    password: str = field(repr=False)
    spki_pin_base64: str
    not_after: dt.datetime
    leaf_pem: str

    @property
    def der(self) -> bytes:
        """The certificate as DER, as in a handshake."""
        return ssl.PEM_cert_to_DER_cert(self.leaf_pem)


def ensure_ca(ca_dir: Path, names: Iterable[str] = ()) -> Authority:
    """Ensure a valid authority in ``ca_dir`` (0700; the key 0600) that may sign for ``names``, and return it.

    A damaged one is set aside and replaced. One that expires within 400 days, is not valid yet, or may not sign for a
    name yet is renewed with the same key, so that its signatures stay valid. Raises DiskTrouble.
    """
    authority = Authority(ca_dir / "ca.pem", ca_dir / "ca.key")
    facts_file = ca_dir / "ca.json"
    files = (authority.ca_file, authority.key_file)
    wanted = set(names)

    def is_wanted() -> bool:
        return _is_sound(facts_file, files, _CA_RENEW_DAYS, _CA_LIFE_DAYS) and wanted <= set(_names_in(facts_file))

    _make_unless(is_wanted, lambda: _make_or_renew_ca(authority, facts_file, wanted), ca_dir / ".lock")
    return authority


def ensure_leaf(paths: Paths, names: Sequence[str] = ()) -> Leaf:
    """Ensure a keystore for localhost and ``names``, signed by our authority, valid for 30 days more, and return it.

    It is for a gateway that is about to start: a running one is known by its current certificate (``kept_leaf``). A
    second call changes nothing; if a file is damaged or not valid yet, all are replaced. Raises DiskTrouble.
    """
    authority = ensure_ca(paths.ca_dir, names)
    facts_file = leaf_facts_file(paths)
    files = (paths.leaf_file, paths.leaf_key_file, paths.keystore_file, password_file(paths), authority.key_file)

    def is_wanted() -> bool:
        sound = _is_sound(facts_file, files, _LEAF_RENEW_DAYS, _LEAF_LIFE_DAYS)
        return sound and set(names) == set(certified_names(paths))

    _make_unless(is_wanted, lambda: _make_leaf(paths, authority, files, names), paths.profile_dir / ".leaf.lock")
    leaf = kept_leaf(paths)
    if leaf is None:
        raise DiskTrouble(f"the certificate in {paths.profile_dir} was removed in the meantime", hint="try again")
    return leaf


def _make_unless(is_wanted: Callable[[], bool], make: Callable[[], None], lock: Path) -> None:
    if not is_wanted():
        with locked(lock):
            if not is_wanted():
                make()


def kept_leaf(paths: Paths) -> Leaf | None:
    """Return the certificate that a running gateway started with, of any age; None if it cannot be read.

    It creates and renews nothing: that would make a running gateway look like a stranger (law 4). Raises DiskTrouble.
    """
    facts, _ = state_file.read_json(leaf_facts_file(paths))
    pem, password = _read(paths.leaf_file), _read(password_file(paths))
    match facts:
        case {"spki_pin_base64": str(pin), "not_after_s": int(not_after_s)} if pem and password:
            with contextlib.suppress(
                ValueError, OverflowError, OSError
            ):  # no such time; ssl's for a text that is no PEM
                leaf = Leaf(
                    keystore_file=paths.keystore_file,
                    password=password.decode(errors="replace"),
                    spki_pin_base64=pin,
                    not_after=dt.datetime.fromtimestamp(not_after_s, dt.UTC),
                    leaf_pem=pem.decode(errors="replace"),
                )
                return leaf if leaf.der else None
    return None


def leaf_facts_file(paths: Paths) -> Path:
    """Return the file that records the certificate's facts."""
    return paths.leaf_file.with_suffix(".json")


def certified_names(paths: Paths) -> tuple[str, ...]:
    """Return the names that the certificate carries in addition to localhost; reads only."""
    return _names_in(leaf_facts_file(paths))


def password_file(paths: Paths) -> Path:
    """Return the path of the keystore's password file."""
    return paths.leaf_file.with_name("keystore.password")


def _read(path: Path) -> bytes | None:
    try:
        return read_ours(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DiskTrouble(f"cannot read {path}: {error.strerror}", hint=f"check the owner of {path}") from error


def _digest(files: Iterable[Path]) -> str | None:
    """Return one digest of all ``files``; None if one is missing."""
    contents = [_read(file) for file in files]
    if None in contents:
        return None
    return hashlib.sha256(b"".join(content or b"" for content in contents)).hexdigest()


def _is_sound(facts_file: Path, files: Iterable[Path], days_left: int, life_days: int) -> bool:
    """Say whether the facts were written for these files, for a certificate that expires late enough.

    One that lasts longer than any was not valid yet when it was made: the clock was ahead then.
    """
    facts, _ = state_file.read_json(facts_file)
    match facts:
        case {"sha256": str(digest), "not_after_s": int(not_after_s)} if digest == _digest(files):
            return days_left * DAY_S < not_after_s - time.time() <= life_days * DAY_S
    return False


def _names_in(facts_file: Path) -> tuple[str, ...]:
    """Return the names in the facts, none without such a list; reads only."""
    facts, _ = state_file.look_at_json(facts_file)
    names = (facts or {}).get("names")
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()


def _make_or_renew_ca(authority: Authority, facts_file: Path, names: Iterable[str]) -> None:
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    files = (authority.ca_file, authority.key_file)
    key = _load_ca_key(authority)
    if key is None:
        for damaged in files:
            if damaged.exists():
                state_file.set_aside(damaged)
        key = ec.generate_private_key(ec.SECP256R1())
        state_file.write_bytes(authority.key_file, _pem(key))
    # The list only grows: clients may still reach another profile's gateway by an older name.
    permitted = sorted({*names, *_names_in(facts_file)})
    certificate = _ca_certificate(key, permitted).sign(key, hashes.SHA256())
    state_file.write_bytes(authority.ca_file, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)
    _write_facts(facts_file, files, certificate, permitted)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_facts(
    facts_file: Path, files: Iterable[Path], certificate: x509.Certificate, names: Iterable[str], **more: str
) -> None:
    """Write what later calls need to know of ``certificate``, so that they load no ``cryptography``."""
    not_after_s = int(certificate.not_valid_after_utc.timestamp())
    facts = {"sha256": _digest(files), "names": list(names), "not_after_s": not_after_s, **more}
    state_file.write_json(facts_file, facts)


def _load_ca_key(authority: Authority) -> ec.EllipticCurvePrivateKey | None:
    """Return the authority's key if it matches the certificate; None if either is missing or damaged."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key_pem, ca_pem = _read(authority.key_file), _read(authority.ca_file)
    if key_pem is None or ca_pem is None:
        return None
    try:
        key = serialization.load_pem_private_key(key_pem, None)
        certificate = x509.load_pem_x509_certificate(ca_pem)
    except (ValueError, TypeError):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        return None
    return key


def _ca_certificate(key: ec.EllipticCurvePrivateKey, names: Iterable[str]) -> x509.CertificateBuilder:
    from cryptography import x509

    permitted = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_network("127.0.0.0/8")),
        x509.IPAddress(ipaddress.ip_network("::1/128")),
        *(_general_name(name, as_network=True) for name in names),
    ]
    usage = _key_usage(sign_certificates=True)
    name = _ca_name(key)
    return (
        _certificate(name, name, key, _CA_LIFE_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.NameConstraints(permitted, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _ca_name(key: ec.EllipticCurvePrivateKey) -> x509.Name:
    """Return a name that is the same for one key and differs between keys, so that clients do not mix them up."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    short = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()[:8]
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"gwctl local gateways {short}")])


def _general_name(name: str, *, as_network: bool) -> x509.GeneralName:
    """Return a name in the form for a certificate or, ``as_network``, for an authority's constraints."""
    from cryptography import x509

    address = address_of(name)
    if address is None:
        return x509.DNSName(name)
    return x509.IPAddress(ipaddress.ip_network(address) if as_network else address)


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, life_days: int
) -> x509.CertificateBuilder:
    from cryptography import x509

    # Valid from yesterday, for clocks that differ between a container and its host.
    begins = dt.datetime.fromtimestamp(int(time.time()), dt.UTC) - dt.timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + dt.timedelta(days=life_days))
    )


def _make_leaf(paths: Paths, authority: Authority, files: Iterable[Path], names: Sequence[str]) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import pkcs12
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    ca_key = _load_ca_key(authority)
    ca_pem = _read(authority.ca_file)
    if ca_key is None or ca_pem is None:
        raise DiskTrouble(f"the authority in {authority.ca_file.parent} changed in the meantime", hint="try again")
    ca = x509.load_pem_x509_certificate(ca_pem)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    own = ("localhost", "127.0.0.1", "::1")
    alternatives = [_general_name(name, as_network=False) for name in (*own, *names)]
    leaf = (
        _certificate(subject, ca.subject, key, _LEAF_LIFE_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    password = "k" + secrets.token_hex(24)  # a letter first: YAML must never read it as a number
    # Java 8u192 can read it; the password lies next to the file, so a stronger cipher would protect nobody.
    encryption = (
        serialization.PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(2048)
        .key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC)
        .hmac_hash(hashes.SHA1())  # noqa: S303 - same: Java 8u192 knows no other
        .build(password.encode())
    )
    keystore = pkcs12.serialize_key_and_certificates(_FRIENDLY_NAME, key, leaf, [ca], encryption)
    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    state_file.write_bytes(password_file(paths), password.encode())
    state_file.write_bytes(paths.keystore_file, keystore)
    state_file.write_bytes(paths.leaf_key_file, _pem(key))
    state_file.write_bytes(paths.leaf_file, leaf.public_bytes(serialization.Encoding.PEM))
    pin = base64.b64encode(hashlib.sha256(spki).digest()).decode()
    _write_facts(leaf_facts_file(paths), files, leaf, names, spki_pin_base64=pin)
