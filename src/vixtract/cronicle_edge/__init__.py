"""Cronicle Edge as the engine: its first boot, the gateway in front of it, the plugin, the ledger.

Cronicle listens on a unix socket alone. The gateway speaks the contract for all others, lets
through what Cronicle's own page needs, and keeps the ledger: the plugin claims each due slot in it,
the reconciler finds what Cronicle lost.
"""
