"""The one table of stores: each place where the appliance keeps something, and its owner.

The compose files are checked against it, and the table of volumes in docs/reference/architecture.md
is generated from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: Access modes as Kubernetes names them: one machine at a time, or several.
ONE_NODE = "ReadWriteOnce"
MANY_NODES = "ReadWriteMany"


@dataclass(frozen=True)
class Store:
    """One place where something is kept.

    Args:
        name: of the volume; for `HOST_STORES` the path beside the compose file.
        owner: service that makes the content and is the first to need it.
        mounts: service to mount point, with the options of the compose file behind a colon.
        loss: what is lost without it.
        identity: path in it that exists once the store is in use; empty where nothing tells.
        in_backup: whether a backup must have it.
        prunable: what may be removed from it while the appliance is in use; empty for nothing.
        access: `ONE_NODE` or `MANY_NODES`, for a cluster.
    """

    name: str
    owner: str
    mounts: Mapping[str, str]
    holds: str
    loss: str
    identity: str = ""
    in_backup: bool = True
    prunable: str = ""
    access: str = ONE_NODE


STORES: tuple[Store, ...] = (
    Store(
        "postgresql",
        "postgresql",
        {"postgresql": "/var/lib/postgresql/data"},
        "all tables",
        "everything loaded",
        "PG_VERSION",
    ),
    Store(
        "postgresql-socket",
        "postgresql",
        {
            "postgresql": "/srv/postgresql/socket:nocopy",
            "jupyter": "/srv/postgresql/socket:nocopy",
        },
        "the socket by which the Hub makes roles",
        "nothing: it is made at each start",
        in_backup=False,
    ),
    Store(
        "jupyter-home",
        "jupyter",
        {"jupyter": "/home", "cronicle": "/home:ro,nocopy", "worker": "/home:ro,nocopy"},
        "homes, teams' folders, what removed people left (`/home/.vixtract`)",
        "notebooks, people's own libraries",
        prunable="archives of removed people",
        access=MANY_NODES,
    ),
    Store(
        "jupyter-libs",
        "jupyter",
        {
            "jupyter": "/usr/local",
            "cronicle": "/usr/local:ro,nocopy",
            "worker": "/usr/local:ro,nocopy",
        },
        "`/usr/local`",
        "libraries that admins installed",
        access=MANY_NODES,
    ),
    Store(
        "jupyter-data",
        "jupyter",
        {"jupyter": "/srv/jupyterhub"},
        "the Hub's database and cookie secret",
        "passwords, logins",
        "jupyterhub.sqlite",
    ),
    Store(
        "jupyter-config",
        "jupyter",
        {"jupyter": "/etc/jupyterhub/conf.d"},
        "`*.py` read last by the Hub",
        "own configuration",
    ),
    Store(
        "secrets",
        "jupyter",
        {
            "postgresql": "/srv/secrets:ro,nocopy",
            "jupyter": "/srv/secrets",
            "cronicle": "/srv/secrets",
        },
        "generated keys, connections, PostgreSQL's authority",
        "connections; PostgreSQL's role passwords are derived anew at the next start; BI tools "
        "need the new `/ca.crt`",
        "role_key",
        access=MANY_NODES,
    ),
    Store(
        "cronicle-data",
        "cronicle",
        {"cronicle": "/opt/cronicle/data"},
        "schedules, history, the ledger",
        "schedules",
        "ledger.sqlite3",
    ),
    Store(
        "runs",
        "cronicle",
        {"cronicle": "/runs", "jupyter": "/runs:ro", "worker": "/runs:nocopy"},
        "executed notebooks, logs, files of runs",
        "the archive",
        prunable="runs beyond `RUNS_KEEP_DAYS` and `RUNS_KEEP_COUNT`",
        access=MANY_NODES,
    ),
    Store(
        "nginx-conf",
        "nginx",
        {"nginx": "/etc/nginx/custom"},
        "drop-in server configuration",
        "own configuration",
    ),
    Store(
        "nginx-certs",
        "nginx",
        {"nginx": "/etc/nginx/certs"},
        "certificates",
        "supplied certificates; others are made anew",
    ),
)

#: Beside the compose file, on the host.
HOST_STORES: tuple[Store, ...] = (
    Store(".env", "ops", {}, "settings", "settings that differ from their defaults"),
    Store(
        ".vixtract",
        "ops",
        {},
        "generated passwords, settings of further projects",
        "generated passwords",
    ),
)
