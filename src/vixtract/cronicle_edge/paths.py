"""Paths of Cronicle's files, and names that several modules use."""

from __future__ import annotations

from pathlib import Path

HOME = Path("/opt/cronicle")
DATA = HOME / "data"
# One directory, 0700: Cronicle runs what is written into its queue directory.
EDGE = DATA / "edge"
SOCKET = EDGE / "web.sock"
STORAGE = EDGE / "storage"
LOGS = EDGE / "logs"
QUEUE = EDGE / "queue"
PID_FILE = EDGE / "cronicled.pid"
JOB_LOCKS = EDGE / "places"
#: What the last start was given: a digest of the administrator's password, the session's secret.
APPLIED = EDGE / "applied-password"
SESSION = EDGE / "applied-session"
STOPPING = EDGE / "stopping"
LISTS = EDGE / "lists.json"
ADMINS = EDGE / "people.json"
#: Which logins of the Hub each account was last seen with.
STAMPS = EDGE / "stamps.json"
LEDGER = DATA / "ledger.sqlite3"
CONFIG = HOME / "conf"

NODE = "/usr/bin/node"
CRONICLE = HOME / "bin" / "cronicle.js"
STORAGE_CLI = HOME / "bin" / "storage-cli.js"
SOCKET_SCRIPT = Path("/opt/vixtract/edge/socket.js")

#: Cronicle's storage knows its one server by this name, whatever the container is called.
HOSTNAME = "vixtract_primary-cronicle-server"
BASE_PATH = "/cronicle"
#: The appliance's account in Cronicle: the author of events without a person.
SERVICE_USER = "vixtract"
ADMIN_USER = "admin"
PLUGIN_COMMAND = "/opt/vixtract/bin/python -I -m vixtract.cronicle_edge.job"
OAUTH_CLIENT = "service-cronicle"
HUB_API = "http://jupyter:8081/jupyter/hub/api"
