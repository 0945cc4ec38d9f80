"""Executing one notebook: papermill, inspection, and the HTML rendering of the result."""
