"""The appliance of the stack tier, for what needs the real JupyterLab."""

from tests.stack.conftest import appliance

__all__ = ["appliance"]
