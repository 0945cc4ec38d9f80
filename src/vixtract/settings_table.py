"""The rows of the one table of settings: what each is called, its default, and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vixtract import __version__


@dataclass(frozen=True)
class Setting:
    """One setting.

    Args:
        name: environment variable.
        default: text used where the variable is unset or empty.
        help: one sentence for operators, units included.
        kind: text, integer (0 or more), port (1-65535), address, choice, password, zone, workers,
            image_prefix, image_name, names (host names and addresses) or networks; several are
            separated by commas. A port whose default is empty may be empty.
        choices: allowed values of kind choice.
        group: heading in the documentation.
    """

    name: str
    default: str
    help: str
    kind: str = "text"
    choices: tuple[str, ...] = ()
    group: str = "Appliance"

    @property
    def is_secret(self) -> bool:
        """Whether the value must never be printed or logged."""
        return self.kind == "password"


def _limit(name: str, default: str, text: str) -> Setting:
    """Return a number of the group Limits."""
    return Setting(name, default, text, "integer", group="Limits")


# Rows of the group Sign-in: name, default, help, kind, choices.
SIGN_IN_ROWS: tuple[tuple[str, str, str, str, tuple[str, ...]], ...] = (
    (
        "LDAP_URL",
        "",
        "LDAP or AD servers, tried in this order, such as `ldaps://dc1.example.com`; empty: off.",
        "text",
        (),
    ),
    (
        "LDAP_STARTTLS",
        "on",
        "Whether `ldap://` is encrypted by StartTLS; `off` sends passwords in the clear.",
        "choice",
        ("on", "off"),
    ),
    (
        "LDAP_CA_FILE",
        "",
        "CA certificate (PEM) of the LDAP servers, a path in the jupyter container.",
        "text",
        (),
    ),
    (
        "LDAP_BIND_DN",
        "",
        "Account that looks people up (search bind); AD takes `name@domain` too.",
        "text",
        (),
    ),
    ("LDAP_BIND_PASSWORD", "", "Password of that account.", "password", ()),
    (
        "LDAP_USER_DN_TEMPLATE",
        "",
        "Instead of it: what people sign in as (template bind), `{username}` in it.",
        "text",
        (),
    ),
    ("LDAP_BASE_DN", "", "Where people and groups are searched, with all below it.", "text", ()),
    (
        "LDAP_NAME_ATTRIBUTE",
        "uid",
        "Attribute with the name to sign in by; `sAMAccountName` in AD.",
        "text",
        (),
    ),
    ("LDAP_USER_FILTER", "", "Filter that people must match too, in parentheses.", "text", ()),
    (
        "LDAP_ALLOWED_GROUP",
        "",
        "DN of the group that may sign in, nested ones included; `*`: everybody.",
        "text",
        (),
    ),
    ("LDAP_ADMIN_GROUP", "", "DN of the group of administrators; they may sign in.", "text", ()),
    ("LDAP_TIMEOUT_S", "5", "Seconds that an LDAP server has for one answer.", "integer", ()),
    ("LDAP_PASSWORD_URL", "", "Page where people change their LDAP password.", "text", ()),
    (
        "OIDC_ISSUER",
        "",
        "Issuer of OpenID Connect, such as `https://id.example.com/realms/etl`; empty: off.",
        "text",
        (),
    ),
    ("OIDC_CLIENT_ID", "", "Client that is registered there for the appliance.", "text", ()),
    ("OIDC_CLIENT_SECRET", "", "Its secret; empty for a public client.", "password", ()),
    ("OIDC_LABEL", "OpenID Connect", "Name on the button `Sign in with …`.", "text", ()),
    ("OIDC_SCOPE", "openid profile email", "Scopes to ask for.", "text", ()),
    (
        "OIDC_NAME_CLAIM",
        "preferred_username",
        "Claim with the person's name here.",
        "text",
        (),
    ),
    (
        "OIDC_GROUPS_CLAIM",
        "groups",
        "Claim with the groups; dots lead into objects, as in `realm_access.roles`.",
        "text",
        (),
    ),
    ("OIDC_ALLOWED_GROUP", "", "Group that may sign in; `*`: everybody.", "text", ()),
    ("OIDC_ADMIN_GROUP", "", "Group of administrators; they may sign in.", "text", ()),
    (
        "OIDC_CA_FILE",
        "",
        "CA certificate (PEM) of the issuer, a path in the jupyter container.",
        "text",
        (),
    ),
    (
        "OIDC_PASSWORD_URL",
        "",
        "Page where people change their password at the issuer.",
        "text",
        (),
    ),
    (
        "SIGNIN_CHECK_S",
        "300",
        "Seconds between checks that people of LDAP may still sign in; the others' sessions end.",
        "integer",
        (),
    ),
    (
        "SIGNIN_HOURS",
        "12",
        "Hours after which people have to sign in again where LDAP or OIDC cannot be asked.",
        "integer",
        (),
    ),
)

SETTINGS: tuple[Setting, ...] = (
    Setting("VIXTRACT_VERSION", __version__, "Version of the images to run."),
    Setting(
        "VIXTRACT_ENGINE",
        "embedded",
        "Scheduler engine: `embedded`, or `cronicle` where its image can be had.",
        "choice",
        ("embedded", "cronicle"),
    ),
    Setting("TZ", "UTC", "Time zone of the appliance and of schedules that name none.", "zone"),
    Setting(
        "VIXTRACT_BIND",
        "127.0.0.1",
        "Address that the ports are published on. Anything but loopback needs own passwords.",
        "address",
        group="Network",
    ),
    Setting("HTTP_PORT", "80", "Port of the web pages.", "port", group="Network"),
    Setting("HTTPS_PORT", "443", "Port of the web pages over HTTPS.", "port", group="Network"),
    Setting("POSTGRES_PORT", "5432", "Port of PostgreSQL for BI tools.", "port", group="Network"),
    Setting(
        "CRONICLE_PORT",
        "",
        "Port of Cronicle's page alone, an origin that no notebook shares; empty: at `/cronicle/`.",
        "port",
        group="Network",
    ),
    Setting(
        "HTTPS",
        "",
        "How HTTPS is served: `off`, `self-signed`, `files` or `acme`. Empty: `off` on loopback, "
        "else `self-signed`.",
        "choice",
        ("", "off", "self-signed", "files", "acme"),
        group="Network",
    ),
    Setting(
        "HTTPS_DOMAIN",
        "",
        "Names and addresses of the appliance, the main one first, separated by commas; web pages "
        "answer to no other, and certificates are made for them.",
        "names",
        group="Network",
    ),
    Setting(
        "HTTPS_ACME_EMAIL",
        "",
        "Address that the certificate authority writes to; with `HTTPS=acme`.",
        group="Network",
    ),
    Setting(
        "HTTPS_ACME_SERVER",
        "https://acme-v02.api.letsencrypt.org/directory",
        "Directory of the certificate authority; with `HTTPS=acme`.",
        group="Network",
    ),
    Setting(
        "POSTGRES_ALLOW",
        "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,::1,fc00::/7,fe80::/10",
        "Networks that may reach PostgreSQL's port, separated by commas.",
        "networks",
        group="Network",
    ),
    Setting(
        "POSTGRES_PASSWORD",
        "vixtract",
        "Password of PostgreSQL's superuser `postgres`. It opens no door: that account gets in by "
        "the socket alone.",
        "password",
        group="Passwords",
    ),
    Setting(
        "BI_PASSWORD",
        "vixtract",
        "Password of the read-only PostgreSQL login `bi`.",
        "password",
        group="Passwords",
    ),
    Setting("HUB_ADMIN", "admin", "Name of the first Hub administrator.", group="Passwords"),
    Setting(
        "HUB_ADMIN_PASSWORD",
        "vixtract",
        "Password of the first Hub administrator, used when that account is first made.",
        "password",
        group="Passwords",
    ),
    Setting(
        "CRONICLE_ADMIN_PASSWORD",
        "admin",
        "Password of Cronicle's account `admin`; the embedded engine has no login.",
        "password",
        group="Passwords",
    ),
    _limit("MAX_JOBS", "4", "Scheduled jobs that run at once; more wait in the queue."),
    _limit(
        "JOB_MEMORY_MB",
        "2048",
        "Memory of one job in MiB; a job may set its own. 0 means no limit.",
    ),
    _limit(
        "JOB_PROCESSES",
        "1024",
        "Processes and threads that one person's jobs may have together. 0 means no limit.",
    ),
    _limit(
        "SERVER_MEMORY_MB",
        "4096",
        "Memory of one person's JupyterLab server with all its kernels in MiB. 0 means no limit.",
    ),
    _limit(
        "SERVER_PROCESSES",
        "1024",
        "Processes and threads of one person's server and kernels. 0 means no limit.",
    ),
    _limit(
        "DISK_FLOOR_MB",
        "1024",
        "Free disk in MiB under which kernels and jobs that write are stopped. 0 means no floor.",
    ),
    _limit(
        "JOB_TIMEOUT_S",
        "86400",
        "Seconds after which a job is stopped where its schedule sets no limit.",
    ),
    Setting(
        "JOB_WARM",
        "on",
        "Whether notebooks start in a process that has the libraries in memory already, in a "
        "fraction of the time; `off` starts a kernel for each.",
        "choice",
        ("on", "off"),
        group="Limits",
    ),
    _limit(
        "CATCH_UP_CAP",
        "24",
        "Missed runs of one schedule that are made up for after a downtime.",
    ),
    _limit(
        "RUNS_KEEP_DAYS",
        "180",
        "Days that runs and their files are kept; a schedule's last good run stays. 0: forever.",
    ),
    _limit("RUNS_KEEP_COUNT", "1000", "Newest runs of one schedule that are kept. 0: all."),
    _limit(
        "KERNEL_IDLE_S",
        "3600",
        "Seconds after which an idle kernel is stopped; a busy one never is.",
    ),
    _limit(
        "SERVER_IDLE_S",
        "7200",
        "Seconds without kernels and use after which a person's JupyterLab server ends.",
    ),
    Setting(
        "JUPYTER_MEMORY",
        "8g",
        "Memory of the JupyterHub container with all servers and kernels in it.",
        group="Limits",
    ),
    Setting(
        "CRONICLE_MEMORY", "8g", "Memory of the job container with all jobs in it.", group="Limits"
    ),
    Setting(
        "POSTGRES_MEMORY",
        "4g",
        "Memory of the PostgreSQL container; its buffers follow from it.",
        group="Limits",
    ),
    Setting(
        "PUBLIC_URL",
        "",
        "Address of the appliance for links in messages, such as `https://etl.example.com`.",
        group="Messages",
    ),
    Setting(
        "SMTP_HOST",
        "",
        "Mail server for messages about runs; empty sends no mail.",
        group="Messages",
    ),
    Setting("SMTP_PORT", "25", "Port of the mail server.", "port", group="Messages"),
    Setting(
        "SMTP_SECURITY",
        "off",
        "Encryption to the mail server: `starttls` (port 587), `tls` (port 465) or `off`.",
        "choice",
        ("off", "starttls", "tls"),
        group="Messages",
    ),
    Setting("SMTP_USER", "", "Login at the mail server; empty for none.", group="Messages"),
    Setting("SMTP_PASSWORD", "", "Password of that login.", "password", group="Messages"),
    Setting("SMTP_FROM", "vixtract@localhost", "Sender of messages about runs.", group="Messages"),
    *(Setting(*row, group="Sign-in") for row in SIGN_IN_ROWS),
    Setting(
        "WORKERS",
        "",
        "Machines that run schedules with the target `workers`: `host`, `host:port`, with commas.",
        "workers",
        group="Workers",
    ),
    Setting(
        "IMAGE_PREFIX",
        "localhost/vixtract",
        "Registry and path of the own images; `localhost/…`: they are built here, never pulled.",
        "image_prefix",
        group="Images",
    ),
    Setting(
        "POSTGRES_IMAGE",
        "postgres:17",
        "Image of PostgreSQL that ours is built on: Debian variants of 16 or newer.",
        group="Images",
    ),
    Setting(
        "DEBIAN_IMAGE", "debian:trixie-slim", "Image that own images are built on.", group="Images"
    ),
    Setting(
        "CRONICLE_IMAGE",
        "cronicle/edge:v1.14.2",
        "Image that Cronicle is taken from; its newest version that the tests ran with.",
        group="Images",
    ),
    Setting(
        "SCHEDULER_IMAGE",
        "cronicle",
        "Image of the job container, below `IMAGE_PREFIX`; `cronicle-edge` has Cronicle in it.",
        "image_name",
        group="Images",
    ),
    Setting(
        "PIP_INDEX_URL", "", "Package index for `pip3 install` and for builds.", group="Proxies"
    ),
    Setting("HTTP_PROXY", "", "Proxy for builds and for people's processes.", group="Proxies"),
    Setting("HTTPS_PROXY", "", "The same for HTTPS.", group="Proxies"),
    Setting("NO_PROXY", "", "Names that are reached without the proxy.", group="Proxies"),
)

BY_NAME: Mapping[str, Setting] = {setting.name: setting for setting in SETTINGS}
