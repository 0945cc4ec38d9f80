"""Runs on other machines: the encrypted connection between the runner and its workers."""
