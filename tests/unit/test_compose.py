"""The compose files against the table of settings and the promises of the design."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.images.test_compose_more import SETS
from vixtract.cronicle_edge.paths import LEDGER
from vixtract.people.accounts import DATABASE, SECRETS
from vixtract.settings import list_read
from vixtract.settings_table import BY_NAME
from vixtract.stores import HOST_STORES, MANY_NODES, ONE_NODE, STORES

ROOT = Path(__file__).parents[2]
FILES = ("docker-compose.yml", "docker-compose.build.yml")
COMPOSE = yaml.safe_load((ROOT / FILES[0]).read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::-([^}]*))?\}")


@pytest.mark.parametrize("name", FILES)
def test_every_variable_is_a_setting_with_the_same_default(name):
    for variable, default in VARIABLE.findall((ROOT / name).read_text(encoding="utf-8")):
        if variable == "COMPOSE_PROJECT_NAME":
            assert default == "vixtract"
        else:
            # Defaults of secrets are filled in inside: `docker inspect` shows the environment.
            wanted = "" if BY_NAME[variable].is_secret else BY_NAME[variable].default
            assert default == wanted, variable


def test_every_compose_file_is_tried_with_both_generations_of_compose():
    tried = {*FILES, *(name for files in SETS for name in files)}
    assert {path.name for path in ROOT.glob("docker-compose*.y*ml")} == tried


def test_four_services_with_the_names_users_rely_on():
    assert sorted(SERVICES) == ["cronicle", "jupyter", "nginx", "postgresql"]
    for name, service in SERVICES.items():
        assert service["container_name"] == "${COMPOSE_PROJECT_NAME:-vixtract}_" + name
    assert SERVICES["cronicle"]["hostname"] == "vixtract_primary-cronicle-server"


def test_only_nginx_publishes_ports_and_each_on_the_chosen_address():
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["nginx"]
    assert all(p.startswith("${VIXTRACT_BIND:-127.0.0.1}:") for p in SERVICES["nginx"]["ports"])


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_each_service_heals_and_is_bounded(name):
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["init"] is (name != "postgresql")  # the compose file says why
    assert service["logging"]["options"]["max-size"]
    assert service["mem_limit"]
    assert service["stop_grace_period"]
    assert service["cap_drop"] == ["ALL"]
    if name != "jupyter":  # admins may use sudo there
        assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_each_service_has_a_health_check(name):
    if "healthcheck" not in SERVICES[name]:
        assert "\nHEALTHCHECK " in (ROOT / name / "Dockerfile").read_text(encoding="utf-8")


def test_images_have_our_prefix_and_this_version():
    prefix, version = "${IMAGE_PREFIX:-localhost/vixtract}/", ":${VIXTRACT_VERSION:-0.1.0}"
    assert {name: service["image"] for name, service in SERVICES.items()} == {
        "postgresql": f"{prefix}postgresql{version}",
        "jupyter": f"{prefix}jupyter{version}",
        "cronicle": f"{prefix}${{SCHEDULER_IMAGE:-cronicle}}{version}",
        "nginx": f"{prefix}nginx{version}",
    }


def test_file_works_alone_with_named_volumes_only():
    mounted = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    assert {volume.split(":")[0] for volume in mounted} == set(COMPOSE["volumes"])
    assert not any("build" in service for service in SERVICES.values())


def test_volumes_and_mounts_are_those_of_the_table_of_stores():
    worker = yaml.safe_load((ROOT / WORKER).read_text(encoding="utf-8"))
    services = {**SERVICES, "worker": worker["services"]["worker"]}
    mounted = {
        name: {
            service: mount.partition(":")[2]
            for service, entry in services.items()
            for mount in entry.get("volumes", [])
            if mount.partition(":")[0] == name
        }
        for name in COMPOSE["volumes"]
    }
    assert mounted == {store.name: dict(store.mounts) for store in STORES}
    assert set(worker["volumes"]) == {s.name for s in STORES if "worker" in s.mounts}


def test_each_store_has_an_owner_that_writes_it_an_identity_and_its_access():
    for store in STORES:
        assert ":ro" not in store.mounts[store.owner], store.name
        # A socket leads to a process of the same machine only.
        is_shared = len(store.mounts) > 1 and not store.name.endswith("-socket")
        assert store.access == (MANY_NODES if is_shared else ONE_NODE), store.name
    folders = {store.name: store.mounts[store.owner].partition(":")[0] for store in STORES}
    known = {s.name: Path(folders[s.name], s.identity) for s in STORES if s.identity}
    assert known == {
        "postgresql": Path("/var/lib/postgresql/data/PG_VERSION"),
        "jupyter-data": DATABASE,
        "secrets": SECRETS / "role_key",
        "cronicle-data": LEDGER,
    }
    # What no backup has is made anew at each start.
    assert [store.name for store in STORES if not store.in_backup] == ["postgresql-socket"]
    assert {store.name for store in HOST_STORES if store.in_backup} == {".env", ".vixtract"}


def test_homes_and_libraries_are_read_only_for_jobs():
    volumes = SERVICES["cronicle"]["volumes"]
    assert "jupyter-home:/home:ro,nocopy" in volumes
    assert "jupyter-libs:/usr/local:ro,nocopy" in volumes


WORKER = "docker-compose.worker.yml"
# Variables of a container that are no settings.
FIXED = {"VIXTRACT_PROJECT", "POSTGRES_DB", "POSTGRES_INITDB_ARGS"}


@pytest.mark.parametrize(
    ("file", "name"), [*((FILES[0], name) for name in sorted(SERVICES)), (WORKER, "worker")]
)
def test_each_container_is_handed_exactly_what_its_processes_read(file, name):
    compose = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))
    given = {k: v for k, v in compose["services"][name]["environment"].items() if k not in FIXED}
    assert sorted(given) == sorted(list_read(name))
    for setting, value in given.items():
        default = "" if BY_NAME[setting].is_secret else BY_NAME[setting].default
        required = r"\$\{POSTGRES_HOST:\?[^}]+\}"
        assert value == f"${{{setting}:-{default}}}" or re.fullmatch(required, value)


def test_what_only_compose_reads_stands_in_its_files():
    files = (*FILES, WORKER, "docker-compose.cronicle-port.yml")
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in files)
    used = set(re.findall(r"\$\{(\w+)", text))
    assert {name for name, row in BY_NAME.items() if row.readers & {"compose", "build"}} <= used
    # All that is left is the operator's command's own.
    assert all(BY_NAME[name].readers == {"ops"} for name in set(BY_NAME) - used)


def test_a_shared_volume_is_filled_from_one_image_only():
    # Where the mount points hold nothing in any image there is nothing to copy.
    empty = {"secrets", "runs"}
    copying = [
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if "nocopy" not in volume
    ]
    assert {name for name in copying if copying.count(name) > 1} <= empty


def test_postgresql_and_the_hub_alone_share_the_superuser_s_socket():
    mount = "postgresql-socket:/srv/postgresql/socket:nocopy"
    sharing = [name for name, service in SERVICES.items() if mount in service["volumes"]]
    assert sorted(sharing) == ["jupyter", "postgresql"]
    others = [v for s in SERVICES.values() for v in s["volumes"] if v.startswith("postgresql-s")]
    assert set(others) == {mount}
    # The mode of the directory above keeps everybody else from it; the entry point sets it too.
    dockerfile = (ROOT / "jupyter/Dockerfile").read_text(encoding="utf-8")
    assert "install -d -m 0700 /srv/postgresql;" in dockerfile


def test_the_hub_s_container_does_not_get_the_superuser_s_password():
    assert "POSTGRES_PASSWORD" not in SERVICES["jupyter"]["environment"]


def test_the_file_reads_as_a_map():
    lines = (ROOT / FILES[0]).read_text(encoding="utf-8").splitlines()
    settings = [line for line in lines if re.fullmatch(r" +([A-Z_]+): \$\{\1:-.*\}", line)]
    assert len(lines) - len(settings) <= 150
    # Programs have a file of their own, which is linted.
    assert not any({"entrypoint", "command"} & set(service) for service in SERVICES.values())
