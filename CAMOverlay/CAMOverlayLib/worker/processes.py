"""Whether a process is one that was started here, and ending it with everything that it started itself.

A number that a process calls its own is believed only if the system says the same: a signal must never reach a
stranger, whatever comes through the pipe.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


def belongs(pid: int, child: int) -> bool:
    """Whether ``pid`` is the process ``child``, one of its descendants, or holds its input and output.

    The last is what a launcher leaves that hands its streams on. Where the system cannot be asked the answer is no.
    """
    if pid <= 1 or child <= 1 or pid == os.getpid():
        return False
    if pid == child:
        return True
    try:
        if os.path.isdir("/proc/self/fd"):
            return _descends(pid, child, _parent_in_proc) or bool(_streams(pid) & _streams(child, (0, 1)))
        return _descends(pid, child, _parents_on_windows().get if sys.platform == "win32" else _parent_by_ps)
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return False


def kill(pid: int) -> None:
    """End a process at once, and what it started if it leads a group of its own, as the worker does."""
    try:
        if hasattr(os, "killpg") and pid > 1 and os.getpgid(pid) == pid != os.getpgrp():
            os.killpg(pid, KILL)
        else:
            os.kill(pid, KILL)
    except OSError:
        pass  # it has ended


def lead_a_group() -> None:
    """Make this process the head of a session of its own, so that all it starts can be ended with it."""
    if hasattr(os, "setsid"):
        try:  # noqa: SIM105
            os.setsid()
        except OSError:
            pass  # it is one already


def end_group() -> None:
    """End whatever this process started, and itself; no effect where it leads no group."""
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), KILL)


def _descends(pid: int, ancestor: int, parent) -> bool:
    for _ in range(64):  # of a table that changes while it is read
        pid = parent(pid) or 0
        if pid == ancestor:
            return True
        if pid <= 1:
            return False
    return False


def _parent_in_proc(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])


def _streams(pid: int, which: tuple[int, ...] | None = None) -> set[str]:
    """The pipes and sockets that a process holds, by their numbers in the system; all or those of these descriptors."""
    folder = Path(f"/proc/{pid}/fd")
    numbers = map(str, which) if which is not None else os.listdir(folder)
    found = set()
    for number in numbers:
        try:  # noqa: SIM105
            found.add(os.readlink(folder / number))
        except OSError:
            pass  # closed meanwhile
    return {name for name in found if re.fullmatch(r"(pipe|socket):\[\d+\]", name)}


def _parent_by_ps(pid: int) -> int:
    found = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True, timeout=2)  # noqa: S603, S607
    return int(found.stdout.strip() or 0)


def _parents_on_windows() -> dict[int, int]:
    """The parent of every process, from a snapshot of the process table."""
    import ctypes
    from ctypes import wintypes

    class Entry(ctypes.Structure):
        _fields_ = [
            ("size", wintypes.DWORD),
            ("usage", wintypes.DWORD),
            ("pid", wintypes.DWORD),
            ("heap", ctypes.c_size_t),
            ("module", wintypes.DWORD),
            ("threads", wintypes.DWORD),
            ("parent", wintypes.DWORD),
            ("priority", wintypes.LONG),
            ("flags", wintypes.DWORD),
            ("file", ctypes.c_char * 260),
        ]

    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
    kernel.CreateToolhelp32Snapshot.restype = wintypes.HANDLE
    snapshot = wintypes.HANDLE(kernel.CreateToolhelp32Snapshot(2, 0))  # the processes
    entry, parents = Entry(), {}
    entry.size = ctypes.sizeof(Entry)
    try:
        more = kernel.Process32First(snapshot, ctypes.byref(entry))
        while more:
            parents[entry.pid] = entry.parent
            more = kernel.Process32Next(snapshot, ctypes.byref(entry))
    finally:
        kernel.CloseHandle(snapshot)
    return parents
