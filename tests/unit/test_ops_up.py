"""A start: passwords, ports, health; and what status tells."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
import re
import socket

import pytest

from tests.unit.ops_fakes import OK, FakeHost, make_session
from vixtract.credentials import generate_password, scram_verifier
from vixtract.errors import PreconditionError, SettingsError, VixtractError
from vixtract.ops.compose import Compose
from vixtract.ops.containers import (
    UnhealthyError,
    judge,
    list_containers,
    parse_container,
    wait_healthy,
)
from vixtract.ops.host import Completed, Host
from vixtract.ops.instance import SERVICES, load_instance
from vixtract.ops.ports import (
    find_listener,
    find_owner,
    find_taken,
    load_listeners,
    parse_listeners,
)
from vixtract.ops.provision import Supply
from vixtract.ops.status import build_accounts, build_status, render_status, shorten_ports
from vixtract.ops.up import (
    StartError,
    build_passwords,
    check_ports_differ,
    check_ports_free,
    choose_engine,
    compose_up,
    engine_settings,
    ensure_postgres_password,
    set_hub_password,
    settle_engine,
)
from vixtract.text_tables import format_span, render_table


def entry(service, state="running", health="healthy", **more):
    """Return what `docker inspect` says of one container."""
    inspected = {
        "Name": f"/p1_{service}",
        "RestartCount": more.get("restarts", 0),
        "Config": {
            "Image": f"vixtract/{service}:0.1.0",
            "Labels": {"com.docker.compose.service": service},
        },
        "State": {
            "Status": state,
            "StartedAt": "2026-01-02T03:04:05.678901234Z",
            "ExitCode": more.get("code", 0),
        },
        "NetworkSettings": {"Ports": more.get("ports", {})},
    }
    if health:
        log = [{"Output": more.get("check", "")}]
        inspected["State"]["Health"] = {"Status": health, "Log": log}
    return inspected


ALL_UP = [entry(service) for service in SERVICES]


def engine_with(tmp_path, *looks, **answers):
    """A machine whose `docker inspect` gives one look after the other."""
    listed = {r"^docker ps": Completed(0, "a\nb\n")}
    inspected = {r"^docker inspect": [Completed(0, json.dumps(look)) for look in looks]}
    return FakeHost(tmp_path, {**listed, **inspected, **answers})


@pytest.mark.parametrize(
    ("requested", "has", "pulls", "engine"),
    [
        ("auto", True, False, "cronicle"),
        ("auto", False, True, "cronicle"),
        ("auto", False, False, "embedded"),
        ("cronicle", True, False, "cronicle"),
        ("cronicle", False, True, "cronicle"),
        ("embedded", True, True, "embedded"),
    ],
)
def test_the_engine_is_chosen_with_a_reason(requested, has, pulls, engine):
    chosen, reason = choose_engine(
        requested, "cronicle/edge:v1", has=lambda image: has, pull=lambda image: pulls
    )
    assert chosen == engine and reason


def test_nothing_is_pulled_for_the_embedded_engine_or_an_image_that_is_here():
    asked = []
    for requested, has in (("embedded", False), ("auto", True)):
        choose_engine(requested, "x", has=lambda image, has=has: has, pull=asked.append)
    assert asked == []


def test_cronicle_that_cannot_be_had_is_refused_plainly():
    with pytest.raises(PreconditionError) as caught:
        choose_engine("cronicle", "c/e:v1", has=lambda image: False, pull=lambda image: False)
    assert caught.value.exit_code == 3 and "--engine embedded" in caught.value.hint


def engine_session(tmp_path, present, *, agrees=True, has_schedules=False):
    """A machine with Cronicle's image, where the appliance runs an engine or none."""
    answer = Completed(0, f"TZ=UTC\nVIXTRACT_ENGINE={present}\n") if present else Completed(1, "")
    answers = {
        r"^docker inspect": answer,
        r"^docker volume inspect vixtract_cronicle-data": Completed(int(not has_schedules), ""),
        r"^docker image": Completed(0, "{}"),
    }
    host = FakeHost(tmp_path, answers)
    session = make_session(host, yes=agrees)
    instance = load_instance(tmp_path, {}, {})
    return session, instance, Supply(session, instance)


@pytest.mark.parametrize(
    ("present", "asked", "engine"),
    [("", "", "cronicle"), ("embedded", "", "embedded"), ("embedded", "cronicle", "cronicle")],
)
def test_a_running_engine_is_left_only_when_that_is_asked_for(tmp_path, present, asked, engine):
    assert settle_engine(*engine_session(tmp_path, present), asked)[0] == engine


def test_the_engine_stays_when_its_container_is_gone_and_the_schedules_are_not(tmp_path):
    engine, reason = settle_engine(*engine_session(tmp_path, "", has_schedules=True), "")
    assert (engine, reason) == ("embedded", "as before; --engine switches")


def test_a_switch_of_engines_is_refused_without_consent(tmp_path):
    with pytest.raises(VixtractError):
        settle_engine(*engine_session(tmp_path, "embedded", agrees=False), "cronicle")


def test_each_engine_has_its_image_and_an_own_one_stays(tmp_path):
    instance = load_instance(tmp_path, {}, {})
    assert engine_settings(instance, "cronicle")["SCHEDULER_IMAGE"] == "cronicle-edge"
    back = engine_settings(instance.changed(engine_settings(instance, "cronicle")), "embedded")
    assert back["SCHEDULER_IMAGE"] == "cronicle"
    own = instance.changed({"SCHEDULER_IMAGE": "my-jobs"})
    assert engine_settings(own, "cronicle")["SCHEDULER_IMAGE"] == "my-jobs"


def test_generated_passwords_are_strong_and_harmless():
    made = {generate_password() for _ in range(50)}
    assert len(made) == 50
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9]{23}", password) for password in made)


def test_passwords_are_generated_only_for_the_world_and_only_where_defaults_are(tmp_path):
    assert build_passwords(load_instance(tmp_path, {}, {})) == {}
    wide = load_instance(tmp_path, {"bind": "0.0.0.0"}, {"BI_PASSWORD": "own"})
    made = build_passwords(wide, lambda: "made")
    assert made == dict.fromkeys(
        ("POSTGRES_PASSWORD", "HUB_ADMIN_PASSWORD", "CRONICLE_ADMIN_PASSWORD"), "made"
    )
    assert build_passwords(wide.changed(made)) == {}, "a second start generates nothing"


def test_scram_verifiers_are_postgresqls():
    salt = bytes(range(16))
    verifier = scram_verifier("pencil", salt)
    method, iterations, keys = verifier.split("$")
    rounds, salt_text = iterations.split(":")
    stored, server = (base64.b64decode(text) for text in keys.split(":"))
    assert (method, rounds, base64.b64decode(salt_text)) == ("SCRAM-SHA-256", "4096", salt)
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", salt, 4096)
    client = hmac.new(salted, b"Client Key", hashlib.sha256).digest()
    assert stored == hashlib.sha256(client).digest()
    assert server == hmac.new(salted, b"Server Key", hashlib.sha256).digest()
    assert scram_verifier("pencil") != verifier, "a salt of its own each time"


STORED = Completed(0, scram_verifier("vixtract", bytes(range(16))) + "\n")


def test_a_password_that_fits_changes_nothing(tmp_path):
    host = FakeHost(tmp_path, {"docker exec": STORED})
    instance = load_instance(tmp_path, {}, {})
    ensure_postgres_password(make_session(host), instance)
    assert len(host.calls) == 1 and "--user postgres vixtract_postgresql psql" in host.calls[0]
    assert host.given[0]["input_text"].startswith("SELECT rolpassword")


@pytest.mark.parametrize("stored", [STORED.stdout, "", "md5abc", "SCRAM-SHA-256$4096:!$a:b"])
def test_a_changed_password_is_changed_in_the_volume_without_being_shown(tmp_path, stored):
    host = FakeHost(tmp_path, {"docker exec": Completed(0, stored)})
    instance = load_instance(tmp_path, {}, {"POSTGRES_PASSWORD": "topsecret"})
    session = make_session(host)
    ensure_postgres_password(session, instance)
    assert host.given[1]["input_text"].startswith("ALTER USER postgres PASSWORD 'SCRAM-SHA-256$")
    everything = "\n".join([*host.calls, host.given[1]["input_text"], session.console.text])
    assert "topsecret" not in everything
    assert "ALTER USER postgres" in session.console.text


def test_a_password_that_cannot_be_changed_says_how(tmp_path):
    host = FakeHost(tmp_path, {"docker exec": Completed(1, "", "no socket")})
    with pytest.raises(StartError) as caught:
        ensure_postgres_password(make_session(host), load_instance(tmp_path, {}, {}))
    assert "no socket" in caught.value.message and "\\password" in caught.value.hint


def test_the_hubs_administrator_gets_the_generated_password_by_standard_input(tmp_path):
    host = FakeHost(tmp_path, {"docker exec": OK})
    instance = load_instance(tmp_path, {}, {"HUB_ADMIN_PASSWORD": "generated1"})
    set_hub_password(make_session(host), instance)
    assert host.given[0]["input_text"] == "generated1\n"
    assert "generated1" not in host.calls[0]


def test_each_port_needs_its_own_number(tmp_path):
    with pytest.raises(SettingsError, match="each needs its own"):
        check_ports_differ(load_instance(tmp_path, {"http_port": "443"}, {}))


TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1234 1
   1: 0100007F:1F91 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 1235 1
   2: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1236 1
"""


def test_listeners_are_read_and_matched():
    listeners = parse_listeners(TCP)
    assert [(x.address, x.port, x.inode) for x in listeners] == [
        ("127.0.0.1", 8080, "1234"),
        ("0.0.0.0", 80, "1236"),
    ]
    assert find_listener(listeners, "127.0.0.1", 8080)
    assert find_listener(listeners, "0.0.0.0", 8080), "everywhere takes loopback in"
    assert not find_listener(listeners, "10.0.0.1", 8080)
    assert find_listener(listeners, "10.0.0.1", 80)
    assert not find_listener(listeners, "127.0.0.1", 8081), "connections are no listeners"


def test_a_real_listener_is_found_with_its_owner(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = find_listener(load_listeners(Host().root), "127.0.0.1", port)
        assert found and "(pid " in find_owner(Host().root, found.inode)


def machine_with_listener(tmp_path, nginx):
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/tcp").write_text(TCP)
    return engine_with(tmp_path, nginx)


def test_a_taken_port_is_named_with_the_cure(tmp_path):
    session = make_session(machine_with_listener(tmp_path, []))
    instance = load_instance(tmp_path, {"http_port": "8080"}, {})
    with pytest.raises(PreconditionError) as caught:
        check_ports_free(session, instance)
    assert "127.0.0.1: port 8080 is taken" in caught.value.message
    assert "--http-port NUMBER" in caught.value.hint


@pytest.mark.parametrize("bind", ["127.0.0.1", "0.0.0.0"])
def test_own_ports_are_no_obstacle_even_on_another_address(tmp_path, bind):
    ports = {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}], "8443/tcp": None}
    session = make_session(machine_with_listener(tmp_path, [entry("nginx", ports=ports)]))
    check_ports_free(session, load_instance(tmp_path, {"http_port": "8080", "bind": bind}, {}))


def test_published_ports_are_shown_short():
    ports = ["127.0.0.1:80->8080", "127.0.0.1:443->8443", ":::80->8080"]
    assert shorten_ports(ports) == "127.0.0.1:80,443 :::80"


def test_composes_own_error_is_what_is_said(tmp_path):
    output = (
        "Creating x\nERROR: for nginx  Bind failed: port is already allocated\nEncountered errors."
    )
    host = FakeHost(tmp_path, {" up ": Completed(1, output)})
    instance = load_instance(tmp_path, {}, {})
    with pytest.raises(StartError, match="ERROR: for nginx Bind failed"):
        compose_up(make_session(host), Compose(("docker-compose",), "1.29.2"), instance)


def test_a_container_is_read():
    ports = {"5432/tcp": [{"HostIp": "127.0.0.1", "HostPort": "5433"}]}
    read = parse_container(entry("nginx", "running", "unhealthy", ports=ports, check=" 503 \n"))
    assert (read.service, read.name, read.is_up) == ("nginx", "p1_nginx", False)
    assert read.condition == "running (unhealthy)"
    assert (read.ports, read.last_check) == (("127.0.0.1:5433->5432",), "503")
    assert read.started.isoformat() == "2026-01-02T03:04:05+00:00"
    assert parse_container(entry("nginx", health="")).is_up, "no health check: running will do"


def containers(*entries):
    return {c.service: c for c in map(parse_container, entries)}


@pytest.mark.parametrize(
    ("sick", "failed"),
    [
        (entry("jupyter", health="starting"), ""),
        (entry("jupyter", "exited", "unhealthy", code=1), "jupyter"),
        (entry("jupyter", "restarting", "", code=3), "jupyter"),
        (entry("jupyter", "restarting", "", code=1, restarts=1), ""),
        (entry("jupyter", "running", "starting", restarts=2), "jupyter"),
        (entry("jupyter", "created", ""), ""),
    ],
)
def test_which_services_will_not_come_up(sick, failed):
    awaited, found = judge(containers(*ALL_UP, sick), {})
    assert found == failed
    assert awaited[0].startswith("jupyter (")


def test_absent_services_are_awaited():
    assert judge({}, {}) == ([f"{service} (absent)" for service in SERVICES], "")


def test_waiting_ends_when_all_are_up(tmp_path):
    starting = [*ALL_UP[:-1], entry("nginx", health="starting")]
    host = engine_with(tmp_path, [], starting, ALL_UP)
    session = make_session(host)
    assert set(wait_healthy(session, "p1", before={})) == set(SERVICES)
    assert host.now == 2
    assert session.console.details[-1] == "waiting for nginx (starting)"


def test_waiting_has_a_deadline_and_tells_what_it_last_saw(tmp_path):
    sick = [*ALL_UP[:-1], entry("nginx", health="starting", check="connection refused")]
    host = engine_with(tmp_path, sick, **{"docker logs": Completed(0, "a\nb\n", "c\n")})
    session = make_session(host)
    with pytest.raises(UnhealthyError, match="nginx is not up after 30 s; it is running"):
        wait_healthy(session, "p1", before={}, timeout_s=30)
    assert "  nginx: c" in session.console.lines
    assert "  nginx: health check: connection refused" in session.console.lines


def test_waiting_fails_fast_on_a_refusal(tmp_path):
    refused = [*ALL_UP[:-1], entry("nginx", "restarting", "", code=3)]
    host = engine_with(tmp_path, refused, **{"docker logs": Completed(0, "set X in .env\n")})
    session = make_session(host)
    with pytest.raises(UnhealthyError, match="nginx did not come up"):
        wait_healthy(session, "p1", before={})
    assert host.now == 0 and "  nginx: set X in .env" in session.console.lines


def test_waiting_gives_the_unhealthy_a_minute(tmp_path):
    sick = [*ALL_UP[:-1], entry("nginx", health="unhealthy")]
    host = engine_with(tmp_path, sick, **{"docker logs": OK})
    with pytest.raises(UnhealthyError):
        wait_healthy(make_session(host), "p1", before={})
    assert 60 < host.now < 70


def test_no_container_is_no_question(tmp_path):
    host = FakeHost(tmp_path, {"docker ps": OK})
    assert list_containers(host, "p1") == {}


NOW = datetime.datetime(2026, 1, 2, 4, 4, 5, tzinfo=datetime.timezone.utc)


def test_status_of_all_and_of_none(tmp_path):
    instance = load_instance(tmp_path, {"http_port": "8080"}, {})
    status = build_status(instance, containers(*ALL_UP), NOW)
    assert status["state"] == "up"
    assert [s["service"] for s in status["services"]] == list(SERVICES)
    assert status["services"][0]["uptime_s"] == 3600
    assert status["addresses"]["jupyter"] == "http://localhost:8080/jupyter"
    text = "\n".join(render_status(status))
    assert "1 h" in text and "postgresql://bi@127.0.0.1:5432/etl" in text
    down = build_status(instance, {}, NOW)
    assert (down["state"], down["services"][3]["state"]) == ("down", "absent")
    partly = build_status(instance, containers(entry("nginx"), entry("jupyter", "exited")), NOW)
    assert partly["state"] == "partly"


def test_only_documented_and_generated_passwords_are_shown(tmp_path):
    environment = {"POSTGRES_PASSWORD": "persons-own", "BI_PASSWORD": "new"}
    instance = load_instance(tmp_path, {}, environment)
    rows = build_accounts(instance, {"BI_PASSWORD": "new"})
    assert [row[2] for row in rows[:2]] == ["vixtract", "new"]
    assert rows[2][2] == "docker exec -it vixtract_postgresql psql -U postgres"


def test_tables_align_numbers_right():
    assert render_table(("name", "n"), [("a", 5), ("long name", 1234), (None, None)]) == [
        "name          n",
        "---------  ----",
        "a             5",
        "long name  1234",
        "",
    ]
    assert render_table(("x",), [("a\nb" + "c" * 80,)])[2] == "a b" + "c" * 56 + "…"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (125, "2 min 5 s"), (90061, "1 d 1 h")],
)
def test_spans_of_time(seconds, text):
    assert format_span(seconds) == text


def test_a_port_that_another_container_publishes_names_it(tmp_path):
    machine_with_listener(tmp_path, [])
    (tmp_path / "proc/12/fd").mkdir(parents=True)
    (tmp_path / "proc/12/comm").write_text("docker-proxy\n")
    (tmp_path / "proc/12/fd/4").symlink_to("socket:[1234]")
    host = FakeHost(tmp_path, {"publish=8080": Completed(0, "container other_web\n")})
    instance = load_instance(tmp_path, {"http_port": "8080"}, {})
    assert find_taken(instance, host, {}) == {
        "HTTP_PORT": "port 8080 is taken by container other_web"
    }
