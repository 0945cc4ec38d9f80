"""How the fork server keeps its memory, so that forking from it and using it cost little.

A fork copies a table with an entry for each 4 KiB of memory, and the end of a process undoes it;
what either of them writes to is copied after. Standard library alone, and nothing of ours.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import sysconfig
from collections import Counter
from types import CodeType

# The only Python whose objects `share_objects` knows.
_KNOWN_PYTHON = (3, 13)
_HUGE = 2 * 1024 * 1024
_PAGE = 4096
_MADV_COLLAPSE = 25
# What the libraries' objects take, roughly; more or less of it is no harm.
_OBJECTS_BYTES = 110 * 1024 * 1024
# Python keeps small objects in arenas of this size, and gives an arena back when it is empty.
_ARENA = 1024 * 1024
_BLOCK = 448
# Python's pools of small objects, and what of them is its own.
_POOL = 16 * 1024
_POOL_HEAD = 48
_SMALL = 512
# More than there can be of gaps of one size.
_GAPS_BYTES = 8 * 1024 * 1024


def reserve_memory() -> list[object]:
    """Have Python keep its small objects side by side: scattered they do not fill huge pages.

    Must come before the imports, whose libraries would lie in between.

    Returns: what keeps the memory; to be held on to, for an arena that is given back is a hole.
    """
    # In one piece from the start, for a list that grows leaves holes.
    blocks: list[object] = [b""] * (_OBJECTS_BYTES // _BLOCK)
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
        # The collector does not look into code, which holds nothing that could be a cycle.
        for code in (thing for thing in fresh.values() if isinstance(thing, CodeType)):
            layer += code.co_consts, code.co_names, code.co_name, code.co_qualname
            layer += code.co_filename, code.co_linetable, code.co_exceptiontable
    for address in found:
        ctypes.c_uint32.from_address(address).value = 0xFFFFFFFF


def fill_gaps() -> list[object]:
    """Use up the free memory between objects, so that what forks make lies side by side.

    In gaps nearly each new object would be in another page, and each page would be copied.

    Returns: what fills Python's own gaps; to be held on to.
    """
    kept: list[object] = []
    for size in range(16, _SMALL + 1, 16):
        kept += _fill_pools(size)
    _fill_heap()
    return kept


def _fill_pools(size: int) -> list[object]:
    """Make objects of a size until they fill one pool after the other: then no gap is left.

    Source: CPython's Objects/obmalloc.c
    """
    header = sys.getsizeof(b"")
    count = (_POOL - _POOL_HEAD) // size
    kept: list[object] = []
    # Another allocator has no pools.
    while len(kept) * size < _GAPS_BYTES:
        if size > header:
            made: list[object] = [bytes(size - header) for _ in range(4 * count)]
        else:
            made = [object() if size == 16 else complex(0, 1) for _ in range(4 * count)]
        kept += made
        used = Counter(id(thing) // _POOL for thing in made).values()
        # Loops and lists take a block now and then.
        if sum(blocks > count * 0.9 for blocks in used) > 2:
            break
    return kept


def _fill_heap() -> None:
    """Take the C library's free blocks, the large ones first, and never give them back."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
    libc.malloc_trim(0)
    end = libc.sbrk(0)
    size = 64 * 1024
    while size >= 32:
        # What no gap can hold comes from behind the end.
        while (libc.malloc(ctypes.c_size_t(size)) or end) < end - _PAGE:
            continue
        size = size * 3 // 4 if size > 1024 else size - 16


def join_pages() -> int:
    """Have the system keep the memory in pages of 2 MiB, of which a fork copies one entry each.

    A process that writes to one gets a copy of 4 KiB all the same. Systems before Linux 6.1 refuse,
    and forks take twice as long there. Returns the number of pages joined.

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
