"""The portal's settings, read from its environment once, at start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vixtract.errors import SettingsError
from vixtract.homes.client import SOCKET
from vixtract.settings import Settings

PREFIX = "/portal"
DEFAULT_FILES = "/usr/share/vixtract/portal"


@dataclass(frozen=True)
class PortalConfig:
    """Settings of one portal process.

    Args:
        scheduler_url: base address of the scheduler, such as `http://cronicle:3012`.
        api_key: the scheduler's admin key; never shown.
        hub_api_url: address of the Hub's REST interface inside the compose network.
        hub_prefix: path of the Hub's pages as a browser sees it, with slashes at both ends.
        hub_client_id: OAuth client id of this service at the Hub.
        hub_token: this service's own token at the Hub; never shown.
        hub_scopes: a person needs one of these to use the portal.
        timezone: zone of schedules that name none.
        files: folder with templates and static files.
        homes: socket of the homes server, which reads people's files as their owners.
        vault: socket of the vault, which keeps people's connections.
        postgresql: host and port of the database, inside the compose network.
        postgresql_port: the port at which BI tools reach it.
    """

    scheduler_url: str
    api_key: str = field(repr=False)
    hub_api_url: str
    hub_prefix: str
    hub_client_id: str
    hub_token: str = field(repr=False)
    hub_scopes: frozenset[str]
    timezone: str
    files: Path
    homes: Path = SOCKET
    vault: Path = Path("/run/vixtract-vault/vault.sock")
    postgresql: tuple[str, int] = ("postgresql", 5432)
    postgresql_port: int = 5432

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> PortalConfig:
        """Read the environment that the Hub starts its services with.

        Raises:
            SettingsError: names every variable that is missing.
        """
        needed = ("SCHEDULER_API_KEY", "JUPYTERHUB_API_TOKEN", "JUPYTERHUB_API_URL")
        missing = [name for name in needed if not environment.get(name)]
        if missing:
            raise SettingsError(
                f"The portal was started without {', '.join(missing)}.",
                "It is started by the Hub, which sets them: see jupyterhub_config.py.",
            )
        name = environment.get("JUPYTERHUB_SERVICE_NAME") or "portal"
        settings = Settings.for_process("portal", environment)
        return cls(
            scheduler_url=environment.get("SCHEDULER_URL") or "http://cronicle:3012",
            api_key=environment["SCHEDULER_API_KEY"],
            hub_api_url=environment["JUPYTERHUB_API_URL"].rstrip("/"),
            hub_prefix=f"{(environment.get('JUPYTERHUB_BASE_URL') or '/jupyter').rstrip('/')}/hub/",
            hub_client_id=environment.get("JUPYTERHUB_CLIENT_ID") or f"service-{name}",
            hub_token=environment["JUPYTERHUB_API_TOKEN"],
            hub_scopes=frozenset({"access:services", f"access:services!service={name}"}),
            timezone=settings["TZ"],
            postgresql_port=settings.integer("POSTGRES_PORT"),
            files=Path(environment.get("VIXTRACT_PORTAL_FILES") or DEFAULT_FILES),
            homes=Path(environment.get("VIXTRACT_HOMES_SOCKET") or cls.homes),
            vault=Path(environment.get("VIXTRACT_VAULT_SOCKET") or cls.vault),
            postgresql=(
                environment.get("VIXTRACT_POSTGRESQL_HOST") or cls.postgresql[0],
                int(environment.get("VIXTRACT_POSTGRESQL_PORT") or cls.postgresql[1]),
            ),
        )

    @property
    def assets(self) -> Path:
        """Folder of what the portal shares with the home page: the style sheet and the logo."""
        return self.files.parent / "assets"

    @property
    def locale(self) -> Path:
        """Folder of the catalogs, which the Hub's pages read too."""
        return self.files.parent / "locale"

    @property
    def base_url(self) -> str:
        """The path below which the Hub and Lab live, with a slash at the end: `/jupyter/`."""
        return self.hub_prefix.removesuffix("hub/")
