"""Certificates of a scripted origin: a good one, and one for each way in which a certificate is bad."""

from __future__ import annotations

import datetime
import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

GOOD, UNKNOWN, EXPIRED, FOREIGN = "good", "unknown certificate", "expired certificate", "foreign certificate"
DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certificates:
    """What a server at 127.0.0.1 may show.

    trusted   a file for ``--ca-file``: all but the unknown one, so that each of the others is bad in one way only
    contexts  the server's side, by `GOOD`, `UNKNOWN`, `EXPIRED`, `FOREIGN`
    """

    trusted: Path
    contexts: dict[str, ssl.SSLContext]


def make_certificates(folder: Path) -> Certificates:
    """Fresh ones, written to `folder`."""
    now = datetime.datetime.now(datetime.UTC)
    contexts, trusted = {}, b""
    for kind in (GOOD, UNKNOWN, EXPIRED, FOREIGN):
        until = now - DAY if kind == EXPIRED else now + 2 * DAY
        name: x509.GeneralName = x509.IPAddress(ip_address("127.0.0.1"))
        if kind == FOREIGN:
            name = x509.DNSName("elsewhere.example")
        both, certificate = _self_signed(kind, name, until)
        path = folder / f"{kind.partition(' ')[0]}.pem"
        path.write_bytes(both)
        contexts[kind] = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        contexts[kind].load_cert_chain(path)
        trusted += b"" if kind == UNKNOWN else certificate
    bundle = folder / "trusted.pem"
    bundle.write_bytes(trusted)
    return Certificates(bundle, contexts)


def _self_signed(common_name: str, name: x509.GeneralName, until: datetime.datetime) -> tuple[bytes, bytes]:
    """Key and certificate in one PEM text, and the certificate alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(until - 10 * DAY)
        .not_valid_after(until)
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return secret + pem, pem
