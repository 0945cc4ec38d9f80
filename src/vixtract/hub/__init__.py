"""What JupyterHub loads: sign-in, pages, spawner, and what happens when people come and go."""

#: File in a person's runtime directory: variables that changed since their server started.
ENVIRONMENT = "environment.json"
