"""How the fork server keeps its memory, so that forking from it and using it cost little.

A fork copies a table with an entry for each 4 KiB of memory, and the end of a process undoes it;
what either of them writes to is copied after. Standard library alone, and nothing of ours.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import sysconfig

# The only Python whose objects `share_objects` knows.
_KNOWN_PYTHON = (3, 13)
_HUGE = 2 * 1024 * 1024
_MADV_COLLAPSE = 25
# What the libraries' objects take, roughly; more or less of it is no harm.
_OBJECTS_BYTES = 110 * 1024 * 1024
# Python keeps small objects in arenas of this size, and gives an arena back when it is empty.
_ARENA = 1024 * 1024
_BLOCK = 448
_LARGEST_BLOCK = 512
_POOL = 16384
_MOST_GAPS = 50_000


def reserve_memory() -> list[bytes]:
    """Have Python keep its small objects side by side: scattered they do not fill huge pages.

    Must come before the imports, whose libraries would lie in between.

    Returns: what keeps the memory; to be held on to until it is filled.
    """
    # In one piece from the start, for a list that grows leaves holes.
    blocks: list[bytes] = [b""] * (_OBJECTS_BYTES // _BLOCK)
    for number in range(len(blocks)):
        blocks[number] = bytes(_BLOCK - sys.getsizeof(b""))
    return blocks[:: _ARENA // _BLOCK // 2]


def share_objects() -> None:
    """Make all objects immortal, so that using them does not write to their memory.

    Each use of an object counts references in it, and so each forked process would soon have a
    copy of most of what it shares: 58 MB in place of 28 for a run. These objects live as long as
    the process anyway.

    Source: https://peps.python.org/pep-0683/ (object.h: `_Py_IMMORTAL_REFCNT`)
    """
    if sys.version_info[:2] != _KNOWN_PYTHON or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return
    found: dict[int, object] = {}
    layer = gc.get_objects()
    while layer:
        fresh = {id(thing): thing for thing in layer if id(thing) not in found}
        found.update(fresh)
        layer = gc.get_referents(*fresh.values()) if fresh else []
    for address in found:
        ctypes.c_uint32.from_address(address).value = 0xFFFFFFFF


def fill_gaps() -> list[object]:
    """Use up the free places between objects, so that forked processes take new memory instead.

    What a process puts into such a place copies the page around it; there are thousands of them.

    Returns: what fills them; to be held on to.
    """
    kept: list[object] = []
    for size in range(16, _LARGEST_BLOCK + 1, 16):
        streak = last = 0
        for number in range(_MOST_GAPS):
            thing = _make_object(size, number)
            kept.append(thing)
            # Near the one before, a whole pool long: the pools with gaps are used up. The numbers
            # here take places themselves.
            streak = streak + 1 if last < id(thing) <= last + 4 * size else 0
            last = id(thing)
            if streak >= _POOL // size:
                break
    _fill_heap()
    return kept


def _make_object(size: int, number: int) -> object:
    if size == 16:
        return object()
    if size == 32:
        return number + 0.5
    return bytes(size - sys.getsizeof(b""))


def _fill_heap() -> None:
    """Use up the free places of the C library's heap, large ones first."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = libc.sbrk.restype = ctypes.c_size_t
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.sbrk.argtypes = [ctypes.c_ssize_t]
    libc.free.argtypes = [ctypes.c_void_p]
    # Without free room at its end: what is found beyond is new.
    libc.malloc_trim(0)
    end = libc.sbrk(0)
    for size in (*range(1 << 20, 8192, -4096), *range(8192, _LARGEST_BLOCK, -16)):
        place = libc.malloc(size)
        while 0 < place < end:
            place = libc.malloc(size)
        libc.free(place)


def join_pages() -> int:
    """Have the system keep the memory in pages of 2 MiB, of which a fork copies one entry each.

    A process that writes to one gets a copy of 4 KiB all the same. Systems before Linux 6.1 refuse,
    and forks take twice as long there.

    Returns: pages joined.
    Source: https://man7.org/linux/man-pages/man2/madvise.2.html (MADV_COLLAPSE)
    """
    libc = ctypes.CDLL(None)
    # What the imports needed for a moment.
    libc.malloc_trim(0)
    with open("/proc/self/maps", encoding="utf-8") as file:  # noqa: PTH123 - no imports of ours
        lines = [line.split() for line in file]
    joined = 0
    for place, rights, *_, name in lines:
        # The last field of a mapping without a name is its inode: none.
        if rights != "rw-p" or name not in ("0", "[heap]"):
            continue
        start, end = (int(address, 16) for address in place.split("-"))
        for page in range(-(-start // _HUGE) * _HUGE, end - _HUGE + 1, _HUGE):
            result = libc.madvise(ctypes.c_void_p(page), ctypes.c_size_t(_HUGE), _MADV_COLLAPSE)
            joined += result == 0
    return joined
