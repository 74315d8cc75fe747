"""Certificates: one that may not sign is refused before anything is generated, by the property that it lacks."""

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

import mmdiff
from mmdiff import Request
from mmdiff.cli import certificate
from mmdiff.config.build import ConfigError
from mmdiff.provenance.c2pa import C2pa
from mmdiff.provenance.signatures import signature
from tests.provenance.test_tags import written

USAGE = {"digital_signature": True, "content_commitment": False, "key_encipherment": False, "data_encipherment": False,
         "key_agreement": False, "key_cert_sign": False, "crl_sign": False, "encipher_only": False,
         "decipher_only": False}
MAIL, CLAIM = "1.3.6.1.5.5.7.3.4", "1.3.6.1.4.1.62558.2.1"


def issued(folder, *, purposes=(MAIL,), usage=(), days=(-1, 30), ca=False, authority=True, key=None, other=False):
    """The paths of a certificate, with a key, that has these properties."""
    root, key = ec.generate_private_key(ec.SECP256R1()), key or ec.generate_private_key(ec.SECP256R1())
    now, name = datetime.datetime.now(datetime.UTC), x509.Name.from_rfc4514_string("CN=Ben,O=Studio")
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(x509.Name.from_rfc4514_string("CN=Root"))
    builder = builder.public_key(key.public_key()).serial_number(7)
    first, last = (now + datetime.timedelta(days=day) for day in days)
    builder = builder.not_valid_before(first).not_valid_after(last)
    if usage is not None:
        builder = builder.add_extension(x509.KeyUsage(**{**USAGE, **dict(usage)}), critical=True)
    if purposes:
        oids = [x509.ObjectIdentifier(purpose) for purpose in purposes]
        builder = builder.add_extension(x509.ExtendedKeyUsage(oids), critical=False)
    if authority:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), False)
    builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(builder.sign(root, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    key = ec.generate_private_key(ec.SECP256R1()) if other else key
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(*form))
    return files


@pytest.mark.parametrize(("properties", "reason"), [
    ({"purposes": ()}, "its extended key usage is none of e-mail protection and C2PA claim signing"),
    ({"purposes": ("1.3.6.1.5.5.7.3.3",)}, "its extended key usage is none of"),
    ({"purposes": (MAIL, "1.3.6.1.5.5.7.3.8")}, "its extended key usage has time stamping besides"),
    ({"purposes": (MAIL, "2.5.29.37.0")}, "has any use besides"),
    ({"usage": None}, "it has no key usage"), ({"usage": {"digital_signature": False}}, "lacks digitalSignature"),
    ({"days": (-30, -1)}, "it expired on"), ({"days": (1, 30)}, "it is not valid before"),
    ({"ca": True}, "it is a certificate authority"), ({"authority": False}, "it has no authority key identifier"),
    ({"other": True}, "the key is of another certificate"),
])
def test_a_certificate_that_may_not_sign_is_refused_before_anything_is_generated(audio, tmp_path, properties, reason):
    own = C2pa(*map(str, issued(tmp_path, **properties)))
    pipeline = mmdiff.load(audio, device="cpu")
    pipeline.prepare = None                                           # nothing is generated
    with pytest.raises(ConfigError, match=f"may not sign: .*{reason}"):
        pipeline.save([Request()], tmp_path / "out", provenance=own)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("properties", [
    {}, {"purposes": (CLAIM,)}, {"purposes": (MAIL, CLAIM)}, {"key": ec.generate_private_key(ec.SECP384R1())},
    {"key": ed25519.Ed25519PrivateKey.generate()},
])
def test_certificates_of_every_kind_that_may_sign_do(tmp_path, properties):
    own, path = C2pa(*map(str, issued(tmp_path, **properties))), tmp_path / "a.png"
    own.check(".png")
    written(path)
    own.sign(path, "a.png", {"id": "a"}, {})
    assert signature(path).state == "unknown" and signature(path).signer == "Ben (Studio)"


def test_a_key_in_the_older_form_of_openssl_signs_too(tmp_path, keys):
    key = serialization.load_pem_private_key(keys[1].read_bytes(), None)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    (tmp_path / "key.pem").write_bytes(key.private_bytes(*form))
    assert b"BEGIN EC PRIVATE KEY" in (tmp_path / "key.pem").read_bytes()
    C2pa(keys[0], str(tmp_path / "key.pem")).check(".wav")


def test_the_command_makes_a_chain_once_and_keeps_its_key_to_the_owner(tmp_path, capsys):
    assert certificate.main(["new", f"out={tmp_path / 'c'}", "name=Me"]) == 0
    assert "for development alone" in capsys.readouterr().out
    assert (tmp_path / "c" / "key.pem").stat().st_mode & 0o77 == 0
    with pytest.raises(FileExistsError, match=r"certificate\.pem is there already"):
        certificate.main(["new", f"out={tmp_path / 'c'}"])
    with pytest.raises(ConfigError, match="mmdiff certificate needs out="):
        certificate.main(["new"])
