"""A PostgreSQL of the machine's own: a cluster in a temporary directory, over TLS, started and stopped by us."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from broker.testing.certificates import CertificateAuthority
from tests.support.ports import free_port

PASSWORD = "CANARY-of-postgres-0123456789"
READER, OWNER = "reader", "owner"
_HBA = """\
local all all trust
hostssl all all 127.0.0.1/32 scram-sha-256
hostnossl shop all 127.0.0.1/32 scram-sha-256
"""
_ACCOUNTS = f"""
CREATE ROLE {READER} LOGIN PASSWORD '{PASSWORD}';
CREATE ROLE {OWNER} SUPERUSER LOGIN PASSWORD '{PASSWORD}';
CREATE DATABASE shop;
"""


def programs() -> Path | None:
    """Return where initdb and pg_ctl are, or None."""
    found = [Path(name).resolve().parent for name in (shutil.which("initdb"),) if name]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((path for path in found if (path / "initdb").exists() and (path / "pg_ctl").exists()), None)


class Cluster:
    """A server of its own for the length of a `with` block. `ca` is what signed its certificate."""

    def __init__(self, where: Path) -> None:
        self._programs = where
        self._user = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
        self.directory = Path(tempfile.mkdtemp(prefix="aam-postgres-"))
        authority = CertificateAuthority(self.directory / "authority")
        self.ca = authority.certificate_file.read_text()
        certificate = authority.issue("server")
        self._data = self.directory / "data"
        self.port = free_port()
        if self._user:
            for path in (self.directory, *self.directory.rglob("*")):
                shutil.chown(path, "postgres", "postgres")
        self._settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.directory),
            "ssl": "on",
            "ssl_cert_file": str(certificate.certificate_file),
            "ssl_key_file": str(certificate.key_file),
            "fsync": "off",
            "max_connections": "40",
        }

    def __enter__(self) -> Self:
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "--auth=trust", "--no-sync", "-E", "UTF8")
        self._write(self._data / "pg_hba.conf", _HBA)
        self._write(
            self._data / "postgresql.auto.conf",
            "".join(f"{name} = '{value}'\n" for name, value in self._settings.items()),
        )
        self._run("pg_ctl", "-D", str(self._data), "-w", "-l", str(self.directory / "log"), "start")
        self.run(_ACCOUNTS, "postgres")
        return self

    def __exit__(self, *_: object) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-m", "immediate", "-w", "stop")
        shutil.rmtree(self.directory, ignore_errors=True)

    def run(self, sql: str, database: str = "shop") -> str:
        """Run statements as the administrator, and return what psql prints."""
        where = ["-h", str(self.directory), "-p", str(self.port), "-U", "postgres", "-d", database]
        return self._run("psql", *where, "-v", "ON_ERROR_STOP=1", "-XAtq", stdin=sql)

    def log(self) -> str:
        """Return what the server has logged."""
        return (self.directory / "log").read_text()

    def url(self, database: str = "shop", options: str = "") -> str:
        """Return its URL, as documents write it."""
        return f"postgresql://127.0.0.1:{self.port}/{database}{options}"

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        if self._user:
            shutil.chown(path, "postgres", "postgres")

    def _run(self, program: str, *arguments: str, stdin: str = "") -> str:
        place = self._programs / program
        done = subprocess.run(
            [str(place if place.exists() else program), *arguments],
            input=stdin,
            stdout=subprocess.PIPE
            if program == "psql"
            else subprocess.DEVNULL,  # pg_ctl's child keeps what it inherits
            stderr=subprocess.PIPE if program == "psql" else subprocess.DEVNULL,
            text=True,
            cwd=self.directory,
            check=False,
            **self._user,  # type: ignore[call-overload] # the server refuses to run as root
        )
        assert done.returncode == 0, (program, done.stderr)
        return str(done.stdout or "")
