"""Every person's JupyterLab server. People may override it in ~/.jupyter; it is theirs."""

import os

from jupyter_server.base.handlers import APIHandler
from jupyterlab_server.licenses_handler import LicensesHandler

c = get_config()  # noqa: F821  traitlets provides it

kernel_idle_s = int(os.environ.get("KERNEL_IDLE_S", "3600"))
server_idle_s = int(os.environ.get("SERVER_IDLE_S", "7200"))

# An idle kernel ends, also with a tab open on it. A busy one never: it may work all night.
c.MappingKernelManager.cull_idle_timeout = kernel_idle_s
c.MappingKernelManager.cull_interval = max(1, min(300, kernel_idle_s // 4))
c.MappingKernelManager.cull_busy = False
c.MappingKernelManager.cull_connected = True

# The server ends by itself when it has no kernel, no terminal, and nobody uses it; the Hub notices.
# Terminals are not culled: a silent one may be at work.
c.ServerApp.shutdown_no_activity_timeout = server_idle_s

# Sockets in a directory of the person's own: on TCP everybody in the container could read along.
c.KernelManager.transport = "ipc"

# A kernel that was stopped for taking too much says so in the cell that ran.
c.ServerApp.kernel_websocket_connection_class = "vixtract.hub.kernels.NoticeConnection"
# A kernel gets the present database password, also when the server is older.
c.MultiKernelManager.kernel_manager_class = "vixtract.hub.kernels.FreshKernelManager"

# A deleted file is gone: the trash would be in the same home, unseen and growing.
c.FileContentsManager.delete_to_trash = False

# Seconds that a server believes a cookie without asking the Hub: after a change of the password, or
# when the person is shut out, no longer than this.
c.HubOAuth.cache_max_age = 10

# jupyterlab_server 2.28 never ends its answer to somebody who is not signed in, so that strangers
# could hold any number of connections: its `finish` cannot be called the way that errors call it.
finish_report = LicensesHandler.finish


def finish(self, *arguments, **options):
    """End an error's answer as every other handler does."""
    end = finish_report if "_mime_type" in options else APIHandler.finish
    return end(self, *arguments, **options)


LicensesHandler.finish = finish
