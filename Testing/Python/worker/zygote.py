"""A Python that starts a worker in a tenth of a second: its processes are forked from one that has loaded the
libraries.

Tests that end many workers use it in the place of an interpreter, and for ``-m CAMOverlayLib`` too. What it starts is a
process like any other, and between it and whoever started it stands a launcher, as PythonSlicer does in Slicer.
"""

from __future__ import annotations

import array
import contextlib
import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path


class Zygote:
    def __init__(self, folder: Path) -> None:
        from CAMOverlayLib.worker.interpreter import LIBRARY

        self.python, address = folder / "python", folder / "socket"
        self.python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{__file__}" launch "{address}" "$@"\n')
        self.python.chmod(0o755)
        environment = os.environ | {"PYTHONPATH": str(LIBRARY), "PYTHONUNBUFFERED": "1"}  # as every worker has it
        self._process = subprocess.Popen(
            [sys.executable, __file__, "serve", address], env=environment, stdout=subprocess.PIPE
        )
        self._process.stdout.readline()  # it listens; the libraries load when the first one asks

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def serve(address: str) -> None:
    """Fork for everyone who asks, with the streams that come along; tell how the child ended."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(8)
    print(flush=True)
    import CAMOverlayLib.engine.pipeline  # noqa: F401

    while True:
        asker, _ = listener.accept()
        streams = array.array("i")
        text, ancillary, *_ = asker.recvmsg(1 << 16, socket.CMSG_SPACE(3 * streams.itemsize))
        streams.frombytes(ancillary[0][2])
        if os.fork() == 0:  # waits for the worker, so that this one can go on listening
            worker = os.fork()
            if worker == 0:
                for number, stream in enumerate(streams):
                    os.dup2(stream, number)
                    os.close(stream)
                asker.close()
                listener.close()
                _, module, *arguments = text.decode().split("\0")
                sys.argv = [module, *arguments]
                runpy.run_module(module, run_name="__main__", alter_sys=True)
                os._exit(0)
            for stream in streams:
                os.close(stream)
            status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
            with contextlib.suppress(OSError):  # the launcher was ended too
                asker.sendall(str(status if status >= 0 else 128 - status).encode())
            os._exit(0)
        asker.close()
        for stream in streams:
            os.close(stream)
        while True:  # those that waited have ended
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    break
            except ChildProcessError:
                break


def launch(address: str, arguments: list[str]) -> int:
    """Ask for a worker on these streams and end as it ends."""
    with socket.socket(socket.AF_UNIX) as asker:
        asker.connect(address)
        streams = array.array("i", [0, 1, 2])
        asker.sendmsg(["\0".join(arguments).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
        return int(asker.recv(16) or b"1")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(launch(sys.argv[2], sys.argv[3:]))
