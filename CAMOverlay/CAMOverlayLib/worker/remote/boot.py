"""What runs first on the other machine.

It is sent there as text and run before anything of this package is there, so it needs nothing but Python, and says what
is wrong with any version of that. It brings the package's files there once, makes a folder for this connection, starts
the worker on the same streams, and removes the folder when the worker has ended or the connection is gone, however they
ended.
"""

import json
import os
import sys


def say(**message):
    os.write(1, (json.dumps(message) + "\n").encode("ascii"))


def fail(words):
    say(type="failure", run="", kind="WorkerError", message=words)
    sys.exit(1)


def exactly(count):
    parts = []
    while count:
        part = os.read(0, min(count, 1 << 16))
        if not part:
            sys.exit(0)  # nobody is there any more
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def line():
    parts = []
    while not parts or parts[-1] != b"\n":
        parts.append(exactly(1))
    return b"".join(parts)


settings = json.loads(line().decode("ascii"))

if sys.version_info < (3, 10):  # noqa: UP036
    fail(
        "The Python %s is version %d.%d; 3.10 or later is needed. Choose another Python."  # noqa: UP031
        % (sys.executable, sys.version_info[0], sys.version_info[1])
    )
if os.name != "posix":
    fail("The machine is a Windows machine; only Linux and macOS can compute for another one. Choose another machine.")

import fcntl  # noqa: E402
import hashlib  # noqa: E402
import select  # noqa: E402
import shutil  # noqa: E402
import signal  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
import zlib  # noqa: E402

HOUR = 3600
PATIENCE = 2.0  # seconds that a worker whose connection is gone has to end by itself
PREFIX = "cam-overlay-"


def code_folder(cache):
    """The package's files, whose name is their hash; asked for where they are not there, complete or absent."""
    place = os.path.join(cache, "code", settings["code"])
    if os.path.isdir(place):
        return place
    say(type="want", code=settings["code"])
    data = zlib.decompress(exactly(json.loads(line().decode("ascii"))))
    if hashlib.sha256(data).hexdigest() != settings["code"]:
        fail("The package's files did not arrive as they were sent. Try again.")
    folder = tempfile.mkdtemp(prefix=".new-", dir=os.path.dirname(place))
    try:
        for name, text in json.loads(data.decode("utf-8")).items():
            path = os.path.join(folder, *name.split("/"))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8", newline="") as file:
                file.write(text)
        os.rename(folder, place)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.isdir(place):  # another connection was faster
            raise
    return place


def sweep(folder, beginning):
    """Remove what a power cut left of earlier connections: folders that nobody holds a lock on."""
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        try:
            found = os.lstat(path)
            if not name.startswith(beginning) or found.st_uid != os.getuid() or not os.path.isdir(path):
                continue
            if not os.path.exists(os.path.join(path, "lock")):  # still being made, or cut off in that
                if time.time() - found.st_mtime > HOUR:
                    shutil.rmtree(path, ignore_errors=True)
                continue
            with open(os.path.join(path, "lock")) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            pass  # somebody holds it


def own_folder():
    """A folder for this connection, and the lock that says that somebody uses it."""
    above = os.path.realpath(tempfile.gettempdir())
    sweep(above, PREFIX)
    folder = tempfile.mkdtemp(prefix=PREFIX, dir=above)
    lock = open(os.path.join(folder, "locking"), "w")  # noqa: SIM115
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.rename(os.path.join(folder, "locking"), os.path.join(folder, "lock"))
    os.mkdir(os.path.join(folder, "tmp"))
    return folder, lock


def environment(code, folder):
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
    mine = {"PYTHONPATH": code, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8:replace"}
    heap = ":".join(filter(None, [settings["heap"], kept.get("GLIBC_TUNABLES")]))
    return dict(kept, TMPDIR=os.path.join(folder, "tmp"), GLIBC_TUNABLES=heap, **mine)


def watch(child):
    """Wait for the end of the worker; one whose connection is gone does not get long."""
    poll, until = select.poll(), None
    poll.register(0, getattr(select, "POLLRDHUP", 0))
    while child.poll() is None:
        gone = until is None and any(flags & ~select.POLLIN for _fd, flags in poll.poll(100))
        if gone:
            until = time.monotonic() + PATIENCE
        if until is not None:
            time.sleep(0.02)
            if time.monotonic() > until:
                return


def end(number, frame):
    raise SystemExit(128 + number)


def run(code, cache):
    folder, lock = own_folder()
    child = None
    command = [sys.executable, "-m", "CAMOverlayLib.worker", str(settings["hang_after"]), folder, cache]
    try:
        child = subprocess.Popen(command, cwd=folder, env=environment(code, folder), start_new_session=True)  # noqa: S603
        watch(child)
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if child is not None:
            try:  # noqa: SIM105
                os.killpg(child.pid, signal.SIGKILL)  # with all that it started
            except OSError:
                pass
            child.wait()
        for _ in range(5):
            shutil.rmtree(folder, ignore_errors=True)
            if not os.path.exists(folder):
                break
        lock.close()
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def main():
    os.umask(0o077)  # what is brought here is nobody else's business
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    cache = os.path.join(os.path.realpath(home), "cam-overlay")
    try:
        for name in ("code", "models"):
            os.makedirs(os.path.join(cache, name), exist_ok=True)
            sweep_unfinished(os.path.join(cache, name))
        code = code_folder(cache)
    except OSError as error:
        fail(
            "Nothing can be written into '%s' (%s). Make room there, or set XDG_CACHE_HOME to another folder."  # noqa: UP031
            % (cache, error.strerror or error)
        )
    try:
        return run(code, cache)
    except OSError as error:
        fail("The computation cannot be started in '%s': %s." % (tempfile.gettempdir(), error.strerror or error))  # noqa: UP031


def sweep_unfinished(folder):
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if name.startswith(".new-") and time.time() - os.lstat(path).st_mtime > 24 * HOUR:
            shutil.rmtree(path, ignore_errors=True)


sys.exit(main())
