"""The Hub's configuration. Drop-ins in /etc/jupyterhub/conf.d are read last and may change it."""

import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from vixtract.containers.jupyter_health import HealthHandler
from vixtract.files import ensure_secret
from vixtract.hub import events
from vixtract.hub.authenticator import PeopleAuthenticator
from vixtract.hub.authority import AuthorityHandler
from vixtract.hub.lifecycle import Lifecycle
from vixtract.hub.provisioner import DatabaseServer, Provisioner
from vixtract.hub.spawner import PersonSpawner
from vixtract.hub.state import PeopleState
from vixtract.hub.teamwork import Teamwork
from vixtract.people import directory
from vixtract.people.accounts import DATABASE, SECRETS, STATE
from vixtract.people.archive import Packer
from vixtract.people.database_tls import DatabaseTls
from vixtract.people.roles import superuser_conninfo
from vixtract.processes.limits import LAB
from vixtract.scheduler.client import SchedulerClient
from vixtract.secret_settings import with_secrets
from vixtract.settings import Settings, build_environment, build_people_environment
from vixtract.values import is_loopback

c = get_config()  # noqa: F821  traitlets provides it

PREFIX = Path("/opt/jupyterhub")
settings = Settings.for_process("hub", with_secrets(os.environ))
project = os.environ.get("VIXTRACT_PROJECT") or "vixtract"
postgresql = DatabaseServer(
    superuser_conninfo(),
    bi_password=settings["BI_PASSWORD"],
    role_key=ensure_secret(SECRETS, "role_key"),
    tls=DatabaseTls(SECRETS, settings.certificate_names("postgresql", f"{project}_postgresql")),
    is_public=not is_loopback(settings["VIXTRACT_BIND"]),
)


state = PeopleState(DATABASE)
packer = Packer(Path("/home"))


def list_names():
    """Return the names of people who may log in, for the provisioner."""
    blocked = state.blocked()
    return [p.name for p in directory.read_people(DATABASE) if p.name not in blocked]


def publish_admins():
    """Write for the other services who is an administrator, and for whom nothing may run."""
    people = directory.read_people(DATABASE)
    state.forget_gone([person.name for person in people])
    admins = [person.name for person in people if person.is_admin]
    stamps = directory.read_stamps(DATABASE)
    directory.publish_admins(SECRETS, admins, state.blocked(), stamps)


teamwork = Teamwork(postgresql, Path("/home"), packer)
provisioner = Provisioner(postgresql, list_names, lambda: teamwork.ensure_all())  # noqa: PLW0108
scheduler = SchedulerClient("http://cronicle:3012/cronicle", ensure_secret(SECRETS, "api_key"))
lifecycle = Lifecycle(state, postgresql, scheduler, publish_admins, packer)

# Addresses. People come through the proxy; services ask the Hub's API on 8081.
c.JupyterHub.bind_url = "http://0.0.0.0:8000/jupyter/"
c.JupyterHub.hub_ip = "0.0.0.0"
c.JupyterHub.hub_port = 8081
c.JupyterHub.hub_connect_ip = "127.0.0.1"
c.JupyterHub.tornado_settings = {"cookie_options": {"samesite": "Lax"}}

# State is in the volume; /run has what must not outlive the container.
c.JupyterHub.db_url = f"sqlite:///{DATABASE}"
c.JupyterHub.upgrade_db = True
c.JupyterHub.cookie_secret_file = str(STATE / "cookie_secret")
c.ConfigurableHTTPProxy.pid_file = "/run/vixtract/proxy.pid"

# The proxy faces the network and needs no rights: setpriv drops root before node starts.
c.ConfigurableHTTPProxy.command = [
    "/usr/bin/setpriv",
    "--reuid=proxy",
    "--regid=proxy",
    "--clear-groups",
    "--no-new-privs",
    "/usr/bin/node",
    "/opt/chp/node_modules/configurable-http-proxy/bin/configurable-http-proxy",
]

# People's servers go on running while the Hub restarts.
c.JupyterHub.cleanup_servers = False

# Login by local accounts, LDAP or OpenID Connect, without sign-up. HUB_ADMIN becomes an
# administrator only while the Hub has no users.
c.JupyterHub.authenticator_class = PeopleAuthenticator
c.Authenticator.allow_existing_users = True
c.Authenticator.allow_all = False
c.Authenticator.admin_users = set() if directory.read_people(DATABASE) else {settings["HUB_ADMIN"]}
c.PeopleAuthenticator.database = str(DATABASE)
c.PeopleAuthenticator.signin = settings
# Functions, not methods: traitlets makes deep copies of the configuration, and a thread has none.
c.PeopleAuthenticator.person_added = lambda name: provisioner.add(name)  # noqa: PLW0108
c.PeopleAuthenticator.get_lifecycle = lambda: lifecycle
c.JupyterHub.template_paths = [str(PREFIX / "share/vixtract/templates")]
# A drop-in may choose LocalLDAPCreateUsers, the class of ViXtract's predecessor. It makes accounts
# by this command: Debian's adduser is not in the image, and would not keep the owners of homes.
c.LocalAuthenticator.add_user_cmd = [
    str(PREFIX / "bin/python"),
    "-I",
    "-m",
    "vixtract.people.accounts",
]

# Servers. `-I` keeps a person's own libraries out of the server; kernels run on Debian's Python.
c.JupyterHub.spawner_class = PersonSpawner
c.Spawner.cmd = [str(PREFIX / "bin/python"), "-I", str(PREFIX / "bin/jupyterhub-singleuser")]
c.Spawner.default_url = "/lab"
c.Spawner.start_timeout = 90
c.Spawner.http_timeout = 60
# Until the Hub notices that a server ended, it routes requests to any process on that port.
c.Spawner.poll_interval = 5
c.PersonSpawner.person_environment = lambda name: postgresql.person_environment(name)  # noqa: PLW0108
c.PersonSpawner.blocked = lambda: state.blocked()  # noqa: PLW0108
c.PersonSpawner.ensure_role = lambda name: postgresql.ensure_role(name)  # noqa: PLW0108
c.PersonSpawner.publish = publish_admins
c.PersonSpawner.limits = replace(
    LAB,
    memory_mb=settings.integer("SERVER_MEMORY_MB"),
    processes=settings.integer("SERVER_PROCESSES"),
)
# Administrators' plain `pip3 install` goes to /usr/local, for everybody.
c.PersonSpawner.admin_environment = {"PYTHONUSERBASE": "/usr/local"}
c.Spawner.environment = build_people_environment("lab", os.environ)

# Services: the operator's commands, and the portal where it is installed.
c.JupyterHub.services = [
    {
        "name": "operator",
        "admin": True,
        "display": False,
        "api_token": ensure_secret(SECRETS, "hub_token"),
    },
    # Runs as root: it stops kernels and servers that take more than their share.
    {
        "name": "labs",
        "command": [str(PREFIX / "bin/python"), "-I", "-m", "vixtract.processes.labs"],
        "cwd": "/",
        "display": False,
        "environment": build_environment("labs", os.environ),
    },
]
c.JupyterHub.load_roles = []
if find_spec("vixtract.portal") and find_spec("vixtract.portal.__main__"):
    # No `url`: the Hub would end where the portal does not come up. nginx leads to it.
    c.JupyterHub.services.append(
        {
            "name": "portal",
            "command": [str(PREFIX / "bin/python"), "-I", "-m", "vixtract.portal"],
            "user": "portal",
            "cwd": "/",
            "display": False,
            "oauth_redirect_uri": "/portal/oauth_callback",
            "oauth_no_confirm": True,
            "environment": {
                "JUPYTERHUB_SERVICE_URL": "http://0.0.0.0:8010/portal/",
                "JUPYTERHUB_SERVICE_PREFIX": "/portal/",
                "SCHEDULER_URL": "http://cronicle:3012",
                "SCHEDULER_API_KEY": ensure_secret(SECRETS, "api_key"),
                **build_environment("portal", os.environ),
            },
        }
    )
    # Root's, unlike the portal: it reads people's notebooks for it, each as their owner.
    c.JupyterHub.services.append(
        {
            "name": "homes",
            "command": [str(PREFIX / "bin/python"), "-I", "-m", "vixtract.homes.server"],
            "cwd": "/",
            "display": False,
        }
    )
    c.JupyterHub.load_roles.append(
        {"name": "user", "scopes": ["self", "access:services!service=portal"]}
    )
# Root's too: hands people's processes their connections to other systems.
c.JupyterHub.services.append(
    {
        "name": "vault",
        "command": [str(PREFIX / "bin/python"), "-I", "-m", "vixtract.vault.server"],
        "cwd": "/",
        "display": False,
        "environment": build_environment("vault", os.environ),
    }
)
if settings["VIXTRACT_ENGINE"] == "cronicle":
    # No role beside it: the Hub lets administrators alone through, who have every scope.
    c.JupyterHub.services.append(
        {
            "name": "cronicle",
            "api_token": ensure_secret(SECRETS, "cronicle_oauth"),
            "oauth_redirect_uri": "/cronicle/api/user/callback",
            "oauth_no_confirm": True,
            "display": False,
        }
    )
c.JupyterHub.extra_handlers = [
    (r"/vixtract/health", HealthHandler, {"host": postgresql.host, "port": postgresql.port}),
    (r"/vixtract/ca\.crt", AuthorityHandler, {"tls": postgresql.tls}),
]

for drop_in in sorted(Path("/etc/jupyterhub/conf.d").glob("*.py")):
    load_subconfig(str(drop_in))  # noqa: F821  traitlets provides it

has_own_login = c.JupyterHub.authenticator_class is PeopleAuthenticator
c.JupyterHub.template_vars = {
    **c.JupyterHub.get("template_vars", {}),
    "has_passwords": has_own_login,
}
# The predecessor let in everybody whom its directory knew, and its recipe relies on that.
if "LocalLDAPCreateUsers" in str(c.JupyterHub.authenticator_class):
    chosen = {**c.Authenticator, **c.LDAPAuthenticator, **c.LocalLDAPCreateUsers}
    if not (chosen.get("allowed_users") or chosen.get("allowed_groups")):
        c.LocalLDAPCreateUsers.setdefault("allow_all", True)

events.install(publish_admins)
publish_admins()
provisioner.start()
packer.start()
