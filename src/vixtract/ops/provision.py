"""Provides the images that the services need: present and fresh, else pulled, else built."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vixtract.errors import PreconditionError, UsageError, VixtractError
from vixtract.ops.console import Session
from vixtract.ops.engine import install_packages, list_available
from vixtract.ops.images import (
    BASE_ID_LABEL,
    BASE_LABEL,
    CA_LABEL,
    DEBIAN_SCRIPT,
    LOCAL,
    RECIPES,
    STAND_INS,
    build_environment,
    build_image,
    build_labels,
    copy_authorities,
    find_image_id,
    is_fresh,
    look_at_image,
    name_image,
)
from vixtract.ops.instance import SERVICES, Instance
from vixtract.ops.sources import list_arguments
from vixtract.settings_table import BY_NAME

FIRST_ANSWER_S = 20.0
PULL_S = 1800.0
BUILD_S = 3600.0
#: Answers of a registry that does not have the image or does not give it away.
REFUSALS = ("pull access denied", "manifest unknown", "not found", "does not exist", "unauthorized")


def _strip_colours(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", line)


class BuildError(VixtractError):
    """An image could not be built."""


@dataclass
class Supply:
    """Provides images during one call of the command.

    Args:
        registry_answers: whether a registry answered; None before the first question.
        bases: from DEBIAN_IMAGE or POSTGRES_IMAGE to the chosen image.
        built: recipes built in this call.
    """

    session: Session
    instance: Instance
    no_cache: bool = False
    registry_answers: bool | None = None
    bases: dict[str, str] = field(default_factory=dict)
    built: list[str] = field(default_factory=list)

    def has(self, image: str) -> bool:
        """Return whether this machine has an image."""
        return look_at_image(self.session.host, image) is not None

    def pull(self, image: str) -> bool:
        """Try to pull an image. Once a registry did not answer, none is asked again.

        What is named `localhost/...` is never asked for: whoever served it could run code as root
        here, and its labels, made of public sources, would prove nothing.

        Returns: whether the image is here now.
        """
        if image.startswith(LOCAL) or self.registry_answers is False:
            return False
        console = self.session.console
        console.detail(f"asking the registry for {image}")
        done = self.session.host.stream(
            ["docker", "pull", image],
            timeout_s=PULL_S,
            first_line_s=FIRST_ANSWER_S,
            on_line=lambda line: console.detail(f"{image}: {line}"),
        )
        refused = any(word in done.stdout.lower() for word in REFUSALS)
        # "lookup …: no such host" and "dial …" mean that the registry itself was not reached.
        away = "lookup " in done.stdout or "dial " in done.stdout
        self.registry_answers = done.ok or (refused and not away)
        if done.ok:
            console.say(f"Pulled {image}")
        elif not self.registry_answers:
            console.say("No registry answers: what is missing is built on this machine.")
        return done.ok

    def ensure_base(self, setting: str) -> str:
        """Return the public image to build on, or its stand-in where it cannot be pulled.

        Raises:
            PreconditionError: the operator set an image that is absent and cannot be pulled.
        """
        if setting not in self.bases:
            self.bases[setting] = self._choose_base(setting)
        return self.bases[setting]

    def _choose_base(self, setting: str) -> str:
        wanted = self.instance.settings[setting]
        stand_in = name_image(self.instance, STAND_INS[setting])
        if wanted != stand_in and self.instance.is_set(setting, self.session.host.environment):
            if self.has(wanted) or self.pull(wanted):
                return wanted
            raise PreconditionError(
                f"{setting}={wanted} is not here and cannot be pulled.",
                f"Correct or remove {setting}.",
            )
        # A stand-in that is here was built on before. It stays when a registry answers one day:
        # the data must not get another PostgreSQL unasked.
        if wanted != stand_in and not self.has(stand_in):
            if self.has(wanted) or self.pull(wanted):
                return wanted
            self.session.console.say(f"{stand_in} stands in for {wanted}")
        if setting == "DEBIAN_IMAGE":
            return stand_in if self.has(stand_in) else self._bootstrap_debian()
        self.build(STAND_INS[setting])
        return stand_in

    def _bootstrap_debian(self) -> str:
        session, image = self.session, name_image(self.instance, "debian-offline")
        names = ["mmdebstrap", "debian-archive-keyring"]
        keys = session.host.root / "usr/share/keyrings/debian-archive-keyring.gpg"
        if not session.host.which("mmdebstrap") or not keys.is_file():
            available = list_available(session, names)
            purpose = "building Debian's image from a mirror"
            install_packages(session, [n for n in names if n in available] or names, purpose)
        session.console.say(f"Building {image} from a Debian mirror")
        self._run(["bash", str(self.instance.root / DEBIAN_SCRIPT), image], image)
        return image

    def build(self, recipe: str) -> None:
        """Build an image unless it is fresh; the images below it come first.

        Raises:
            BuildError: the build failed; its last lines have been shown.
        """
        instance, session = self.instance, self.session
        if recipe in self.built:
            return
        image = name_image(instance, recipe)
        if RECIPES[recipe].parent:
            self.build(RECIPES[recipe].parent)
        if not self.no_cache and self.is_fresh(recipe, look_at_image(session.host, image)):
            return
        declared = list_arguments((instance.root / RECIPES[recipe].dockerfile).read_text("utf-8"))
        bases = {name: self.ensure_base(name) for name in STAND_INS if name in declared}
        labels = build_labels(session.host, instance.root, recipe)
        if recipe == "postgresql":
            base = bases["POSTGRES_IMAGE"]
            labels.update({BASE_LABEL: base, BASE_ID_LABEL: find_image_id(session.host, base)})
        if CA_LABEL in labels:
            copy_authorities(session.host, instance.root)
        session.console.say(" on ".join([f"Building {image}", *bases.values()]))
        start = session.host.clock()
        self._run(build_image(instance, recipe, bases, labels, no_cache=self.no_cache), image)
        self.built.append(recipe)
        session.console.say(f"Built {image} in {session.host.clock() - start:.0f} s")

    def is_fresh(self, recipe: str, found: Mapping[str, str] | None) -> bool:
        """Return whether an image's labels match the sources and, for PostgreSQL's, its base."""
        host, instance = self.session.host, self.instance
        if found is None or not is_fresh(found, build_labels(host, instance.root, recipe)):
            return False
        if recipe != "postgresql":
            return True
        base, wanted = found.get(BASE_LABEL, ""), instance.settings["POSTGRES_IMAGE"]
        if instance.is_set("POSTGRES_IMAGE", host.environment) and base != wanted:
            return False
        stand_in = name_image(instance, STAND_INS["POSTGRES_IMAGE"])
        if base == stand_in and self.has(stand_in):
            self.build(STAND_INS["POSTGRES_IMAGE"])
        # A minor release comes by pulling the base. Without it here, the finished image counts.
        return find_image_id(host, base) in ("", found.get(BASE_ID_LABEL))

    def _run(self, command: Sequence[str], image: str) -> None:
        console = self.session.console

        def show(line: str) -> None:
            line = _strip_colours(line)
            if self.session.debug:
                console.say(line)
            elif re.match(r"Step \d+/\d+|#\d+ \[", line):
                console.detail(f"{image}: {line[:100]}")

        done = self.session.host.stream(
            command,
            timeout_s=BUILD_S,
            on_line=show,
            environment=build_environment(self.instance),
        )
        if not done.ok:
            lines = [line for line in map(_strip_colours, done.stdout.splitlines()) if line.strip()]
            for line in lines[-20:]:
                console.say(f"  {line}")
            # The classic builder ends with the whole RUN step; the line before it names the cause.
            said = [line for line in lines if not line.startswith("The command '")]
            raise BuildError(
                f"{image} could not be built: {said[-1][:200] if said else done.last_line}",
                f"All of it is shown by: {shlex.join(command)}",
            )

    def ensure_service(self, recipe: str) -> None:
        """Make sure that an image of ours is here and matches the sources.

        Args:
            recipe: name in RECIPES, or of an image that the operator made (SCHEDULER_IMAGE).
        Raises:
            PreconditionError: it is absent, and cannot be built from these sources.
        """
        instance, host = self.instance, self.session.host
        image = name_image(instance, recipe)
        labels = look_at_image(host, image)
        is_here = labels is not None or self.pull(image)
        # No image of another version may come from these sources.
        if recipe in RECIPES and _is_own_version(instance):
            if not self.is_fresh(recipe, labels or look_at_image(host, image)):
                self.build(recipe)
        elif not is_here:
            cure = f"Build it under that name, or remove SCHEDULER_IMAGE={recipe} from .env."
            if recipe in RECIPES:
                cure = "Remove VIXTRACT_VERSION from the settings to run this checkout's version."
            raise PreconditionError(f"{image} is not here and cannot be pulled.", cure)


def _is_own_version(instance: Instance) -> bool:
    version = instance.version
    released = re.fullmatch(r"\d+\.\d+\.\d+", version) is not None
    return not released or version == BY_NAME["VIXTRACT_VERSION"].default


def ensure_images(session: Session, instance: Instance, supply: Supply | None = None) -> None:
    """Make sure that all images are here and fresh; `supply` may have asked a registry already."""
    supply = supply or Supply(session, instance)
    supply.instance = instance
    for recipe in SERVICES:
        supply.ensure_service(
            instance.settings["SCHEDULER_IMAGE"] if recipe == "cronicle" else recipe
        )


def build_images(
    session: Session, instance: Instance, names: Sequence[str], *, no_cache: bool
) -> list[str]:
    """Build images from the checkout; none of them is pulled.

    Args:
        names: recipes; those of the services if empty.
    Returns: the recipes that were built, without those that were fresh.
    Raises:
        UsageError: a name is no recipe.
    """
    recipes = list(names or SERVICES)
    unknown = [name for name in recipes if name not in RECIPES]
    if unknown:
        raise UsageError(f"No image {', '.join(unknown)}.", f"There are: {', '.join(RECIPES)}")
    supply = Supply(session, instance, no_cache=no_cache)
    for recipe in recipes:
        supply.build(recipe)
    return supply.built
