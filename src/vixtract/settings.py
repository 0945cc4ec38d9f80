"""The one table of settings: what each is called, its default, and what it means.

`.env.example` and `docs/reference/settings.md` are generated from it, the compose file is checked
against it, and every process reads its environment through `Settings.from_environment`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass

from vixtract import __version__, settings_signin
from vixtract.errors import SettingsError


@dataclass(frozen=True)
class Setting:
    """One setting.

    Args:
        name: environment variable.
        default: text used where the variable is unset or empty.
        help: one sentence for operators, units included.
        kind: text, integer (0 or more), port (1-65535), address, choice, password, zone or workers.
            A port whose default is empty may be empty.
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
    Setting("HTTPS", "off", "How HTTPS is served.", "choice", ("off",), group="Network"),
    Setting(
        "POSTGRES_PASSWORD",
        "vixtract",
        "Password of PostgreSQL's superuser `postgres`, set when the database is first made.",
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
    Setting(
        "MAX_JOBS",
        "4",
        "Scheduled jobs that run at once; more wait in the queue.",
        "integer",
        group="Limits",
    ),
    Setting(
        "JOB_MEMORY_MB",
        "2048",
        "Memory of one job in MiB; a job may set its own. 0 means no limit.",
        "integer",
        group="Limits",
    ),
    Setting(
        "JOB_TIMEOUT_S",
        "86400",
        "Seconds after which a job is stopped where its schedule sets no limit.",
        "integer",
        group="Limits",
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
    Setting(
        "CATCH_UP_CAP",
        "24",
        "Missed runs of one schedule that are made up for after a downtime.",
        "integer",
        group="Limits",
    ),
    Setting(
        "RUNS_KEEP_DAYS",
        "180",
        "Days that runs and their files are kept; a schedule's last good run stays. 0: forever.",
        "integer",
        group="Limits",
    ),
    Setting(
        "RUNS_KEEP_COUNT",
        "1000",
        "Newest runs of one schedule that are kept. 0: all.",
        "integer",
        group="Limits",
    ),
    Setting(
        "KERNEL_IDLE_S",
        "3600",
        "Seconds after which an idle kernel is stopped; a busy one never is.",
        "integer",
        group="Limits",
    ),
    Setting(
        "SERVER_IDLE_S",
        "7200",
        "Seconds without kernels and use after which a person's JupyterLab server ends.",
        "integer",
        group="Limits",
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

WORKER_PORT = 3013
_WORKER = r"([A-Za-z0-9][A-Za-z0-9.-]{0,252})(?::(\d{1,5}))?"
_PATTERNS: Mapping[str, tuple[str, str]] = {
    "zone": (
        "[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*",
        "is not the name of a time zone such as Europe/Moscow",
    ),
    "workers": (f"(?:{_WORKER}(?:,{_WORKER})*)?", "is no list such as worker1,worker2:3013"),
}

BY_NAME: Mapping[str, Setting] = {setting.name: setting for setting in SETTINGS}


def is_loopback(address: str) -> bool:
    """Say whether an address can be reached from this machine alone.

    Args:
        address: IP address or `localhost`; any other name counts as reachable from outside.
    """
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False


def check_value(setting: Setting, value: str) -> str:
    """Check one value against its setting.

    Args:
        setting: entry of the table.
        value: text as given in the environment.
    Returns: what is wrong in a few words, or an empty text.
    """
    if setting.kind == "integer" and not re.fullmatch(r"\d{1,9}", value):
        return "is not a whole number of 0 or more"
    is_port = setting.kind == "port" and (value or setting.default)
    if is_port and not (re.fullmatch(r"\d{1,5}", value) and 0 < int(value) < 65536):
        return "is not a port between 1 and 65535"
    if setting.kind == "choice" and value not in setting.choices:
        return "is none of " + ", ".join(setting.choices)
    if setting.kind == "address":
        try:
            ipaddress.ip_address(value.strip("[]"))
        except ValueError:
            return "is not an IP address"
    pattern, problem = _PATTERNS.get(setting.kind, ("(?s:.*)", ""))
    if not re.fullmatch(pattern, value):
        return problem
    return ""


def read_workers(value: str) -> tuple[tuple[str, int], ...]:
    """Read the setting WORKERS.

    Args:
        value: checked.
    Returns: host and port of each.
    """
    found = (re.fullmatch(_WORKER, part) for part in value.split(",") if part)
    return tuple((match[1], int(match[2] or WORKER_PORT)) for match in found if match)


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
