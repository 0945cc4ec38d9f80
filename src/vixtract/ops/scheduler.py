"""The scheduler of the running appliance, called with the appliance's own key."""

from __future__ import annotations

from vixtract.errors import VixtractError
from vixtract.ops.certificates import pinned_context
from vixtract.ops.host import Host
from vixtract.ops.instance import Instance
from vixtract.scheduler.client import SchedulerClient

CALL_S = 30.0


def connect_scheduler(host: Host, instance: Instance) -> SchedulerClient:
    """Return a client that trusts the front door's certificate.

    Raises:
        VixtractError: the key or the certificate cannot be read.
    """
    command = ["docker", "exec", instance.container("cronicle"), "cat", "/srv/secrets/api_key"]
    key = host.run(command, timeout_s=CALL_S).require(
        VixtractError, "Could not read the scheduler's key", "Run: ./vixtract doctor"
    )
    context = pinned_context(host, instance)
    return SchedulerClient(f"{instance.local_url}/cronicle", key.strip(), CALL_S, context)
