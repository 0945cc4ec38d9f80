"""What goes between the driver and a forked kernel arrives as Jupyter's own session would say it."""

from __future__ import annotations

import json
import socket
from datetime import datetime, timezone

import pytest

from vixtract.notebooks.warm.message_socket import MessageSocket


@pytest.fixture
def ends():
    one, other = socket.socketpair()
    yield MessageSocket(one), MessageSocket(other)
    one.close()
    other.close()


def test_numbers_that_json_has_not_arrive_as_words(ends):
    nan, endless = float("nan"), float("inf")
    ends[0].send({"content": {"a": [nan, 1.5, {"b": (endless, -endless)}], nan: None}})
    (message,) = ends[1].receive()
    assert message["content"] == {"a": ["nan", 1.5, {"b": ["inf", "-inf"]}], "nan": None}
    json.dumps(message, allow_nan=False)


def test_text_bytes_and_times_arrive(ends):
    moment = datetime(2024, 2, 29, 12, tzinfo=timezone.utc)
    content = {"text": "ж\0\ud800", "image": b"\x89PNG", "date": moment, "other": {1}.__class__}
    ends[0].send({"content": content, "buffers": [b"\x00\xff", memoryview(b"x")]})
    (message,) = ends[1].receive()
    assert message["buffers"] == [b"\x00\xff", b"x"]
    assert message["content"] == {
        "text": "ж\0\ud800", "image": "iVBORw==", "date": "2024-02-29T12:00:00+00:00",
        "other": "<class 'set'>",
    }  # fmt: skip


def test_a_message_that_comes_in_parts_is_taken_when_it_is_whole():
    writer, reader = socket.socketpair()
    with writer, reader:
        incoming = MessageSocket(reader)
        for part in (b'{"text":"a\\n', b'b"}', b"\n{"):
            assert incoming.receive() == []
            writer.sendall(part)
        assert incoming.receive() == [{"text": "a\nb", "buffers": []}]
        writer.sendall(b"}\n")
        assert incoming.receive() == [{"buffers": []}]


def test_messages_arrive_whole_in_their_order_and_then_the_end(ends):
    for size in (0, 1, 5000):
        ends[0].send({"text": "x" * size})
    assert [len(message["text"]) for message in ends[1].receive()] == [0, 1, 5000]
    assert ends[1].receive() == []
    ends[0]._connection.close()
    with pytest.raises(EOFError):
        ends[1].receive()
