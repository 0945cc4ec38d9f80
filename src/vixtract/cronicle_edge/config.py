"""Cronicle's configuration, and the content of its storage after the first boot."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Mapping
from typing import Any

import bcrypt

from vixtract.cronicle_edge import paths
from vixtract.files import write_whole
from vixtract.runner.protocol import WORKERS
from vixtract.scheduler.events import CATEGORIES, PLUGINS

SESSION_DAYS = 7
GROUP_FIELDS = ("id", "title", "regexp", "manager")
# Cronicle starts the run's plugin on its own server; the runner hands it to a worker.
WORKERS_GROUP = (WORKERS, "Workers", ".+", 0)
# One page of the history has 50 rows; more than this many rows per list are given up.
HISTORY_ROWS = 10000


def hash_password(password: str, salt: str) -> str:
    """Hash a password and its salt as Cronicle does.

    The hash has bcrypt's prefix `$2a$`: with another one Cronicle 1.14.2 crashes at a login.
    """
    content = (password + salt).encode()[:72]
    return bcrypt.hashpw(content, bcrypt.gensalt(10, prefix=b"2a")).decode()


def is_password(user: Mapping[str, Any], password: str) -> bool:
    """Say whether a user's record has this password."""
    content = (password + str(user.get("salt") or "")).encode()[:72]
    try:
        return bcrypt.checkpw(content, str(user.get("password") or "").encode())
    except ValueError:
        return False


def build_user(name: str, password: str, full_name: str = "") -> dict[str, Any]:
    """Build an administrator's record, with a random salt."""
    # Short: bcrypt reads 72 bytes of password and salt together.
    salt = secrets.token_hex(8)
    return {
        "username": name,
        "password": hash_password(password, salt),
        "salt": salt,
        "full_name": full_name or name,
        "email": f"{name}@localhost",
        "active": 1,
        "created": 1,
        "modified": 1,
        "privileges": {"admin": 1},
    }


def _build_field(
    name: str, title: str, size: int, *, value: str = "", is_area: bool = False
) -> dict[str, Any]:
    extent = {"type": "textarea", "rows": size} if is_area else {"type": "text", "size": size}
    return {"id": name, **extent, "title": title, "value": value}


def build_plugins() -> list[dict[str, Any]]:
    """Build the records of the two plugins, which run under an account that is not root."""
    owner = _build_field("owner", "Owner", 20)
    notebook = [
        _build_field("notebook", "Notebook", 60),
        owner,
        _build_field("parameters", "Parameters, JSON", 4, is_area=True),
        _build_field("kernel", "Kernel", 20),
        _build_field("memory_mb", "Memory, MiB", 8, value="0"),
        _build_field("pinned", "Pinned version", 64),
    ]
    shell = [_build_field("script", "Script", 10, value="#!/bin/bash\n", is_area=True), owner]
    # The word of the command line, and the fields.
    plugins = {"notebook": ("notebook", notebook), "shellplug": ("shell", shell)}
    return [
        {
            "id": name,
            "title": title,
            "enabled": 1,
            "command": f"{paths.PLUGIN_COMMAND} {plugins[name][0]}",
            "uid": "cronicle",
            "cwd": "/",
            "username": paths.SERVICE_USER,
            "created": 1,
            "modified": 1,
            "params": plugins[name][1],
        }
        for name, title in PLUGINS.items()
    ]


def build_setup(admin_password: str) -> dict[str, Any]:
    """Build what Cronicle puts into an empty storage: no demo items, nothing that runs as root."""
    # The appliance's own account has a random password, which is not kept.
    service = build_user(paths.SERVICE_USER, secrets.token_hex(20), "ViXtract")
    steps: list[list[Any]] = [
        ["put", f"users/{paths.ADMIN_USER}", build_user(paths.ADMIN_USER, admin_password)],
        ["put", f"users/{paths.SERVICE_USER}", service],
        ["listCreate", "global/users", {"page_size": 100}],
        ["listPush", "global/users", {"username": paths.ADMIN_USER}],
        ["listPush", "global/users", {"username": paths.SERVICE_USER}],
    ]
    steps += [["listCreate", f"global/{name}", {}] for name in ("plugins", "categories", "secrets")]
    # Without this record, although it is empty, Cronicle crashes at the first job.
    secret = {"id": "globalenv", "encrypted": True, "target": None, "form": "props", "created": 1}
    steps += [["listPush", "global/secrets", secret]]
    steps += [["listPush", "global/plugins", plugin] for plugin in build_plugins()]
    category = {"enabled": 1, "username": paths.SERVICE_USER, "created": 1, "modified": 1}
    steps += [
        ["listPush", "global/categories", {"id": i, "title": t, **category, "max_children": 0}]
        for i, t in CATEGORIES.items()
    ]
    groups = [("maingrp", "Manager Group", "_HOSTNAME_", 1), ("allgrp", "All Servers", ".+", 0)]
    groups += [WORKERS_GROUP]
    steps += [["listCreate", "global/server_groups", {}]]
    steps += [
        ["listPush", "global/server_groups", dict(zip(GROUP_FIELDS, group))] for group in groups
    ]
    steps += [["listCreate", f"global/{name}", {}] for name in ("servers", "schedule", "api_keys")]
    steps += [["listPush", "global/servers", {"hostname": "_HOSTNAME_", "ip": "_IP_"}]]
    steps += [["listCreate", "global/conf_keys", {}]]
    return {"storage": steps}


def build_session(identifier: str) -> dict[str, Any]:
    """Build the session of the appliance's account; the identifier is its secret.

    Events made with an API key keep the key in clear for every user to read; with a session they
    keep the user's name.
    """
    return {
        "id": identifier,
        "username": paths.SERVICE_USER,
        "ip": "127.0.0.1",
        "useragent": "vixtract",
        "created": 1,
        "modified": 1,
        "expires": 4102444800,
    }


def build_config(secret_key: str, oauth_secret: str) -> dict[str, Any]:
    """Build Cronicle's configuration."""
    return {
        "base_app_url": "",
        "base_path": paths.BASE_PATH,
        "email_from": "vixtract@localhost",
        "smtp_hostname": "",
        "secret_key": secret_key,
        "log_dir": str(paths.LOGS),
        "log_filename": "[component].log",
        "log_columns": _LOG_COLUMNS.split(),
        "log_archive_path": f"{paths.LOGS}/archives/[yyyy]/[mm]/[filename]-[yyyy]-[mm]-[dd].gz",
        "log_crashes": True,
        "pid_file": str(paths.PID_FILE),
        "queue_dir": str(paths.QUEUE),
        # Requests with their headers are logged from level 9 on.
        "debug_level": 3,
        "maintenance": "04:00",
        "list_row_max": HISTORY_ROWS,
        "job_data_expire_days": 180,
        "child_kill_timeout": 12,
        "dead_job_timeout": 120,
        "manager_ping_freq": 20,
        "manager_ping_timeout": 60,
        "udp_broadcast_port": 0,
        "scheduler_startup_grace": 5,
        # The runner has limits of its own; Cronicle's default ends jobs at 1 GiB.
        "job_memory_max": 0,
        "job_cpu_max": 0,
        "job_log_max_size": 0,
        "max_jobs": 0,
        "job_env": {},
        "protect_job_log": True,
        "server_comm_use_hostnames": True,
        "web_direct_connect": False,
        "web_socket_use_hostnames": True,
        "client": _build_client(),
        "oauth": _build_oauth(oauth_secret),
        "git": {"enabled": False},
        "Storage": _STORAGE,
        "WebServer": _WEB_SERVER,
        "User": _build_accounts(),
    }


_LOG_COLUMNS = "hires_epoch date hostname pid component category code msg data"
_STORAGE: Mapping[str, Any] = {
    "engine": "Filesystem",
    "list_page_size": 50,
    "concurrency": 4,
    "transactions": False,
    "log_event_types": {},
    "Filesystem": {"base_dir": str(paths.STORAGE), "key_namespaces": 1},
}
_WEB_SERVER: Mapping[str, Any] = {
    "http_port": 3012,
    "http_htdocs_dir": "htdocs",
    "http_static_ttl": 3600,
    "http_max_upload_size": 4 * 1024 * 1024,
    "http_static_index": "index.html",
    "http_server_signature": "",
    "http_gzip_text": True,
    "http_timeout": 30,
    "http_regex_json": "(text|javascript|js|json)",
    "http_response_headers": {},
    "https": False,
}
_PRIVILEGES: Mapping[str, str] = {
    "admin": "Administrator",
    "create_events": "Create Events",
    "edit_events": "Edit Events",
    "delete_events": "Delete Events",
    "run_events": "Run Events",
    "abort_events": "Abort Events",
    "state_update": "Toggle Scheduler",
    "disable_enable_events": "Disable/Enable Events",
}


def _build_accounts() -> dict[str, Any]:
    return {
        # The gateway slows guessing down; locking an account would lock its owner out.
        "session_expire_days": SESSION_DAYS,
        "max_failed_logins_per_hour": 100000,
        "max_forgot_passwords_per_hour": 0,
        "free_accounts": False,
        "sort_global_users": True,
        "use_bcrypt": True,
        "email_templates": {},
        "default_privileges": dict.fromkeys(_PRIVILEGES, 0),
    }


def _build_client() -> dict[str, Any]:
    return {
        "name": "Cronicle",
        "debug": 0,
        "default_password_type": "password",
        "privilege_list": [{"id": name, "title": title} for name, title in _PRIVILEGES.items()],
        "new_event_template": {
            "enabled": 1,
            "params": {},
            "timing": {"minutes": [0]},
            "max_children": 1,
            "timeout": 3600,
            "catch_up": 0,
            "queue_max": 1000,
            "target": "allgrp",
        },
    }


def _build_oauth(secret: str) -> dict[str, Any]:
    return {
        "enabled": True,
        "client_id": paths.OAUTH_CLIENT,
        "client_secret": secret,
        "redirect_uri": f"{paths.BASE_PATH}/api/user/callback",
        # Cronicle needs an absolute address. The gateway removes this host again, so that people
        # may reach the appliance by any name.
        "authorize_url": "http://hub.invalid/jupyter/hub/api/oauth2/authorize",
        "token_url": f"{paths.HUB_API}/oauth2/token",
        # The gateway asks the Hub and answers for administrators alone.
        "user_url": "http://127.0.0.1:3012/internal/hub-user",
        "user_attribute": "name",
        "scope": "access:services!service=cronicle",
    }


def write(secrets_by_name: Mapping[str, str], admin_password: str, engine_gid: int) -> None:
    """Write the configuration as root, readable for a group; the password is for the first boot."""
    config = build_config(secrets_by_name["cronicle_key"], secrets_by_name["cronicle_oauth"])
    # Cronicle reads what to set up only while its storage is empty.
    is_set_up = paths.STORAGE.is_dir() and any(paths.STORAGE.iterdir())
    setup = {"storage": []} if is_set_up else build_setup(admin_password)
    for name, content in (("config.json", config), ("setup.json", setup)):
        path = paths.CONFIG / name
        write_whole(path, json.dumps(content, indent=1), mode=0o640)
        os.chown(path, 0, engine_gid)


def main() -> int:
    """Write the configuration from the environment that the entrypoint made."""
    names = {name: os.environ[name.upper()] for name in ("cronicle_key", "cronicle_oauth")}
    write(names, os.environ["CRONICLE_ADMIN_PASSWORD"], int(os.environ["ENGINE_GID"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
