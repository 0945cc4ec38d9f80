"""One appliance on this machine: its project name, its settings and where they are kept."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vixtract.errors import UsageError
from vixtract.ops.envfile import load_env, load_lines, save_env
from vixtract.secret_settings import FILE_NAMES, SECRET_NAMES, with_secrets
from vixtract.settings import Settings
from vixtract.settings_table import BY_NAME, SETTINGS
from vixtract.values import count_edits, find_similar, is_loopback

DEFAULT_PROJECT = "vixtract"
SERVICES = ("postgresql", "jupyter", "cronicle", "nginx")
SECRETS_HEADER = "# Generated secrets of this appliance. To choose your own, set them in .env."
#: Option of the command line to the setting that it stands for.
OPTIONS = {
    "http_port": "HTTP_PORT",
    "https_port": "HTTPS_PORT",
    "postgres_port": "POSTGRES_PORT",
    "bind": "VIXTRACT_BIND",
    "https": "HTTPS",
    "domain": "HTTPS_DOMAIN",
}


#: What may stand in the file besides the settings: compose's and the engine's own names, a worker's
#: compose file, and proxies as curl reads them.
KNOWN_NAMES = frozenset((*BY_NAME, *FILE_NAMES, "http_proxy", "https_proxy", "no_proxy"))
KNOWN_PREFIXES = ("COMPOSE_", "DOCKER_", "BUILDKIT_", "WORKER_")


@dataclass(frozen=True)
class Instance:
    """One appliance.

    Args:
        root: folder of the compose file.
        settings: options before environment before file before defaults.
        stored: what the file of settings says.
        given: names of settings that came by option.
        warnings: sentences about the file of settings, for the operator.
    """

    root: Path
    project: str
    env_path: Path
    settings: Settings
    stored: Mapping[str, str]
    given: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """Version of the images."""
        return self.settings["VIXTRACT_VERSION"]

    def is_set(self, name: str, environment: Mapping[str, str]) -> bool:
        """Return whether a person chose the value of a setting."""
        return bool(name in self.given or environment.get(name) or self.stored.get(name))

    def container(self, service: str) -> str:
        """Return the name of a service's container."""
        return f"{self.project}_{service}"

    def image(self, name: str) -> str:
        """Return the full name of one of the appliance's own images, such as `jupyter`."""
        return f"{self.settings['IMAGE_PREFIX']}/{name}:{self.version}"

    @property
    def local_address(self) -> str:
        """The address that reaches the published ports from this machine."""
        bind = self.settings["VIXTRACT_BIND"].strip("[]")
        if bind == "0.0.0.0":  # noqa: S104 - compared, not bound
            return "127.0.0.1"
        return {"::": "[::1]"}.get(bind, f"[{bind}]" if ":" in bind else bind)

    @property
    def base_url(self) -> str:
        """Address of the web pages as people know it, without a slash at its end."""
        domains = self.settings.domains
        name = f"[{domains[0]}]" if domains and ":" in domains[0] else (domains or [""])[0]
        return self._url(name) if name else self.local_url

    @property
    def local_url(self) -> str:
        """Address that reaches the web pages from this machine, without a slash at its end."""
        host = self.local_address
        return self._url("localhost" if is_loopback(host) and ":" not in host else host)

    def _url(self, name: str) -> str:
        scheme, setting, usual = "http", "HTTP_PORT", "80"
        if self.settings.https_mode != "off":
            scheme, setting, usual = "https", "HTTPS_PORT", "443"
        port = self.settings[setting]
        return f"{scheme}://{name}" + ("" if port == usual else f":{port}")

    @property
    def secrets_path(self) -> Path:
        """File of generated secrets, which compose never reads: containers' variables are shown."""
        return self.root / ".vixtract" / f"{self.project}.secrets"

    def variables(self) -> dict[str, str]:
        """Return what compose gets as environment: it wins over any file that compose reads.

        Secrets are empty: containers find them in the volume (`vixtract.ops.deliver`).
        """
        values = {setting.name: self.settings[setting.name] for setting in SETTINGS}
        hidden = dict.fromkeys(SECRET_NAMES, "")
        return {**values, **hidden, "COMPOSE_PROJECT_NAME": self.project}

    def changed(self, values: Mapping[str, str]) -> Instance:
        """Return the same appliance with some settings changed."""
        present = {setting.name: self.settings[setting.name] for setting in SETTINGS}
        settings = Settings.from_environment({**present, **values})
        return dataclasses.replace(self, settings=settings, given=(*self.given, *values))

    def keep(self) -> bool:
        """Write what came by option or was generated into the files of settings and of secrets.

        Returns: whether a file changed.
        """
        known = {n: self.stored.get(n) or BY_NAME[n].default for n in self.given}
        changes = {n: self.settings[n] for n in known if self.settings[n] != known[n]}
        if self.env_path.name != ".env" and not self.env_path.is_file():
            # Compose would read .env, another appliance's settings, where this file is missing.
            changes["COMPOSE_PROJECT_NAME"] = self.project
        # A secret stays in the file that a person wrote it into.
        own = {n: v for n, v in changes.items() if n in SECRET_NAMES and not self.stored.get(n)}
        rest = {name: value for name, value in changes.items() if name not in own}
        kept = bool(own) and save_env(self.secrets_path, own, header=SECRETS_HEADER)
        return (bool(rest) and save_env(self.env_path, rest)) or kept


def load_instance(
    root: Path, options: Mapping[str, str | None], environment: Mapping[str, str]
) -> Instance:
    """Return the appliance that options, environment and files name, with its settings.

    Args:
        options: `project` and the keys of OPTIONS, None where not given; others are ignored.
    Raises:
        UsageError: the project name has a wrong form.
        SettingsError: settings are wrong; all of them are named.
    """
    default = load_env(root / ".env").get("COMPOSE_PROJECT_NAME") or DEFAULT_PROJECT
    project = options.get("project") or environment.get("COMPOSE_PROJECT_NAME") or default
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", project):
        raise UsageError(
            f"{project!r} is no project name.", "Use small letters, digits, _ and -, 63 at most."
        )
    env_path = root / ".env" if project == default else root / ".vixtract" / f"{project}.env"
    stored = load_env(env_path)
    by_option = {OPTIONS[name]: str(options[name]) for name in OPTIONS if options.get(name)}
    by_environment = {}
    for setting in SETTINGS:
        # Proxies are written in small letters as often as in capitals.
        small = setting.name.lower() if setting.group == "Proxies" else setting.name
        value = environment.get(setting.name) or environment.get(small)
        if value:
            by_environment[setting.name] = value
    files = {n: environment.get(n) or stored.get(n, "") for n in FILE_NAMES}
    # A file named in the environment wins over a value in .env, as everything there does.
    for name in (n.removesuffix("_FILE") for n in FILE_NAMES if environment.get(n)):
        if name not in by_environment:
            stored.pop(name, None)
    given = {**stored, **by_environment, **by_option, **files}
    chosen = {n: v for n, v in with_secrets(given, root=root, delivered=None).items() if v}
    generated = load_env(root / ".vixtract" / f"{project}.secrets")
    lines = load_lines(env_path)
    shown = env_path.relative_to(root)
    sources = {
        **{name: f"{shown}, line {number}" for name, number in lines.items()},
        **dict.fromkeys(by_environment, "from the environment"),
        **{OPTIONS[n]: f"option --{n.replace('_', '-')}" for n in OPTIONS if options.get(n)},
    }
    problems, warnings = judge_names(lines, str(shown))
    settings = Settings.from_environment({**generated, **chosen}, sources, problems)
    return Instance(root, project, env_path, settings, stored, tuple(by_option), tuple(warnings))


def judge_names(lines: Mapping[str, int], file: str) -> tuple[list[str], list[str]]:
    """Look for names in a file of settings that mean nothing to the appliance.

    Args:
        lines: name to the number of its line.
        file: name of the file, for messages.
    Returns: problems with names that are one letter away from a setting's, and warnings about
        other unknown names.
    """
    problems: list[str] = []
    warnings: list[str] = []
    for name, number in lines.items():
        if name in KNOWN_NAMES or name.startswith(KNOWN_PREFIXES):
            continue
        meant = find_similar(name, BY_NAME)
        asked = f"; did you mean {meant}?" if meant else ""
        text = f"{name} ({file}, line {number}) is not a setting{asked}"
        is_slip = meant and count_edits(name, meant) == 1
        (problems if is_slip else warnings).append(text)
    return problems, warnings
