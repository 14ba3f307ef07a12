"""Certificates of servers that tests start, by an authority of their own."""

from pathlib import Path

import trustme

from streamworkers_fakes.serving import Certificate


class Authority:
    """An authority whose certificates are written into a folder; `file` is what verifies them."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._ca = folder, trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.file = folder / "authority.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def issue(self, name: str) -> Certificate:
        """A certificate for a host's name or address."""
        issued = self._ca.issue_cert(name, key_type=trustme.KeyType.ECDSA)
        chain, key = (self._folder / f"{name}.{end}" for end in ("pem", "key"))
        issued.private_key_pem.write_to_path(str(key))
        chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        return Certificate(chain, key)
