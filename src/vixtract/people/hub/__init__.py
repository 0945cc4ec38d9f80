"""What JupyterHub loads: authenticator, pages, spawner, listeners. Nothing else needs it."""
