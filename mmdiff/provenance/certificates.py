"""Certificates that sign media: what they need (C2PA 2.2, 14.5), and chains for development.

    chain file    the certificate that signs, then what signed that, without the root; PEM
    trust file    the roots, PEM
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.build import ConfigError
from .signing import library

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

DAYS = 365
DEVELOPMENT = "for development, vouched for by nobody"
"""What a chain of ``mmdiff certificate new`` says of itself, in the name of the signer."""
CLAIM = "1.3.6.1.4.1.62558.2.1"
MAIL = "1.3.6.1.5.5.7.3.4"
PURPOSES = {MAIL: "e-mail protection", CLAIM: "C2PA claim signing"}
"""Extended key usages by which a certificate may sign claims."""
FORBIDDEN = {"2.5.29.37.0": "any use", "1.3.6.1.5.5.7.3.8": "time stamping", "1.3.6.1.5.5.7.3.9": "OCSP signing"}


def chain_of(path: Path) -> list[Certificate]:
    """The certificates of a PEM file. Raises ``ConfigError``."""
    x509 = library("cryptography.x509")
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} holds no certificates in PEM: {error}") from None


def key_of(key: str) -> bytes:
    """The private key that ``PATH`` or ``env:NAME`` names, in PEM. Raises ``ConfigError``, which never shows a key."""
    if "PRIVATE KEY" in key:
        raise ConfigError("provenance.key is a path, or env:NAME for a variable of the environment; not the key itself")
    if key.startswith("env:"):
        found = os.environ.get(key[4:])
        if not found:
            raise ConfigError(f"provenance.key={key}: there is no such variable in the environment")
        return found.encode()
    try:
        return Path(key).expanduser().read_bytes()
    except OSError as error:
        raise ConfigError(f"provenance.key={key} cannot be read: {error.strerror}") from None


def algorithm(key: bytes) -> str:
    """The signature algorithm of a private key, by C2PA's name. Raises ``ConfigError``."""
    keys = library("cryptography.hazmat.primitives.asymmetric")
    ec, ed25519, rsa = (library(f"{keys.__name__}.{name}") for name in ("ec", "ed25519", "rsa"))
    private = _private(key)
    if isinstance(private, ec.EllipticCurvePrivateKey):
        curves = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
        if private.curve.name in curves:
            return curves[private.curve.name]
    elif isinstance(private, ed25519.Ed25519PrivateKey):
        return "ED25519"
    elif isinstance(private, rsa.RSAPrivateKey) and private.key_size >= 2048:
        return "PS256"
    raise ConfigError("provenance.key is a key on P-256, P-384 or P-521, Ed25519, or RSA of 2048 bits at least")


def pkcs8(key: bytes) -> bytes:
    """A private key in the one form of PEM that every library takes."""
    form = library("cryptography.hazmat.primitives.serialization")
    return _private(key).private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())


def faults(chain: list[Certificate], key: bytes) -> Iterator[str]:
    """Why the first certificate of a chain may not sign media with this key, in words."""
    x509, serialization = library("cryptography.x509"), library("cryptography.hazmat.primitives.serialization")
    leaf, now = chain[0], datetime.datetime.now(datetime.UTC)
    if leaf.not_valid_after_utc < now:
        yield f"it expired on {leaf.not_valid_after_utc:%Y-%m-%d}"
    if leaf.not_valid_before_utc > now:
        yield f"it is not valid before {leaf.not_valid_before_utc:%Y-%m-%d}"
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if leaf.public_key().public_bytes(*form) != _private(key).public_key().public_bytes(*form):
        yield "the key is of another certificate"
    found = {type(extension.value).__name__: extension.value for extension in leaf.extensions}
    if (basic := found.get("BasicConstraints")) and basic.ca:
        yield "it is a certificate authority (basic constraints CA=true)"
    if not (usage := found.get("KeyUsage")):
        yield "it has no key usage; that must be digitalSignature"
    elif not usage.digital_signature:
        yield "its key usage lacks digitalSignature"
    if "AuthorityKeyIdentifier" not in found:
        yield "it has no authority key identifier"
    usages = [purpose.dotted_string for purpose in found.get("ExtendedKeyUsage", [])]
    if not set(usages) & set(PURPOSES):
        yield f"its extended key usage is none of {' and '.join(PURPOSES.values())}"
    if wrong := [FORBIDDEN[purpose] for purpose in usages if purpose in FORBIDDEN]:
        yield f"its extended key usage has {wrong[0]} besides"
    if leaf.version != x509.Version.v3:
        yield "it is no X.509 version 3"


def fingerprint(chain: list[Certificate]) -> str:
    """The SHA-256 of the certificate that signs."""
    hashes = library("cryptography.hazmat.primitives.hashes")
    return chain[0].fingerprint(hashes.SHA256()).hex()


def new(folder: Path, name: str) -> tuple[Path, Path, Path]:
    """Write a chain for development into ``folder``: (certificate, key, root). Only the owner reads the key; that of
    the root is kept nowhere. Raises ``FileExistsError``."""
    x509, oid = library("cryptography.x509"), library("cryptography.x509.oid")
    ec = library("cryptography.hazmat.primitives.asymmetric.ec")
    serialization = library("cryptography.hazmat.primitives.serialization")
    names = [x509.NameAttribute(oid.NameOID.ORGANIZATION_NAME, DEVELOPMENT)]
    subject, issuer = (
        x509.Name([*names, x509.NameAttribute(oid.NameOID.COMMON_NAME, common)]) for common in (name, f"root of {name}")
    )
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = _certificate(issuer, issuer, root_key, root_key, ca=True)
    leaf = _certificate(subject, issuer, key, root_key, ca=False)
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "certificate.pem", folder / "key.pem", folder / "root.pem"
    if there := [path for path in paths if path.exists()]:
        raise FileExistsError(f"{there[0]} is there already: choose another folder")
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with os.fdopen(os.open(paths[1], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(private)
    for path, certificate in ((paths[0], leaf), (paths[2], root)):
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return paths


def _certificate(subject: Any, issuer: Any, key: Any, issuer_key: Any, *, ca: bool) -> Certificate:
    x509, hashes = library("cryptography.x509"), library("cryptography.hazmat.primitives.hashes")
    now = datetime.datetime.now(datetime.UTC)
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
              "decipher_only")
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(ca, 0 if ca else None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **dict.fromkeys(others, False)), True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not ca:
        purposes = x509.ExtendedKeyUsage([x509.ObjectIdentifier(MAIL)])
        builder = builder.add_extension(purposes, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _private(key: bytes) -> Any:
    serialization = library("cryptography.hazmat.primitives.serialization")
    try:
        return serialization.load_pem_private_key(key, None)
    except (ValueError, TypeError) as error:
        reason = "it is encrypted" if isinstance(error, TypeError) else "it cannot be read"
        raise ConfigError(f"provenance.key is no private key in PEM: {reason}") from None
