"""Images: what goes into them, when they are rebuilt, where they come from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.unit.ops_fakes import OK, FakeHost, make_session
from vixtract.errors import PreconditionError, UsageError
from vixtract.ops.host import Completed, Host
from vixtract.ops.images import (
    RECIPES,
    authorities_hash,
    build_environment,
    build_image,
    build_labels,
    copy_authorities,
    is_fresh,
    source_hash,
)
from vixtract.ops.instance import SERVICES, load_instance
from vixtract.ops.linters import list_tracked
from vixtract.ops.provision import BuildError, Supply, build_images, ensure_images
from vixtract.ops.sources import (
    CA_FILE,
    IgnoreFile,
    hash_files,
    list_arguments,
    list_copied,
    list_files,
)

ROOT = Path(__file__).parents[2]
PREFIX = "localhost/vixtract"
OFFLINE_DEBIAN = f"{PREFIX}/debian-offline:trixie-slim"
OFFLINE_POSTGRES = f"{PREFIX}/postgres-offline:17"
#: In the order in which they are built.
OWN = ("postgresql", "base", "jupyter", "cronicle", "nginx")
NO_REGISTRY = Completed(
    1, 'Get "https://registry/v2/": dial tcp: lookup registry on 1.2.3.4:53: no such host'
)
NOT_THERE = Completed(
    1, "pull access denied for registry.example.com/etl/jupyter, repository does not exist"
)
ABSENT = Completed(1, "", "No such image")

DOCKERFILE = """\
ARG DEBIAN_IMAGE=debian
FROM ${DEBIAN_IMAGE} AS build
# COPY nothing /
COPY --chown=1:1 src \\
     # a remark inside
     tool.sh /app/
COPY ["with space", "/x"]
ADD https://example.org/x /x
FROM ${BASE_IMAGE}
ARG PIP_INDEX_URL=
COPY --from=build /app /app
"""


def repository(root):
    """Lay out the smallest repository that has all recipes."""
    for recipe in RECIPES.values():
        file = root / recipe.dockerfile
        file.parent.mkdir(parents=True, exist_ok=True)
        parent = "BASE_IMAGE" if recipe.parent else "DEBIAN_IMAGE"
        parent = "POSTGRES_IMAGE" if recipe.name == "postgresql" else parent
        file.write_text(f"ARG {parent}=x\nFROM ${{{parent}}}\nARG PIP_INDEX_URL\nCOPY src /src\n")
    (root / "src").mkdir()
    (root / "src/code.py").write_text("1")
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True)
    bundle.write_text("authority")
    return load_instance(root, {"project": "p1"}, {})


def test_a_dockerfile_is_read():
    assert list_copied(DOCKERFILE) == ["src", "tool.sh", "with space"]
    assert list_arguments(DOCKERFILE) == {"DEBIAN_IMAGE", "PIP_INDEX_URL"}


def test_the_real_dockerfiles_can_be_read():
    for recipe in RECIPES.values():
        if (ROOT / recipe.dockerfile).is_file():
            files = list_files(ROOT, recipe.dockerfile)
            assert all((ROOT / name).is_file() for name in files)
    assert "docker/base/requirements.txt" in list_files(ROOT, "docker/base/Dockerfile")


def test_dockerignore_rules():
    ignore = IgnoreFile("# allow-list\n*\n!src\n!a/b*.txt\n**/__pycache__\n**/*.pyc\nsrc/x?\n")
    allowed = ["src/a.py", "src/deep/b.py", "a/b1.txt"]
    refused = ["other", "other/f", "src/__pycache__/a", "src/d/a.pyc", "src/x1", "a/c.txt", "x.pyc"]
    assert [path for path in allowed + refused if ignore.allows(path)] == allowed


def test_files_that_the_build_ignores_do_not_count(tmp_path):
    instance = repository(tmp_path)
    (tmp_path / ".dockerignore").write_text("**/*.pyc\n")
    before = source_hash(instance.root, "nginx")
    (tmp_path / "src/code.pyc").write_text("x")
    (tmp_path / "unrelated").write_text("x")
    assert source_hash(instance.root, "nginx") == before


@pytest.mark.parametrize("change", ["content", "mode", "name", "new", "dockerfile", "link"])
def test_every_change_of_what_goes_in_counts(tmp_path, change):
    instance = repository(tmp_path)
    before = source_hash(instance.root, "nginx")
    code = tmp_path / "src/code.py"
    if change == "content":
        code.write_text("2")
    elif change == "mode":
        code.chmod(0o755)
    elif change == "name":
        code.rename(tmp_path / "src/other.py")
    elif change == "new":
        (tmp_path / "src/empty").write_text("")
    elif change == "link":
        (tmp_path / "src/link").symlink_to("code.py")
    else:
        with (tmp_path / "nginx/Dockerfile").open("a") as file:
            file.write("# more\n")
    assert source_hash(instance.root, "nginx") != before


def test_a_change_below_counts_above_but_not_beside(tmp_path):
    instance = repository(tmp_path)
    before = {name: source_hash(instance.root, name) for name in RECIPES}
    with (tmp_path / "docker/base/Dockerfile").open("a") as file:
        file.write("# more\n")
    after = {name: source_hash(instance.root, name) for name in RECIPES}
    changed = {name for name in RECIPES if before[name] != after[name]}
    assert changed == {"base", "jupyter", "cronicle", "cronicle-edge"}


def test_names_and_contents_cannot_be_mistaken_for_each_other(tmp_path):
    (tmp_path / "a").write_text("bc")
    (tmp_path / "ab").write_text("c")
    assert hash_files(tmp_path, ["a"]) != hash_files(tmp_path, ["ab"])


def test_the_machines_authorities_are_copied_only_when_they_change(tmp_path):
    instance = repository(tmp_path)
    host = FakeHost(tmp_path)
    copy_authorities(host, instance.root)
    target = tmp_path / CA_FILE
    assert target.read_text() == "authority"
    stamp = target.stat().st_mtime_ns
    copy_authorities(host, instance.root)
    assert target.stat().st_mtime_ns == stamp
    number = authorities_hash(host)
    own = tmp_path / "own.pem"
    own.write_text("other")
    named = FakeHost(tmp_path, environment={"SSL_CERT_FILE": str(own)})
    assert authorities_hash(named) != number
    copy_authorities(named, instance.root)
    assert target.read_text() == "other"


def test_freshness():
    wanted = {"vixtract.source": "1", "vixtract.ca": "a"}
    assert is_fresh({"vixtract.source": "1", "vixtract.ca": "a"}, wanted)
    assert is_fresh({"vixtract.source": "1"}, wanted), "a published image has no host's authorities"
    assert not is_fresh(None, wanted)
    assert not is_fresh({}, wanted)
    assert not is_fresh({"vixtract.source": "2", "vixtract.ca": "a"}, wanted)
    assert not is_fresh({"vixtract.source": "1", "vixtract.ca": "b"}, wanted)


def test_a_build_command_holds_no_secret(tmp_path):
    repository(tmp_path)
    environment = {
        "PIP_INDEX_URL": "https://me:secret@index/simple",
        "HTTPS_PROXY": "http://me:secret@proxy:3128",
    }
    instance = load_instance(tmp_path, {}, environment)
    command = build_image(instance, "jupyter", {}, {"vixtract.source": "1"}, no_cache=True)
    assert command == [
        "docker", "build", "--tag", "localhost/vixtract/jupyter:0.1.0",
        "--file", str(tmp_path / "jupyter/Dockerfile"),
        "--build-arg", "BASE_IMAGE=localhost/vixtract/base:0.1.0",
        "--build-arg", "PIP_INDEX_URL", "--build-arg", "HTTPS_PROXY",
        "--label", "vixtract.source=1", "--no-cache", str(tmp_path),
    ]  # fmt: skip
    assert build_environment(instance) == environment


def test_a_proxy_on_loopback_is_reached_from_the_build(tmp_path):
    repository(tmp_path)
    instance = load_instance(tmp_path, {}, {"HTTP_PROXY": "http://127.0.0.1:3128"})
    command = build_image(instance, "nginx", {"DEBIAN_IMAGE": "debian:x"}, {}, no_cache=False)
    assert command[command.index("--network") + 1] == "host"
    assert "DEBIAN_IMAGE=debian:x" in command


class Images(FakeHost):
    """A machine whose engine keeps images; builds and pulls add to them."""

    def __init__(self, root, have=(), pulls=NO_REGISTRY):
        super().__init__(root, programs=["mmdebstrap", "bash"])
        keys = root / "usr/share/keyrings/debian-archive-keyring.gpg"
        keys.parent.mkdir(parents=True, exist_ok=True)
        keys.write_text("")
        self.have = {name: {} for name in have}
        self.numbers = {}
        self.pulls = pulls

    def _answer(self, argv, arguments):
        self.calls.append(" ".join(argv))
        if argv[:3] == ["docker", "image", "inspect"]:
            labels = self.have.get(argv[-1])
            if labels is not None and "{{.Id}}" in argv:
                return Completed(0, self.numbers.get(argv[-1], f"id of {argv[-1]}") + "\n")
            return ABSENT if labels is None else Completed(0, json.dumps(labels))
        if argv[:2] == ["docker", "pull"]:
            answer = (
                self.pulls.get(argv[2], NOT_THERE) if isinstance(self.pulls, dict) else self.pulls
            )
            if answer.ok:
                self.have[argv[2]] = {}
            return answer
        if argv[0] == "bash":
            self.have[argv[-1]] = {}
            return OK
        assert argv[:2] == ["docker", "build"]
        labels = [argv[i + 1].split("=", 1) for i, word in enumerate(argv) if word == "--label"]
        self.have[argv[argv.index("--tag") + 1]] = dict(labels)
        return Completed(0, "Step 1/2 : FROM x\nnoise\n")

    def built(self):
        return [line.split("--tag ")[1].split()[0] for line in self.called("^docker build")]


def test_without_a_registry_everything_is_built_once(tmp_path):
    instance = repository(tmp_path)
    host = Images(tmp_path)
    session = make_session(host, yes=True)
    ensure_images(session, instance)
    assert host.built() == [OFFLINE_POSTGRES, *(f"{PREFIX}/{name}:0.1.0" for name in OWN)]
    assert f"POSTGRES_IMAGE={OFFLINE_POSTGRES}" in host.called("docker build.*/postgresql:")[0]
    assert len(host.called("^docker pull")) == 1, "a silent registry is asked once"
    assert session.console.text.count("No registry answers") == 1
    assert host.called(f"build.sh {OFFLINE_DEBIAN}")
    again = Images(tmp_path, pulls=OK)
    again.have = host.have
    ensure_images(make_session(again), instance)
    assert again.built() == [] and not again.called("docker pull")
    # A registry that answers one day does not put another PostgreSQL under the data.
    with (tmp_path / "postgresql/Dockerfile").open("a") as file:
        file.write("# more\n")
    ensure_images(make_session(again), instance)
    assert again.built() == [f"{PREFIX}/postgresql:0.1.0"] and not again.called("docker pull")
    assert f"POSTGRES_IMAGE={OFFLINE_POSTGRES}" in again.called("docker build")[0]


def test_only_what_changed_is_rebuilt(tmp_path):
    instance = repository(tmp_path)
    host = Images(tmp_path)
    ensure_images(make_session(host), instance)
    host.calls.clear()
    with (tmp_path / "cronicle/Dockerfile").open("a") as file:
        file.write("# more\n")
    ensure_images(make_session(host), instance)
    assert host.built() == ["localhost/vixtract/cronicle:0.1.0"]
    with (tmp_path / "docker/offline/postgresql/Dockerfile").open("a") as file:
        file.write("# more\n")
    # Rebuilt, it is another image.
    host.numbers[OFFLINE_POSTGRES] = "new"
    host.calls.clear()
    ensure_images(make_session(host), instance)
    assert host.built() == [OFFLINE_POSTGRES, f"{PREFIX}/postgresql:0.1.0"]


def test_a_newer_base_of_postgresql_is_built_on(tmp_path):
    instance = repository(tmp_path)
    host = Images(tmp_path, pulls={"postgres:17": OK, "debian:trixie-slim": OK})
    ensure_images(make_session(host), instance)
    host.calls.clear()
    host.numbers["postgres:17"] = "a minor release that the operator pulled"
    ensure_images(make_session(host), instance)
    assert host.built() == [f"{PREFIX}/postgresql:0.1.0"]
    # Where the finished images were loaded, their base need not be here.
    del host.have["postgres:17"]
    host.calls.clear()
    ensure_images(make_session(host), instance)
    assert host.built() == [] and not host.called("docker pull")
    # The operator's own choice counts.
    chosen = instance.changed({"POSTGRES_IMAGE": "postgres:16"})
    host.have["postgres:16"] = {}
    ensure_images(make_session(host), chosen)
    assert "POSTGRES_IMAGE=postgres:16" in host.called("docker build.*/postgresql:")[0]


def test_published_images_are_pulled_where_they_match(tmp_path):
    repository(tmp_path)
    instance = load_instance(tmp_path, {}, {"IMAGE_PREFIX": "registry.example.com/etl"})
    names = [f"registry.example.com/etl/{name}:0.1.0" for name in SERVICES]

    class Published(Images):
        def _answer(self, argv, arguments):
            done = super()._answer(argv, arguments)
            if argv[:2] == ["docker", "pull"] and argv[2] in names:
                recipe = argv[2].split("/")[2].split(":")[0]
                number = source_hash(instance.root, recipe)
                self.have[argv[2]] = {"vixtract.source": number}
            return done

    host = Published(tmp_path, pulls=dict.fromkeys(names, OK))
    ensure_images(make_session(host), instance)
    assert host.built() == []
    assert host.called("docker pull") == [f"docker pull {name}" for name in names]


def test_our_own_names_are_never_pulled(tmp_path):
    instance = repository(tmp_path)

    class Serving(Images):
        """An engine whose registry serves every name with labels that match our sources."""

        def _answer(self, argv, arguments):
            done = super()._answer(argv, arguments)
            if argv[:2] == ["docker", "pull"]:
                recipe = argv[2].rpartition("/")[2].partition(":")[0]
                labels = build_labels(self, tmp_path, recipe) if recipe in RECIPES else {}
                self.have[argv[2]] = labels
            return done

    host = Serving(tmp_path, pulls=OK)
    session = make_session(host, yes=True)
    ensure_images(session, instance)
    assert host.called("^docker pull") == [
        "docker pull postgres:17",
        "docker pull debian:trixie-slim",
    ]
    assert host.built() == [f"{PREFIX}/{name}:0.1.0" for name in OWN]
    old = instance.changed({"VIXTRACT_VERSION": "0.0.9"})
    with pytest.raises(PreconditionError, match=r"localhost/vixtract/jupyter:0\.0\.9 is not here"):
        Supply(session, old).ensure_service("jupyter")


def test_an_own_image_of_the_job_container_has_to_be_here(tmp_path):
    instance = repository(tmp_path).changed({"SCHEDULER_IMAGE": "my-jobs"})
    host = Images(tmp_path, have=[OFFLINE_DEBIAN])
    with pytest.raises(PreconditionError, match=r"localhost/vixtract/my-jobs:0\.1\.0"):
        ensure_images(make_session(host), instance)
    host = Images(tmp_path, have=[OFFLINE_DEBIAN, f"{PREFIX}/my-jobs:0.1.0"])
    ensure_images(make_session(host), instance)
    assert f"{PREFIX}/cronicle:0.1.0" not in host.built()


def test_two_prefixes_share_no_image(tmp_path):
    instance = repository(tmp_path).changed({"IMAGE_PREFIX": "localhost/x"})
    host = Images(tmp_path)
    ensure_images(make_session(host, yes=True), instance)
    assert host.built() and all(image.startswith("localhost/x/") for image in host.have)


def test_no_file_names_an_image_in_a_public_namespace():
    names = "|".join([*RECIPES, "debian-offline"])
    public = re.compile(rf"(?<![\w./}}-])vixtract/(?:{names}):")
    for name in list_tracked(Host(), ROOT):
        assert not public.search((ROOT / name).read_text("utf-8", "replace")), name


def test_a_registry_without_our_images_still_gives_debian(tmp_path):
    instance = repository(tmp_path)
    host = Images(tmp_path, pulls={"postgres:17": OK, "debian:trixie-slim": OK})
    session = make_session(host)
    ensure_images(session, instance)
    assert "DEBIAN_IMAGE=debian:trixie-slim" in host.called("docker build.*/base")[0]
    assert not host.called("build.sh")
    assert "No registry" not in session.console.text


def test_an_image_that_a_person_chose_is_never_replaced(tmp_path):
    repository(tmp_path)
    for name in ("POSTGRES_IMAGE", "DEBIAN_IMAGE"):
        instance = load_instance(tmp_path, {}, {name: "mine:1"})
        host = Images(tmp_path)
        host.environment = {name: "mine:1"}
        with pytest.raises(PreconditionError, match=f"{name}=mine:1 is not here"):
            ensure_images(make_session(host, yes=True), instance)
        assert f"localhost/vixtract/base:{instance.version}" not in host.built()


def test_another_version_is_never_built_from_these_sources(tmp_path):
    repository(tmp_path)
    instance = load_instance(tmp_path, {}, {"VIXTRACT_VERSION": "0.0.9"})
    with pytest.raises(PreconditionError, match=r"localhost/vixtract/jupyter:0\.0\.9 is not here"):
        Supply(make_session(Images(tmp_path)), instance).ensure_service("jupyter")


def test_missing_tools_for_debian_need_consent(tmp_path):
    instance = repository(tmp_path)
    host = Images(tmp_path)
    host.programs = {"apt-get"}
    with pytest.raises(PreconditionError, match="mmdebstrap"):
        Supply(make_session(host), instance).ensure_base("DEBIAN_IMAGE")


def test_a_failed_build_shows_its_last_lines(tmp_path):
    instance = repository(tmp_path)

    class Broken(Images):
        def _answer(self, argv, arguments):
            if argv[:2] == ["docker", "build"]:
                return Completed(
                    1,
                    "Step 1/2\n\x1b[91mE: Unable to locate package nonsense\x1b[0m\nThe command 'x'",
                )
            return super()._answer(argv, arguments)

    session = make_session(Broken(tmp_path, have=[OFFLINE_DEBIAN]))
    with pytest.raises(BuildError, match="Unable to locate") as caught:
        build_images(session, instance, ["nginx"], no_cache=False)
    assert "docker build --tag" in caught.value.hint
    assert "  E: Unable to locate package nonsense" in session.console.lines


def test_build_takes_names_of_services(tmp_path):
    instance = repository(tmp_path)
    host = Images(tmp_path, have=[OFFLINE_DEBIAN])
    assert build_images(make_session(host), instance, ["jupyter"], no_cache=False) == [
        "base",
        "jupyter",
    ]
    assert build_images(make_session(host), instance, ["jupyter"], no_cache=False) == []
    again = build_images(make_session(host), instance, ["jupyter"], no_cache=True)
    assert again == ["base", "jupyter"]
    assert build_images(make_session(host), instance, ["postgresql"], no_cache=False)
    with pytest.raises(UsageError, match="No image nothing"):
        build_images(make_session(host), instance, ["nothing"], no_cache=False)


def test_labels_of_images_without_authorities(tmp_path):
    instance = repository(tmp_path)
    host = FakeHost(tmp_path)
    assert set(build_labels(host, instance.root, "nginx")) == {"vixtract.source"}
    assert build_labels(host, instance.root, "jupyter")["vixtract.ca"] == authorities_hash(host)
