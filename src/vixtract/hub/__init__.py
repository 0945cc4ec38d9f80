"""What JupyterHub loads: sign-in, pages, spawner, and what happens when people come and go."""
