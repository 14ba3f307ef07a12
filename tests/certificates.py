"""Certificates of servers that tests start, by an authority of their own."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from streamworkers_fakes.serving import Certificate


class Authority:
    """An authority whose certificates are written into a folder; `file` is what verifies them."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._ca = folder, trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.file = folder / "authority.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def issue(self, name: str, *, user: str | None = None, expired: bool = False) -> Certificate:
        """A certificate for a host's name or address; `user` is its common name, as of a client."""
        until = datetime.now(UTC) - timedelta(days=1) if expired else None
        issued = self._ca.issue_cert(name, common_name=user, not_after=until, key_type=trustme.KeyType.ECDSA)
        chain, key = (self._folder / f"{user or name}{'.expired' * expired}.{end}" for end in ("pem", "key"))
        issued.private_key_pem.write_to_path(str(key))
        key.chmod(0o600)
        chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        return Certificate(chain, key)
