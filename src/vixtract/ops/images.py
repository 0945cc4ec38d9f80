"""The images of the appliance: how each is built, and whether one matches the sources."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from vixtract.ops.host import Host
from vixtract.ops.instance import Instance
from vixtract.ops.sources import CA_FILE, hash_files, list_arguments, list_files
from vixtract.values import is_loopback

SOURCE_LABEL = "vixtract.source"
CA_LABEL = "vixtract.ca"
#: Labels of PostgreSQL's image: name and ID of the image that it was built on.
BASE_LABEL = "vixtract.base"
BASE_ID_LABEL = "vixtract.base.id"
#: From the setting that names a public image to the recipe of its stand-in where no registry is.
STAND_INS = {"DEBIAN_IMAGE": "debian-offline", "POSTGRES_IMAGE": "postgres-offline"}
#: A stand-in has the tag of the image that it replaces.
STAND_IN_TAGS = {"debian-offline": "trixie-slim", "postgres-offline": "17"}
#: No registry serves names that begin so: such an image is made on this machine, or absent.
LOCAL = "localhost/"
DEBIAN_SCRIPT = "docker/offline/debian/build.sh"
#: Passed to builds by name: their values may hold a password, and argument lists are public.
PASSED_ON = ("PIP_INDEX_URL", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@dataclass(frozen=True)
class Recipe:
    """How one image is built; `parent` is the recipe below it, empty for a public image."""

    name: str
    dockerfile: str
    parent: str = ""


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("base", "docker/base/Dockerfile"),
        Recipe("jupyter", "jupyter/Dockerfile", "base"),
        Recipe("cronicle", "cronicle/Dockerfile", "base"),
        Recipe("cronicle-edge", "cronicle/Dockerfile.edge", "cronicle"),
        Recipe("nginx", "nginx/Dockerfile"),
        Recipe("postgresql", "postgresql/Dockerfile"),
        Recipe("postgres-offline", "docker/offline/postgresql/Dockerfile"),
    )
}


def name_image(instance: Instance, recipe: str) -> str:
    """Return the full name of an image of ours, stand-ins included."""
    if recipe in STAND_IN_TAGS:
        return f"{instance.settings['IMAGE_PREFIX']}/{recipe}:{STAND_IN_TAGS[recipe]}"
    return instance.image(recipe)


def source_hash(root: Path, recipe: str) -> str:
    """Return a hash of the files that go into an image and into the images below it."""
    entry = RECIPES[recipe]
    below = source_hash(root, entry.parent) if entry.parent else ""
    return hash_files(root, list_files(root, entry.dockerfile), below)


def find_authorities(host: Host) -> Path | None:
    """Find the bundle of certificate authorities that this machine trusts."""
    named = host.environment.get("SSL_CERT_FILE", "")
    usual = ("etc/ssl/certs/ca-certificates.crt", "etc/pki/tls/certs/ca-bundle.crt")
    places = ([Path(named)] if named else []) + [host.root / path for path in usual]
    return next((path for path in places if path.is_file()), None)


def authorities_hash(host: Host) -> str:
    """Return a hash of this machine's certificate authorities, or `none` where it has no bundle."""
    bundle = find_authorities(host)
    return hash_files(bundle.parent, [bundle.name], CA_FILE) if bundle else "none"


def copy_authorities(host: Host, root: Path) -> None:
    """Copy the machine's certificate authorities into the build context, if they have changed."""
    bundle = find_authorities(host)
    target = root / CA_FILE
    content = bundle.read_bytes() if bundle else b""
    # Writing the same bytes again would change the time stamp for nothing.
    if not target.is_file() or target.read_bytes() != content:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(0o644)


def build_image(
    instance: Instance,
    recipe: str,
    bases: Mapping[str, str],
    labels: Mapping[str, str],
    *,
    no_cache: bool,
) -> list[str]:
    """Return the command that builds an image; it suits the classic builder and BuildKit.

    Args:
        bases: from DEBIAN_IMAGE or POSTGRES_IMAGE to the image to build on.
    """
    entry = RECIPES[recipe]
    declared = list_arguments((instance.root / entry.dockerfile).read_text("utf-8"))
    command = ["docker", "build", "--tag", name_image(instance, recipe)]
    command += ["--file", str(instance.root / entry.dockerfile)]
    values = {
        "BASE_IMAGE": instance.image("base"),
        "SCHEDULER_BASE": instance.image("cronicle"),
        "CRONICLE_IMAGE": instance.settings["CRONICLE_IMAGE"],
        **bases,
    }
    for name in sorted(declared & set(values)):
        command += ["--build-arg", f"{name}={values[name]}"]
    for name in PASSED_ON:
        # Builders know the proxies without ARG; other names must be declared.
        if instance.settings[name] and (name in declared or name.endswith("_PROXY")):
            command += ["--build-arg", name]
    for name, value in labels.items():
        command += ["--label", f"{name}={value}"]
    if _is_local_proxy(instance):
        command += ["--network", "host"]
    return [*command, *(["--no-cache"] if no_cache else []), str(instance.root)]


def _is_local_proxy(instance: Instance) -> bool:
    """Return whether a proxy listens on loopback, which a build's own network does not reach."""
    names = ("HTTP_PROXY", "HTTPS_PROXY")
    return any(is_loopback(urlsplit(instance.settings[name]).hostname or "") for name in names)


def build_environment(instance: Instance) -> dict[str, str]:
    """Return the variables that `build_image` passes on by name."""
    return {name: instance.settings[name] for name in PASSED_ON if instance.settings[name]}


def look_at_image(host: Host, image: str) -> dict[str, str] | None:
    """Return an image's labels, or None if this machine does not have it."""
    command = ["docker", "image", "inspect", "--format", "{{json .Config.Labels}}", image]
    answer = host.run(command, timeout_s=30)
    return (json.loads(answer.stdout) or {}) if answer.ok else None


def find_image_id(host: Host, image: str) -> str:
    """Return an image's ID, or an empty string if this machine does not have it."""
    command = ["docker", "image", "inspect", "--format", "{{.Id}}", image]
    answer = host.run(command, timeout_s=30)
    return answer.stdout.strip() if answer.ok else ""


def build_labels(host: Host, root: Path, recipe: str) -> dict[str, str]:
    """Return the labels of an image that is built from the present sources."""
    labels = {SOURCE_LABEL: source_hash(root, recipe)}
    if recipe in ("base", "jupyter", "cronicle", "cronicle-edge"):
        labels[CA_LABEL] = authorities_hash(host)
    return labels


def is_fresh(found: Mapping[str, str] | None, wanted: Mapping[str, str]) -> bool:
    """Return whether labels of an image (None: it is absent) match those of `build_labels`."""
    if found is None or found.get(SOURCE_LABEL) != wanted[SOURCE_LABEL]:
        return False
    # A published image holds the authorities of no host, and its label says none.
    return found.get(CA_LABEL, "none") in (wanted.get(CA_LABEL, "none"), "none")
