"""Fixtures for services on loopback: an authority of the test session, and what its services show."""

import pytest

from broker.testing.certificates import CertificateAuthority, ServerCertificate


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """Make the authority that signs for the test services."""
    return CertificateAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def certificate(authority: CertificateAuthority) -> ServerCertificate:
    """Make the certificate of the test services."""
    return authority.issue("server")


@pytest.fixture
def anyio_backend() -> str:
    """Run on asyncio, as the daemon does."""
    return "asyncio"
