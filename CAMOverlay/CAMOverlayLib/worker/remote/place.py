"""A Python on another machine, as a user names it, and the ``ssh`` that starts it.

``ssh://user@host:port/path/to/environment``; user and port may be left out, host may be a name of the user's own
``~/.ssh/config``, and ``/~/`` begins a path in the home folder over there. Everything about the connection (keys, known
hosts, jumps) is the user's own: no port is opened, and no password is asked for or kept.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from dataclasses import dataclass
from urllib.parse import unquote

from ...contract.errors import WorkerError, one_line
from ..transport import Exit

SCHEME = "ssh://"

NO_PYTHON, NO_PROGRAM = 117, 118
"""How the shell over there says that nothing lies at the path, or nothing that can be executed."""

OPTIONS = {
    "BatchMode": "yes",  # a question would wait for ever: there is no terminal
    "ConnectTimeout": "15",
    "ServerAliveInterval": "5",  # with the next one: a line that is dead is noticed within 15 s
    "ServerAliveCountMax": "3",
    "ControlMaster": "no",  # a connection that is shared already is used; none is left behind for others
    "ClearAllForwardings": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "IgnoreUnknown": "RemoteCommand",  # before OpenSSH 7.6
    "RemoteCommand": "none",
    "EscapeChar": "none",
    "Compression": "no",  # what is sent is compressed by itself
}

# Reads the first line to its end and not a byte further: what follows is for the program in it.
_FIRST = (
    'import os;exec(__import__("zlib").decompress(__import__("base64").b64decode(b"".join(iter('
    'lambda:os.read(0,1)or b"\\n",b"\\n")))))'
)

_FORM = re.compile(r"(?:(?P<user>[^@/\s]+)@)?(?P<host>\[[\w:.%]+\]|[^@/:\s\[\]]+)(?::(?P<port>\d+))?(?P<path>/.*)?")


@dataclass(frozen=True)
class Place:
    """A Python on another machine.

    Attributes:
        given: as the user named it.
        login: what ``ssh`` is told: ``host`` or ``user@host``.
        path: of the interpreter or its environment over there; ``~/…`` is in the home folder.
    """

    given: str
    login: str
    port: int | None
    path: str

    def command(self) -> list[str]:
        """The words that start it.

        Raises:
            WorkerError: there is no ``ssh`` on this computer.
        """
        ssh = shutil.which("ssh")
        if ssh is None:
            raise WorkerError(
                f"'{self.given}' needs the program ssh, which is not on this computer's search path. Install OpenSSH, "
                "or choose a Python of this computer."
            )
        options = [word for name, value in OPTIONS.items() for word in ("-o", f"{name}={value}")]
        port = ["-p", str(self.port)] if self.port is not None else []
        return [ssh, "-T", *options, *port, "--", self.login, self._line()]

    def _line(self) -> str:
        """What the login shell over there runs, whichever it is: finds the Python and becomes it."""
        home = self.path.startswith("~/")
        where = '"$HOME"/' + shlex.quote(self.path[2:]) if home else shlex.quote(self.path)
        script = (
            f'e={where}; for p in "$e" "$e/bin/python" "$e/bin/python3"; do '
            f'if [ -f "$p" ] && [ -x "$p" ]; then exec "$p" -c {shlex.quote(_FIRST)}; fi; done; '
            f'if [ -e "$e" ]; then exit {NO_PROGRAM}; fi; exit {NO_PYTHON}'
        )
        return f"exec /bin/sh -c {shlex.quote(script)}"

    @property
    def host(self) -> str:
        return self.login.rpartition("@")[2]

    @property
    def trial(self) -> str:
        """The words with which a user tries the connection out."""
        return " ".join(["ssh", *(["-p", str(self.port)] if self.port is not None else []), self.login])

    def problem(self, end: Exit, log: str, stage: str) -> str:
        """Why a connection ended, in a sentence; empty where that is nothing of the connection's own.

        Args:
            stage: what was going on, empty before the Python over there answered.
        """
        if end.code == NO_PYTHON:
            return f"There is no '{self.path}' on {self.host}. Name a Python interpreter there, or its environment."
        if end.code == NO_PROGRAM:
            return (
                f"'{self.path}' on {self.host} is no Python that can be started, nor an environment with one. Name a "
                "Python interpreter there, or its environment."
            )
        if end.code != 255:  # anything else is how the process over there ended
            return ""
        words = last_words_of_ssh(log)
        for pattern, sentence in _REASONS:
            if re.search(pattern, log) and not stage:
                return sentence.format(place=self, words=words)
        if stage:
            return f"The connection to {self.host} broke ({stage}): {words}. Apply starts a new one."
        return f"There is no connection to {self.host}: {words}. Try '{self.trial}' in a terminal."


_REASONS = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "The key of {place.host} is not the one that is known from before, so ssh refused it ({words}). Find out why "
        "it changed before you take the known one out of the file known_hosts.",
    ),
    (
        r"Host key verification failed|host key is known for|authenticity of host",
        "{place.host} is not among the hosts that ssh knows, so it refused its key ({words}). Connect once with "
        "'{place.trial}' in a terminal, and compare the key that is shown.",
    ),
    (
        r"Permission denied|Too many authentication failures",
        "{place.host} refused the login ({words}). It must succeed without a password: set up a key (ssh-copy-id), and "
        "try '{place.trial}' in a terminal.",
    ),
    (
        r"Could not resolve hostname",
        "There is no machine '{place.host}' ({words}). Correct its name, or name it in ~/.ssh/config.",
    ),
    (
        r"Connection refused|No route to host|Network is unreachable|timed out",
        "{place.host} cannot be reached ({words}). Is it on, and the network or VPN there? Try '{place.trial}' in a "
        "terminal.",
    ),
)


def last_words_of_ssh(log: str) -> str:
    """The last line of a log that says something."""
    lines = [line.strip() for line in log.splitlines() if line.strip(" \r@")]
    return one_line(lines[-1], 200).rstrip(".") if lines else "ssh did not say why"


def place_of(python: str | os.PathLike[str] | None) -> Place | None:
    """The place that a user named; None where it is a Python of this computer.

    Raises:
        WorkerError: it begins like one, and is none.
    """
    given = str(python or "").strip()
    if not given.casefold().startswith(SCHEME):
        return None
    form = _FORM.fullmatch(given[len(SCHEME) :])
    remedy = "Name it as ssh://user@host/path/to/environment; user@ may be left out, and a :port may follow the host."
    if form is None:
        raise WorkerError(f"'{given}' names no Python on another machine. {remedy}")
    user, host, port, path = form["user"], form["host"], form["port"], unquote(form["path"] or "")
    if user and ":" in user:
        raise WorkerError("A password does not belong into the name of a Python: ssh takes keys. Leave it out.")
    if any(word.startswith("-") for word in (user or "", host)):  # which ssh would take for an option
        raise WorkerError(f"'{given}' names no machine: nothing of it may begin with a hyphen. {remedy}")
    if port is not None and not 0 < int(port[:9]) < 1 << 16:
        raise WorkerError(f"'{given}' has the port {port[:9]}, and ports go from 1 to 65535. Correct it.")
    path = path.rstrip("/") or "/"
    if path in ("/", "/~") or any(ord(c) < 32 for c in path):
        raise WorkerError(f"'{given}' says no place on {host}. {remedy}")
    path = path[1:] if path.startswith("/~/") else path
    host = host.strip("[]")
    return Place(given, f"{user}@{host}" if user else host, int(port) if port else None, path)
