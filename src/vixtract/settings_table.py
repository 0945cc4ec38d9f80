"""The rows of the one table of settings: name, default, meaning, and which processes read each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Set
from dataclasses import dataclass

from vixtract import __version__


@dataclass(frozen=True)
class Setting:
    """One setting.

    Args:
        default: text used where the variable is unset or empty.
        kind: one of `vixtract.values.CHECKS`, or `choice`. Where the default is empty, a value may
            be empty too.
        readers: processes that read it, see `vixtract.settings.HANDED_ON`; and on the host
            `compose` (outside of the containers' environments), `build` (arguments of image
            builds) and `ops`.
        help: one sentence for operators, units included.
        choices: allowed values of kind choice.
    """

    name: str
    default: str
    kind: str
    readers: Set[str]
    help: str
    choices: tuple[str, ...] = ()
    group: str = ""

    @property
    def is_secret(self) -> bool:
        """Whether the value must never be printed or logged."""
        return self.kind == "password"


_CLOCKS = {"postgresql", "hub", "portal", "lab", "front-door", "engine", "cronicle-plugin", "job"}
_DOWNLOADS = {"lab", "job", "build"}
_PROXIES = {*_DOWNLOADS, "vault", "front-door"}


def _group(group: str, *settings: Setting) -> tuple[Setting, ...]:
    return tuple(dataclasses.replace(setting, group=group) for setting in settings)


def _limit(name: str, default: str, readers: Set[str], text: str) -> Setting:
    return Setting(name, default, "integer", readers, text)


def _sign_in(
    name: str, default: str, kind: str, text: str, choices: tuple[str, ...] = ()
) -> Setting:
    return Setting(name, default, kind, {"hub"}, text, choices)


_APPLIANCE = _group(
    "Appliance",
    Setting("VIXTRACT_VERSION", __version__, "tag", {"compose"}, "Version of the images to run."),
    Setting(
        "VIXTRACT_ENGINE",
        "embedded",
        "choice",
        {"cronicle", "hub", "front-door"},
        "Scheduler engine: `embedded`, or `cronicle` where its image can be had.",
        ("embedded", "cronicle"),
    ),
    Setting(
        "TZ", "UTC", "zone", _CLOCKS, "Time zone of the appliance and of schedules that name none."
    ),
)

_NETWORK = _group(
    "Network",
    Setting(
        "VIXTRACT_BIND",
        "127.0.0.1",
        "address",
        {"postgresql", "jupyter", "hub", "cronicle", "front-door", "compose"},
        "Address that the ports are published on. Anything but loopback needs own passwords.",
    ),
    Setting("HTTP_PORT", "80", "port", {"compose"}, "Port of the web pages."),
    Setting(
        "HTTPS_PORT", "443", "port", {"front-door", "compose"}, "Port of the web pages over HTTPS."
    ),
    Setting(
        "POSTGRES_PORT",
        "5432",
        "port",
        {"portal", "worker-runner", "front-door", "compose"},
        "Port of PostgreSQL for BI tools.",
    ),
    Setting(
        "CRONICLE_PORT",
        "",
        "port",
        {"front-door", "compose"},
        "Port of Cronicle's page alone, an origin that no notebook shares; empty: at `/cronicle/`.",
    ),
    Setting(
        "HTTPS",
        "",
        "choice",
        {"front-door"},
        "How HTTPS is served: `off`, `self-signed`, `files` or `acme`. Empty: `off` on loopback, "
        "else `self-signed`.",
        ("", "off", "self-signed", "files", "acme"),
    ),
    Setting(
        "HTTPS_DOMAIN",
        "",
        "names",
        {"hub", "front-door"},
        "Names and addresses of the appliance, the main one first, separated by commas; web pages "
        "answer to no other, and certificates are made for them.",
    ),
    Setting(
        "HTTPS_ACME_EMAIL",
        "",
        "mail",
        {"front-door"},
        "Address that the certificate authority writes to; with `HTTPS=acme`.",
    ),
    Setting(
        "HTTPS_ACME_SERVER",
        "https://acme-v02.api.letsencrypt.org/directory",
        "url",
        {"front-door"},
        "Directory of the certificate authority; with `HTTPS=acme`.",
    ),
    Setting(
        "POSTGRES_ALLOW",
        "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,::1,fc00::/7,fe80::/10",
        "networks",
        {"front-door"},
        "Networks that may reach PostgreSQL's port, separated by commas.",
    ),
)

_PASSWORDS = _group(
    "Passwords",
    Setting(
        "POSTGRES_PASSWORD",
        "vixtract",
        "password",
        {"postgresql"},
        "Password of PostgreSQL's superuser `postgres`. It opens no door: that account gets in by "
        "the socket alone.",
    ),
    Setting(
        "BI_PASSWORD",
        "vixtract",
        "password",
        {"jupyter", "hub"},
        "Password of the read-only PostgreSQL login `bi`.",
    ),
    Setting(
        "HUB_ADMIN", "admin", "person", {"jupyter", "hub"}, "Name of the first Hub administrator."
    ),
    Setting(
        "HUB_ADMIN_PASSWORD",
        "vixtract",
        "password",
        {"jupyter"},
        "Password of the first Hub administrator, used when that account is first made.",
    ),
    Setting(
        "CRONICLE_ADMIN_PASSWORD",
        "admin",
        "password",
        {"cronicle", "cronicle-edge"},
        "Password of Cronicle's account `admin`; the embedded engine has no login.",
    ),
)

_LIMITS = _group(
    "Limits",
    _limit(
        "MAX_JOBS",
        "4",
        {"engine", "cronicle-plugin", "worker-server"},
        "Scheduled jobs that run at once; more wait in the queue.",
    ),
    _limit(
        "JOB_MEMORY_MB",
        "2048",
        {"runner"},
        "Memory of one job in MiB; a job may set its own. 0 means no limit.",
    ),
    _limit(
        "JOB_PROCESSES",
        "1024",
        {"runner"},
        "Processes and threads that one person's jobs may have together. 0 means no limit.",
    ),
    _limit(
        "SERVER_MEMORY_MB",
        "4096",
        {"hub", "labs"},
        "Memory of one person's JupyterLab server with all its kernels in MiB. 0 means no limit.",
    ),
    _limit(
        "SERVER_PROCESSES",
        "1024",
        {"hub", "labs"},
        "Processes and threads of one person's server and kernels. 0 means no limit.",
    ),
    _limit(
        "DISK_FLOOR_MB",
        "1024",
        {"labs", "runner"},
        "Free disk in MiB under which kernels and jobs that write are stopped. 0 means no floor.",
    ),
    _limit(
        "JOB_TIMEOUT_S",
        "86400",
        {"engine", "runner"},
        "Seconds after which a job is stopped where its schedule sets no limit.",
    ),
    Setting(
        "JOB_WARM",
        "on",
        "choice",
        {"runner"},
        "Whether notebooks start in a process that has the libraries in memory already, in a "
        "fraction of the time; `off` starts a kernel for each.",
        ("on", "off"),
    ),
    _limit(
        "CATCH_UP_CAP",
        "24",
        {"engine", "cronicle-plugin"},
        "Missed runs of one schedule that are made up for after a downtime.",
    ),
    _limit(
        "RUNS_KEEP_DAYS",
        "180",
        {"engine"},
        "Days that runs and their files are kept; a schedule's last good run stays. 0: forever.",
    ),
    _limit(
        "RUNS_KEEP_COUNT", "1000", {"engine"}, "Newest runs of one schedule that are kept. 0: all."
    ),
    _limit(
        "KERNEL_IDLE_S",
        "3600",
        {"lab"},
        "Seconds after which an idle kernel is stopped; a busy one never is.",
    ),
    _limit(
        "SERVER_IDLE_S",
        "7200",
        {"lab"},
        "Seconds without kernels and use after which a person's JupyterLab server ends.",
    ),
    Setting(
        "JUPYTER_MEMORY",
        "8g",
        "size",
        {"compose"},
        "Memory of the JupyterHub container with all servers and kernels in it.",
    ),
    Setting(
        "CRONICLE_MEMORY",
        "8g",
        "size",
        {"compose"},
        "Memory of the job container with all jobs in it.",
    ),
    Setting(
        "POSTGRES_MEMORY",
        "4g",
        "size",
        {"compose"},
        "Memory of the PostgreSQL container; its buffers follow from it.",
    ),
)

_MESSAGES = _group(
    "Messages",
    Setting(
        "PUBLIC_URL",
        "",
        "url",
        {"hub", "engine"},
        "Address of the appliance for links in messages, such as `https://etl.example.com`.",
    ),
    Setting(
        "SMTP_HOST",
        "",
        "host",
        {"engine"},
        "Mail server for messages about runs; empty sends no mail.",
    ),
    Setting("SMTP_PORT", "25", "port", {"engine"}, "Port of the mail server."),
    Setting(
        "SMTP_SECURITY",
        "off",
        "choice",
        {"engine"},
        "Encryption to the mail server: `starttls` (port 587), `tls` (port 465) or `off`.",
        ("off", "starttls", "tls"),
    ),
    Setting("SMTP_USER", "", "text", {"engine"}, "Login at the mail server; empty for none."),
    Setting("SMTP_PASSWORD", "", "password", {"engine"}, "Password of that login."),
    Setting(
        "SMTP_FROM", "vixtract@localhost", "mail", {"engine"}, "Sender of messages about runs."
    ),
)

_SIGN_IN = _group(
    "Sign-in",
    _sign_in(
        "LDAP_URL",
        "",
        "text",
        "LDAP or AD servers, tried in this order, such as `ldaps://dc1.example.com`; empty: off.",
    ),
    _sign_in(
        "LDAP_STARTTLS",
        "on",
        "choice",
        "Whether `ldap://` is encrypted by StartTLS; `off` sends passwords in the clear.",
        ("on", "off"),
    ),
    _sign_in(
        "LDAP_CA_FILE",
        "",
        "path",
        "CA certificate (PEM) of the LDAP servers, a path in the jupyter container.",
    ),
    _sign_in(
        "LDAP_BIND_DN",
        "",
        "text",
        "Account that looks people up (search bind); AD takes `name@domain` too.",
    ),
    _sign_in("LDAP_BIND_PASSWORD", "", "password", "Password of that account."),
    _sign_in(
        "LDAP_USER_DN_TEMPLATE",
        "",
        "text",
        "Instead of it: what people sign in as (template bind), `{username}` in it.",
    ),
    _sign_in(
        "LDAP_BASE_DN", "", "text", "Where people and groups are searched, with all below it."
    ),
    _sign_in(
        "LDAP_NAME_ATTRIBUTE",
        "uid",
        "text",
        "Attribute with the name to sign in by; `sAMAccountName` in AD.",
    ),
    _sign_in("LDAP_USER_FILTER", "", "text", "Filter that people must match too, in parentheses."),
    _sign_in(
        "LDAP_ALLOWED_GROUP",
        "",
        "text",
        "DN of the group that may sign in, nested ones included; `*`: everybody.",
    ),
    _sign_in(
        "LDAP_ADMIN_GROUP", "", "text", "DN of the group of administrators; they may sign in."
    ),
    _sign_in("LDAP_TIMEOUT_S", "5", "integer", "Seconds that an LDAP server has for one answer."),
    _sign_in("LDAP_PASSWORD_URL", "", "url", "Page where people change their LDAP password."),
    _sign_in(
        "OIDC_ISSUER",
        "",
        "text",
        "Issuer of OpenID Connect, such as `https://id.example.com/realms/etl`; empty: off.",
    ),
    _sign_in("OIDC_CLIENT_ID", "", "text", "Client that is registered there for the appliance."),
    _sign_in("OIDC_CLIENT_SECRET", "", "password", "Its secret; empty for a public client."),
    _sign_in("OIDC_LABEL", "OpenID Connect", "text", "Name on the button `Sign in with …`."),
    _sign_in("OIDC_SCOPE", "openid profile email", "text", "Scopes to ask for."),
    _sign_in("OIDC_NAME_CLAIM", "preferred_username", "text", "Claim with the person's name here."),
    _sign_in(
        "OIDC_GROUPS_CLAIM",
        "groups",
        "text",
        "Claim with the groups; dots lead into objects, as in `realm_access.roles`.",
    ),
    _sign_in("OIDC_ALLOWED_GROUP", "", "text", "Group that may sign in; `*`: everybody."),
    _sign_in("OIDC_ADMIN_GROUP", "", "text", "Group of administrators; they may sign in."),
    _sign_in(
        "OIDC_CA_FILE",
        "",
        "path",
        "CA certificate (PEM) of the issuer, a path in the jupyter container.",
    ),
    _sign_in(
        "OIDC_PASSWORD_URL", "", "url", "Page where people change their password at the issuer."
    ),
    _sign_in(
        "SIGNIN_CHECK_S",
        "300",
        "integer",
        "Seconds between checks that people of LDAP may still sign in; the others' sessions end.",
    ),
    _sign_in(
        "SIGNIN_HOURS",
        "12",
        "integer",
        "Hours after which people have to sign in again where LDAP or OIDC cannot be asked.",
    ),
)

_WORKERS = _group(
    "Workers",
    Setting(
        "WORKERS",
        "",
        "workers",
        {"appliance-runner"},
        "Machines that run schedules with the target `workers`: `host`, `host:port`, with commas.",
    ),
    Setting(
        "POSTGRES_HOST",
        "",
        "host",
        {"worker-runner"},
        "Address of the appliance as a worker sees it; in the `.env` of a worker alone.",
    ),
)

_IMAGES = _group(
    "Images",
    Setting(
        "IMAGE_PREFIX",
        "localhost/vixtract",
        "image_prefix",
        {"compose", "ops"},
        "Registry and path of the own images; `localhost/…`: they are built here, never pulled.",
    ),
    Setting(
        "POSTGRES_IMAGE",
        "postgres:17",
        "image",
        {"build", "ops"},
        "Image of PostgreSQL that ours is built on: Debian variants of 16 or newer.",
    ),
    Setting(
        "DEBIAN_IMAGE",
        "debian:trixie-slim",
        "image",
        {"build", "ops"},
        "Image that own images are built on.",
    ),
    Setting(
        "CRONICLE_IMAGE",
        "cronicle/edge:v1.14.2",
        "image",
        {"ops"},
        "Image that Cronicle is taken from; its newest version that the tests ran with.",
    ),
    Setting(
        "SCHEDULER_IMAGE",
        "cronicle",
        "image_name",
        {"compose", "ops"},
        "Image of the job container, below `IMAGE_PREFIX`; `cronicle-edge` has Cronicle in it.",
    ),
)

_PROXY = _group(
    "Proxies",
    Setting(
        "PIP_INDEX_URL", "", "url", _DOWNLOADS, "Package index for `pip3 install` and for builds."
    ),
    Setting("HTTP_PROXY", "", "proxy", _PROXIES, "Proxy for builds and for people's processes."),
    Setting("HTTPS_PROXY", "", "proxy", _PROXIES, "The same for HTTPS."),
    Setting("NO_PROXY", "", "bypass", _PROXIES, "Names that are reached without the proxy."),
)

SETTINGS: tuple[Setting, ...] = (
    *_APPLIANCE,
    *_NETWORK,
    *_PASSWORDS,
    *_LIMITS,
    *_MESSAGES,
    *_SIGN_IN,
    *_WORKERS,
    *_IMAGES,
    *_PROXY,
)

BY_NAME: Mapping[str, Setting] = {setting.name: setting for setting in SETTINGS}
