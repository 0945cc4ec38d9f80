"""Names of the images under test; `IMAGE_PREFIX` lets several checkouts share one engine."""

from __future__ import annotations

import functools
import os

from tests.images.docker_cli import has_image
from vixtract import __version__
from vixtract.ops.images import STAND_IN_TAGS, STAND_INS
from vixtract.settings_table import BY_NAME

PREFIX = os.environ.get("IMAGE_PREFIX") or BY_NAME["IMAGE_PREFIX"].default


def own_image(name: str, tag: str = __version__) -> str:
    """Return the full name of an own image, such as `jupyter`."""
    return f"{PREFIX}/{name}:{tag}"


@functools.cache
def public_or_stand_in(setting: str) -> str:
    """Return a public image, or what `up` builds where none can be pulled.

    Args:
        setting: setting that names the public image; the environment's value wins.
    """
    stand_in = STAND_INS[setting]
    built = own_image(stand_in, STAND_IN_TAGS[stand_in])
    usual = built if has_image(built) else BY_NAME[setting].default
    return os.environ.get(setting) or usual


def postgres_base() -> str:
    """Return the image of PostgreSQL that ours is built on."""
    return public_or_stand_in("POSTGRES_IMAGE")


def debian_base() -> str:
    """Return the image of Debian that ours are built on."""
    return public_or_stand_in("DEBIAN_IMAGE")
