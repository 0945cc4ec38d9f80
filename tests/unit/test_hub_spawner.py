"""Whose process listens on a port, by the system's own list."""

from __future__ import annotations

import os
import socket

from vixtract.hub.spawner import find_listeners


def test_a_listener_s_account_is_found_and_a_free_port_has_none():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        assert find_listeners(port) == set(), "bound, but nobody listens yet"
        listener.listen()
        assert find_listeners(port) == {os.getuid()}
    assert find_listeners(port) == set()


def test_another_account_s_listener_is_told_apart(tmp_path):
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
    line = "   0: 0100007F:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  {uid}        0 1\n"
    table = tmp_path / "tcp"
    table.write_text(
        head
        + line.format(port=40001, state="0A", uid=2001)
        + line.format(port=40001, state="01", uid=2002)
        + line.format(port=40002, state="0A", uid=2003)
    )
    assert find_listeners(40001, (table, tmp_path / "absent")) == {2001}
