"""A certificate authority for one test: it signs for loopback names, and its keys live in one directory."""

import os
from dataclasses import dataclass
from pathlib import Path

import trustme

LOOPBACK_NAMES = ("localhost", "127.0.0.1")


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """Where a server finds its certificate chain and its private key, both PEM."""

    certificate_file: Path
    key_file: Path


class CertificateAuthority:
    """A fresh authority whose own key is never written; clients trust `certificate_file`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._authority = trustme.CA()
        self.certificate_file = directory / "ca.pem"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.certificate_file.write_bytes(self._authority.cert_pem.bytes())

    def issue(self, name: str) -> ServerCertificate:
        """Write `name.pem` and `name-key.pem`, valid for `localhost` and `127.0.0.1`."""
        leaf = self._authority.issue_cert(*LOOPBACK_NAMES, common_name=LOOPBACK_NAMES[0])
        certificate_file = self._directory / f"{name}.pem"
        key_file = self._directory / f"{name}-key.pem"
        certificate_file.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        write_private(key_file, leaf.private_key_pem.bytes())
        return ServerCertificate(certificate_file, key_file)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, at no moment otherwise."""
    path.unlink(missing_ok=True)  # a left-over file would keep its own, perhaps wider, mode
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
