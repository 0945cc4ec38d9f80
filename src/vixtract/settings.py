"""The one table of settings: what each is called, its default, and what it means.

`.env.example` and `docs/reference/settings.md` are generated from it, the compose file is checked
against it, and every process reads its environment through `Settings.from_environment`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from vixtract import __version__, settings_signin
from vixtract.errors import SettingsError
from vixtract.values import check_kind, is_loopback, read_workers, split_list

__all__ = [
    "BY_NAME",
    "SETTINGS",
    "Setting",
    "Settings",
    "check_value",
    "is_loopback",
    "read_workers",
]


@dataclass(frozen=True)
class Setting:
    """One setting.

    Args:
        name: environment variable.
        default: text used where the variable is unset or empty.
        help: one sentence for operators, units included.
        kind: text, integer (0 or more), port (1-65535), address, choice, password, zone, workers,
            names (host names and addresses) or networks; several are separated by commas. A port
            whose default is empty may be empty.
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
    Setting("POSTGRES_MEMORY", "4g", "Memory of the PostgreSQL container.", group="Limits"),
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
    *(Setting(*row, group=settings_signin.GROUP) for row in settings_signin.ROWS),
    Setting(
        "WORKERS",
        "",
        "Machines that run schedules with the target `workers`: `host`, `host:port`, with commas.",
        "workers",
        group="Workers",
    ),
    Setting("POSTGRES_IMAGE", "postgres:17", "Image of PostgreSQL.", group="Images"),
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
        "vixtract/cronicle",
        "Image of the job container without its tag; `vixtract/cronicle-edge` has Cronicle in it.",
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


def check_value(setting: Setting, value: str) -> str:
    """Check one value against its setting.

    Args:
        setting: entry of the table.
        value: text as given in the environment.
    Returns: what is wrong in a few words, or an empty text.
    """
    if setting.kind == "port" and not (value or setting.default):
        return ""
    return check_kind(setting.kind, setting.choices, value)


class Settings:
    """Checked settings of one process.

    Args:
        values: name to text for every setting of the table.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read all settings, defaults filled in.

        Args:
            environment: usually ``os.environ``; other names in it are ignored.
        Raises:
            SettingsError: names every wrong value at once; values of passwords are not shown.
        """
        values = {s.name: environment.get(s.name) or s.default for s in SETTINGS}
        problems = []
        for setting in SETTINGS:
            problem = check_value(setting, values[setting.name])
            if problem:
                shown = "(hidden)" if setting.is_secret else repr(values[setting.name])
                problems.append(f"{setting.name}={shown} {problem}")
        problems += settings_signin.find_problems(values)
        if problems:
            raise SettingsError(
                "Wrong settings: " + "; ".join(problems), "Correct them in .env and start again."
            )
        return cls(values)

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __repr__(self) -> str:
        shown = {n: "***" if BY_NAME[n].is_secret else v for n, v in self._values.items()}
        return f"Settings({shown})"

    def integer(self, name: str) -> int:
        """Return a setting of kind integer or port as a number."""
        return int(self._values[name])

    @property
    def https_mode(self) -> str:
        """How HTTPS is served: off, self-signed, files or acme."""
        usual = "off" if is_loopback(self["VIXTRACT_BIND"]) else "self-signed"
        return self["HTTPS"] or usual

    @property
    def domains(self) -> list[str]:
        """The appliance's own names and addresses, the main one first."""
        return split_list(self["HTTPS_DOMAIN"])

    def certificate_names(self, *more: str) -> list[str]:
        """Return the names and addresses that a certificate of our own making is for.

        Args:
            more: names beside those of the settings.
        """
        bind = self["VIXTRACT_BIND"].strip("[]")
        # "Every address" is none that anybody connects to.
        bound = [] if ipaddress.ip_address(bind).is_unspecified else [bind]
        names = [*self.domains, *more, *bound, "localhost", "127.0.0.1", "::1"]
        return list(dict.fromkeys(names))

    def default_passwords(self, *names: str) -> list[str]:
        """Name the given passwords (all, if none is given) that are the documented defaults."""
        # An empty one is no password that anybody could know.
        wanted = names or tuple(s.name for s in SETTINGS if s.is_secret and s.default)
        return [n for n in wanted if self._values[n] == BY_NAME[n].default]

    def check_exposure(self, *names: str) -> None:
        """Refuse documented passwords on an address that others can reach.

        Args:
            names: passwords that the calling service uses; all, if none is given.
        Raises:
            SettingsError: names the passwords that must be set.
        """
        weak = self.default_passwords(*names)
        if weak and not is_loopback(self["VIXTRACT_BIND"]):
            raise SettingsError(
                f"VIXTRACT_BIND={self['VIXTRACT_BIND']} publishes this service, but "
                f"{', '.join(weak)} still has the documented default.",
                "Set own passwords in .env, or run `./vixtract up --bind "
                f"{self['VIXTRACT_BIND']}`, which generates them.",
            )
