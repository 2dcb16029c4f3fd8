"""Components of bundles that misbehave. Copied into a bundle as ``scripts/faults.py``, where the worker meets them."""

import contextlib
import ctypes
import os
import re
import signal
import sys
import time

import numpy as np
import torch
from monai.transforms import InvertibleTransform, MapTransform


class Fault(MapTransform):
    """A preprocessing step that does ``what`` and then lets the image pass."""

    def __init__(self, keys, what, value=None):
        super().__init__(keys)
        self.what, self.value = what, value

    def __call__(self, data):
        FAULTS[self.what](self.value)
        return data


class SleepyInverse(MapTransform, InvertibleTransform):
    """A step whose inverse takes its time."""

    def __init__(self, keys, seconds):
        super().__init__(keys)
        self.seconds = seconds

    def __call__(self, data):
        for key in self.key_iterator(data):
            self.push_transform(data, key)
        return data

    def inverse(self, data):
        for key in self.key_iterator(data):
            self.pop_transform(data, key)
        time.sleep(self.seconds)
        return data


class Sleepy(torch.nn.Module):
    """Sleeps in the forward or in the backward pass."""

    def __init__(self, forward=0.0, backward=0.0):
        super().__init__()
        self.seconds = forward, backward

    def forward(self, x):
        time.sleep(self.seconds[0])
        return SleepyBackward.apply(x, self.seconds[1])


class SleepyBackward(torch.autograd.Function):
    @staticmethod
    def forward(context, x, seconds):
        context.seconds = seconds
        return x.clone()

    @staticmethod
    def backward(context, gradient):
        time.sleep(context.seconds)
        return gradient, None


def network(*sleepy):
    """Convolution, then the given layers, then a head with three classes."""
    return torch.nn.Sequential(
        torch.nn.Conv3d(1, 3, 4, 4), *sleepy, torch.nn.ReLU(), torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten()
    )


def sleepy_network(forward=0.0, backward=0.0, layers=1):
    return network(*(Sleepy(forward, backward) for _ in range(layers)))


def network_after(what, value=None):
    """An ordinary network, once a fault has happened while it is made."""
    FAULTS[what](value)
    return sleepy_network()


def say_to_slicer(text):
    """Write on every pipe there is except the log: one of them is the way back to Slicer."""
    for fd in range(3, 64):
        with contextlib.suppress(OSError):
            os.write(fd, text.encode())


def allocate(size):
    return np.ones(int(size), np.uint8)


def allocate_in_torch(size):
    return torch.ones(int(size), dtype=torch.uint8)


def busy_in_cpp(seconds):
    end = time.monotonic() + seconds
    big = torch.rand(1500, 1500)
    while time.monotonic() < end:
        big @ big


def print_everywhere(text):
    print(text)
    print(text, file=sys.stderr)
    os.write(1, text.encode())
    os.system(f"echo {text}")
    ctypes.CDLL(None).puts(text.encode())


def hold_the_interpreter(_):
    re.match(r"(a+)+$", "a" * 60 + "b")  # for ever, in C, without letting any other thread run


def start_a_child_and_sleep(path):
    """A process that would outlive this one; its number is in the file."""
    import subprocess

    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with open(path, "w") as file:
        file.write(str(child.pid))
    time.sleep(60)


def raise_in_a_circle(_):
    one, other = RuntimeError("the one"), ValueError("the other")
    one.__cause__, other.__cause__ = other, one
    raise one


class Unprintable(Exception):
    def __str__(self):
        raise OSError("not even that")


def raise_unprintable(_):
    raise Unprintable


FAULTS = {
    "start a child and sleep": start_a_child_and_sleep,
    "raise in a circle": raise_in_a_circle,
    "raise what cannot be printed": raise_unprintable,
    "raise megabytes": lambda size: {}["x" * int(size)],
    "sleep": time.sleep,
    "exit": sys.exit,
    "leave": os._exit,
    "raise": lambda text: {}[text],
    "kill": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "crash": lambda _: ctypes.string_at(0),
    "stop": lambda _: os.kill(os.getpid(), signal.SIGSTOP),
    "say": say_to_slicer,
    "print": print_everywhere,
    "allocate": allocate,
    "allocate in torch": allocate_in_torch,
    "busy in C++": busy_in_cpp,
    "hold the interpreter": hold_the_interpreter,
    "read": lambda _: print("read", repr(sys.stdin.read())),
}
