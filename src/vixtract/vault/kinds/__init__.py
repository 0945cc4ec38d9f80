"""The kinds of connections, a module each: its form, its words, its test, its object in notebooks.

A new kind is a module here that has `KIND`, a section in docs/how-to/connections.md and the
translations of its texts. `vixtract.vault.registry` finds it. Drivers are imported when they are
used: these modules are imported by every notebook that asks for a connection.
"""
