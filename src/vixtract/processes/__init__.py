"""Processes on behalf of people: starting them as their owner, process trees, memory and usage."""
