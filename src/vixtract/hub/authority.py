"""The certificate authority of PostgreSQL's certificate, for everybody to download."""

from __future__ import annotations

from jupyterhub.handlers.base import BaseHandler

from vixtract.people.database_tls import DatabaseTls


class AuthorityHandler(BaseHandler):
    """GET: the authority's certificate, PEM, without a login."""

    def initialize(self, tls: DatabaseTls) -> None:
        """Take the options of the route."""
        self._tls = tls

    async def prepare(self) -> None:
        """Skip the Hub's session: a BI tool's machine has no cookie."""

    async def get(self) -> None:
        """Answer."""
        self.set_header("Content-Type", "application/x-pem-file")
        self.set_header("Content-Disposition", 'attachment; filename="vixtract-ca.crt"')
        self.set_header("Cache-Control", "no-cache")
        # The provisioner makes it; no key is in the chain.
        self.finish(self._tls.ensure_authority().chain)
