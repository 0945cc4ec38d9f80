"""The main process of each container, under its service's name, and its health check."""
