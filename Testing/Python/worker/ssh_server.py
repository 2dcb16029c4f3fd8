"""An ssh server on the loopback address, with keys made for the occasion: OpenSSH's ``sshd`` where there is one (on the
search path, in its usual places, or named by CAM_OVERLAY_SSHD), else one on asyncssh. The client is the real ``ssh``.

    server = SshServer(folder)       # raises NoServer with the reason where there is none
    server.url("/path/to/python")    # ssh://user@127.0.0.1:port/path/to/python
    server.cut()                     # ends every connection at once, as a machine that loses its power does
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

PYTHON = sys.executable
"""As it is before Slicer's side is the process's."""


class NoServer(Exception):
    """There is nothing here to be a server with."""


def find_sshd() -> str | None:
    named = [os.environ.get("CAM_OVERLAY_SSHD"), shutil.which("sshd"), "/usr/sbin/sshd", "/usr/local/sbin/sshd"]
    return next((path for path in named if path and os.access(path, os.X_OK)), None)


class SshServer:
    """
    Attributes:
        far: folder of what is "over there": ``far/tmp`` is its TMPDIR, ``far/cache`` its XDG_CACHE_HOME.
        bin: folder with the user's ``ssh``, whose configuration knows the server and the key.
        kind: what serves.
    """

    def __init__(self, folder: Path) -> None:
        if shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
            raise NoServer("there is no ssh here")
        self.sshd = find_sshd()
        if self.sshd is None and importlib.util.find_spec("asyncssh") is None:
            raise NoServer("there is neither an sshd here nor asyncssh")
        self.kind = "sshd" if self.sshd else "asyncssh"
        self.folder, self.far, self.bin = folder, folder / "far", folder / "bin"
        for one in (self.far / "tmp", self.far / "cache", self.bin):
            one.mkdir(parents=True)
        for name in ("host", "other", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        shutil.copy(folder / "user.pub", folder / "authorized")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.known = folder / "known"
        self.know("host")
        self.identity = folder / "user"
        self._write_client()
        self._process: subprocess.Popen | None = None
        self._start()

    def url(self, path: str | Path) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{path}"

    def know(self, name: str) -> None:
        """Let the client know the server by this key."""
        self.known.write_text(f"[127.0.0.1]:{self.port} {(self.folder / name).with_suffix('.pub').read_text()}")

    def _write_client(self) -> None:
        config = self.folder / "config"
        config.write_text(
            f"Host *\n IdentityFile {self.identity}\n IdentitiesOnly yes\n UserKnownHostsFile {self.known}\n"
            f" GlobalKnownHostsFile /dev/null\nHost gpu-box\n HostName 127.0.0.1\n Port {self.port}\n"
        )
        ssh = self.bin / "ssh"
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {config} "$@"\n')
        ssh.chmod(0o755)

    def _start(self) -> None:
        log = open(self.folder / "server.log", "ab")
        variables = {"TMPDIR": str(self.far / "tmp"), "XDG_CACHE_HOME": str(self.far / "cache")}
        if self.sshd:
            config = self.folder / "sshd_config"
            config.write_text(
                f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.folder / 'host'}\nPidFile none\n"
                f"AuthorizedKeysFile {self.folder / 'authorized'}\nStrictModes no\nPasswordAuthentication no\n"
                "KbdInteractiveAuthentication no\nPermitRootLogin yes\n"
                f"SetEnv {' '.join(f'{name}={value}' for name, value in variables.items())}\n"
            )
            command: list = [self.sshd, "-D", "-e", "-f", config]
        else:
            command = [PYTHON, __file__, self.folder, str(self.port)]
        self._process = subprocess.Popen(command, env=os.environ | variables, stdout=log, stderr=log)
        end = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                probe.recv(1)  # it greets
                return
            if self._process.poll() is not None or time.monotonic() > end:
                raise NoServer(f"the server does not start: {(self.folder / 'server.log').read_text()[-300:]}")
            time.sleep(0.02)

    def cut(self) -> None:
        """End every connection without a word, and what holds it."""
        if self.sshd:
            self._cut_children()
        else:
            self.stop()
            self._start()

    def stop(self) -> None:
        if self.sshd:
            self._cut_children()
        self._process.kill()
        self._process.wait()

    def _cut_children(self) -> None:
        for pid in children(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def left(self) -> list[str]:
        """What is in the far side's folder for what is temporary."""
        return sorted(os.listdir(self.far / "tmp"))


def children(pid: int) -> list[int]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(name))
    return found


async def hand_on(source, sink) -> None:
    with contextlib.suppress(Exception):  # it is closed, or the connection is lost
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()


async def feed(process, child) -> None:
    await hand_on(process.stdin, child.stdin)
    child.stdin.close()


async def serve(folder: Path, port: int) -> None:
    """The same on asyncssh: runs what is asked for in a shell."""
    import asyncssh

    async def run(process: asyncssh.SSHServerProcess) -> None:
        child = await asyncio.create_subprocess_shell(
            process.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        outputs = ((child.stdout, process.stdout), (child.stderr, process.stderr))
        feeding = asyncio.create_task(feed(process, child))
        await asyncio.gather(*(hand_on(*one) for one in outputs))
        code = await child.wait()
        feeding.cancel()
        process.exit(code if code >= 0 else 128 - code)

    await asyncssh.listen(
        "127.0.0.1",
        port,
        server_host_keys=[folder / "host"],
        authorized_client_keys=str(folder / "authorized"),
        process_factory=run,
        encoding=None,
    )
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
