import stat
from pathlib import Path

import pytest
import requests

from broker.testing.certificates import CertificateAuthority, write_private
from broker.testing.salesforce import SalesforceService


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_the_server_certificate_is_good_for_every_loopback_name(service: SalesforceService, host: str) -> None:
    """A client that trusts the authority needs no exception, by whichever name it calls."""
    url = service.url.replace("localhost", host)

    response = requests.get(f"{url}/services/data", verify=str(service.ca_file), timeout=60)

    assert response.status_code == 200


def test_a_client_that_does_not_trust_the_authority_is_kept_out(service: SalesforceService, tmp_path: Path) -> None:
    """Each test has its own authority, so that one cannot vouch for another's server."""
    stranger = CertificateAuthority(tmp_path)

    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{service.url}/services/data", verify=str(stranger.certificate_file), timeout=60)


def test_private_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    """Keys are files of mode 0600 from their first moment."""
    certificate = CertificateAuthority(tmp_path / "new").issue("server")

    mode = stat.S_IMODE(certificate.key_file.stat().st_mode)

    assert mode == 0o600


def test_a_left_over_key_file_does_not_keep_its_wider_mode(tmp_path: Path) -> None:
    """Starting twice in one directory is as safe as starting once."""
    path = tmp_path / "key.pem"
    path.write_bytes(b"old")
    path.chmod(0o644)

    write_private(path, b"new")

    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
