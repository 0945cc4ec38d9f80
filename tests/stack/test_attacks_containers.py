"""What each container may do to the host: CIS Docker Benchmark 1.6, section 5, by `docker inspect`."""

from __future__ import annotations

import json

import pytest

from tests.stack.conftest import SERVICES

# CIS 5.4: the least each needs. AUDIT_WRITE is sudo's, KILL and SET*ID make people's processes.
CAPABILITIES = {
    "postgresql": {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"},
    "jupyter": {"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"},
    "cronicle": {"CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"},
    "nginx": set(),
}
# CIS 5.26: administrators use sudo in jupyter; no other setuid program is in that image.
NEW_PRIVILEGES = {"jupyter"}
# CIS 5.13: the others make accounts (/etc/passwd) or write beside their data while they run.
READ_ONLY = {"nginx"}
# Numbers of capabilities that lead to the host: the kernel's interface, raw packets, devices, mounts.
HOSTS = {"SYS_ADMIN": 21, "SYS_PTRACE": 19, "SYS_MODULE": 16, "NET_ADMIN": 12, "NET_RAW": 13, "MKNOD": 27,
         "DAC_READ_SEARCH": 2, "SYS_RAWIO": 17, "SYS_CHROOT": 18, "SETFCAP": 31}  # fmt: skip


@pytest.fixture(scope="module")
def inspected(appliance):
    """Return what the engine says of each container."""
    names = [appliance.container(service) for service in SERVICES]
    return dict(zip(SERVICES, json.loads(appliance.docker("inspect", *names)), strict=True))


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_has_no_right_that_it_does_not_need(inspected, service):
    host = inspected[service]["HostConfig"]
    assert host["Privileged"] is False  # 5.5
    assert host["CapDrop"] == ["ALL"]  # 5.4
    assert {name.removeprefix("CAP_") for name in host["CapAdd"] or []} == CAPABILITIES[service]
    options = set(host["SecurityOpt"] or [])
    assert ("no-new-privileges:true" in options) is (service not in NEW_PRIVILEGES)  # 5.26
    assert not {option for option in options if "unconfined" in option}  # 5.2, 5.3, 5.22
    assert host["ReadonlyRootfs"] is (service in READ_ONLY)  # 5.13
    assert not host["Devices"] and not host.get("DeviceRequests")  # 5.18


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_shares_nothing_with_the_host(inspected, service):
    host, mounts = inspected[service]["HostConfig"], inspected[service]["Mounts"]
    assert host["NetworkMode"].endswith("_default")  # 5.10
    assert host["PidMode"] == "" and host["UTSMode"] == ""  # 5.16, 5.21
    assert host["IpcMode"] in {"private", "shareable"}  # 5.17
    assert host["UsernsMode"] == ""  # 5.31: the daemon's own choice
    assert host["CgroupParent"] == ""  # 5.25
    # 5.6, 5.20, 5.32: no folder of the host, and above all not the engine's socket.
    assert {mount["Type"] for mount in mounts} == {"volume"}
    assert not [mount for mount in mounts if "docker.sock" in mount["Destination"]]
    assert {mount["Propagation"] for mount in mounts} <= {"", "private"}  # 5.19


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_is_bounded_and_watched(inspected, service):
    host, config = inspected[service]["HostConfig"], inspected[service]["Config"]
    assert host["Memory"] > 0  # 5.11
    assert host["PidsLimit"] > 0  # 5.29
    assert int(host["LogConfig"]["Config"]["max-file"]) > 1
    assert host["LogConfig"]["Config"]["max-size"]
    assert (
        host["RestartPolicy"]["Name"] == "unless-stopped"
    )  # 5.15 wants at most five tries, we heal
    assert inspected[service]["State"]["Health"]["Status"] == "healthy"  # 5.27
    assert config["Healthcheck"]["Test"]


def test_only_the_front_door_is_published_and_only_on_the_chosen_address(inspected):
    for service in SERVICES:
        ports = inspected[service]["HostConfig"]["PortBindings"] or {}
        assert bool(ports) is (service == "nginx")
        for bindings in ports.values():
            assert {binding["HostIp"] for binding in bindings} == {"127.0.0.1"}  # 5.14
            assert all(int(binding["HostPort"]) != 22 for binding in bindings)  # 5.7


def test_who_runs_in_each_container(appliance, inspected):
    assert inspected["nginx"]["Config"]["User"] == "33:33"
    for service, account in (("nginx", "33"), ("postgresql", "")):
        script = "for f in /proc/[0-9]*/status; do sed -n 's/^Uid:\\t\\([0-9]*\\).*/\\1/p' $f; done"
        uids = set(appliance.execute(service, "sh", "-c", script, check=False).split())
        # The script itself is root's in postgresql, whose image starts as root and then leaves it.
        assert account in uids if account else len(uids - {"0"}) == 1, (service, uids)
        first = appliance.execute(service, "sh", "-c", "sed -n 's/^Uid:\\t//p' /proc/1/status")
        assert first.split()[0] != "0", (service, first)


@pytest.mark.parametrize("service", ["jupyter", "cronicle"])
def test_even_root_in_a_container_has_no_way_to_the_host(appliance, service):
    """An administrator of the Hub is root in jupyter by design: this is where that ends."""
    bounding = appliance.execute(service, "sed", "-n", r"s/^CapBnd:\t//p", "/proc/1/status")
    held = [name for name, bit in HOSTS.items() if int(bounding, 16) >> bit & 1]
    assert held == []
    script = (
        "mount -t tmpfs x /mnt && echo MOUNTED; mknod /tmp/disk b 8 0 && echo NODE;"
        "chroot / true && echo CHROOT; echo 1 > /proc/sys/kernel/panic && echo SYSCTL;"
        "cat /proc/kcore 2>/dev/null | head -c 1 | grep -q . && echo KERNEL;"
        "ls /var/run/docker.sock && echo SOCKET; true"
    )
    output = appliance.execute(service, "sh", "-c", script, check=False)
    for word in ("MOUNTED", "NODE", "CHROOT", "SYSCTL", "KERNEL", "SOCKET"):
        assert word not in output, output
