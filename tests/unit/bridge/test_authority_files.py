"""Which certificates the bridge takes for the operator's, by the files of his CAs."""

from pathlib import Path
from ssl import DER_cert_to_PEM_cert

import foreign_ca
from dmvpn_agent.bridge.authority_files import AuthorityFiles
from factories import authority_pem, der


def test_a_ca_of_the_files_is_ours_without_its_issuer(tmp_path: Path) -> None:
    """And what it issued; nothing of another CA is."""
    file = tmp_path / "ca.pem"
    branch = foreign_ca.authority("Branch CA", issuer="Office CA")
    file.write_bytes(authority_pem() + DER_cert_to_PEM_cert(branch).encode())
    files = AuthorityFiles((file,))
    assert files.issued(branch, ())
    assert files.issued(der(), ())
    assert not files.issued(foreign_ca.authority("Office CA"), ())
