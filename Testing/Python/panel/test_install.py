"""What is missing in Slicer's Python, how it is asked for, and what becomes of every way in which pip fails."""

from __future__ import annotations

import importlib.metadata
import sys
import types
from importlib.util import find_spec
from subprocess import CalledProcessError

import pytest
import slicer

from CAMOverlayLib.demo import DEMO_BUNDLE


@pytest.fixture
def index(host):
    """Slicer's packaging, played: nothing is really installed, and nibabel seems to be missing."""
    import slicer.packaging as packaging

    packaging.index.__init__()
    yield packaging.index
    packaging.index.__init__()


@pytest.fixture
def lacks(monkeypatch, index):
    """A function that hides packages until they were "installed"."""
    from CAMOverlayLib.panel.dialogs import install

    hidden: set[str] = set()
    real = importlib.metadata.version

    def version(name):
        if name in hidden and not any(call for call in index.installed if any(r.startswith(name) for r in call)):
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(install.importlib.metadata, "version", version)

    def hide(*names):
        hidden.update(names)

    return hide


def test_nothing_is_asked_where_nothing_is_missing(host, index):
    from CAMOverlayLib.panel.dialogs.install import Installer, missing

    assert missing() == [] and Installer().ensure() == "" and not host.dialogs.shown


def test_the_first_apply_asks_installs_and_goes_on(host, demoVolume, panel, index, lacks):
    lacks("torch", "nibabel")
    panel.chooseBundle(DEMO_BUNDLE)
    constraints = []
    index.onInstall = lambda requirements: None
    import slicer.packaging as packaging

    real = packaging.pip_install
    packaging.pip_install = lambda wanted, limits=None, **options: (
        constraints.append(open(limits).read()),
        real(wanted, limits, **options),
    )[1]
    try:
        panel.apply("OK")
    finally:
        packaging.pip_install = real
    asked = host.dialogs.shown[0]
    assert "torch, nibabel" in asked.text and "MB" in asked.text and "torch>=2.6" in asked.details
    assert [requirement.partition(">=")[0] for requirement in index.installed[0]] == ["torch", "nibabel"]
    assert f"numpy=={importlib.metadata.version('numpy')}" in constraints[0] and "itk<0" in constraints[0]
    assert panel.overlay is not None, panel.ui.messageLabel.text


def test_who_declines_gets_a_sentence(host, demoVolume, panel, index, lacks):
    lacks("nibabel")
    panel.chooseBundle(DEMO_BUNDLE)
    panel.apply("Cancel")
    assert "Nothing was installed" in panel.ui.messageLabel.text and "nibabel" in panel.ui.messageLabel.text
    assert not index.installed and panel.overlay is None and panel.ui.applyButton.enabled


def test_a_failure_can_be_tried_again(host, demoVolume, panel, index, lacks):
    lacks("nibabel")
    index.error = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    panel.chooseBundle(DEMO_BUNDLE)

    def retry(dialog):
        index.error = None
        next(button for button in dialog.buttons() if button.text.replace("&", "") == "Retry").click()

    panel.apply("OK", retry)
    assert "space on the disk" in host.dialogs.shown[1].text
    assert index.installed and panel.overlay is not None


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("[Errno 28] No space left on device", "space on the disk"),
        ("ProxyError('Cannot connect to proxy.')", "HTTPS_PROXY"),
        ("Temporary failure in name resolution", "network connection"),
        ("[Errno 13] Permission denied: '/opt/Slicer'", "cannot be written"),
        (None, "exit code 1"),
    ],
)
def test_each_failure_has_its_words(host, output, words):
    from CAMOverlayLib.panel.dialogs.install import failure

    assert words in failure(CalledProcessError(1, ["pip"], output=output))


def test_torch_comes_by_the_extension_where_it_is(host, index, lacks, monkeypatch):
    from CAMOverlayLib.panel.dialogs import install

    lacks("torch", "nibabel")
    asked = []

    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation=True):
            asked.append(askConfirmation)
            index.installed.append(["torch"])

    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=PyTorchUtilsLogic))
    host.dialogs.answer("OK")
    assert install.Installer().ensure() == ""
    assert asked == [False] and index.installed[1] == ["nibabel>=5.2"]


def test_an_older_slicer_installs_by_its_util(host, index, lacks, monkeypatch):
    from CAMOverlayLib.panel.dialogs import install

    lacks("nibabel")
    calls = []
    real = install.importlib.util.find_spec
    monkeypatch.setattr(
        install.importlib.util, "find_spec", lambda name: None if name == "slicer.packaging" else real(name)
    )
    monkeypatch.setattr(
        slicer.util, "pip_install", lambda wanted: (calls.append(wanted), index.installed.append(wanted[2:]))
    )
    host.dialogs.answer("OK")
    assert install.Installer().ensure() == ""
    assert calls[0][0] == "-c" and calls[0][2:] == ["nibabel>=5.2"]


@pytest.mark.parametrize("others", [(), ("nibabel",)])
def test_what_names_too_much_is_installed_alone(host, index, lacks, others):
    """The networks of nnU-Net name timm, which would bring torchvision."""
    import slicer.packaging as packaging

    from CAMOverlayLib.panel.dialogs import install

    lacks("dynamic-network-architectures", *others)
    calls, real = [], packaging.pip_install
    packaging.pip_install = lambda wanted, limits=None, **options: (
        calls.append((wanted, options)),
        real(wanted, limits, **options),
    )[1]
    try:
        host.dialogs.answer("OK")
        install.Installer().ensure()
    finally:
        packaging.pip_install = real
    (wanted, options), alone = calls[0], ["dynamic-network-architectures>=0.4"]
    if others:
        assert wanted == ["nibabel>=5.2"] and options["no_deps_requirements"] == alone
    else:
        assert wanted == ["--no-deps", *alone] and options["no_deps_requirements"] is None


def test_under_testing_nothing_is_installed(host, index, lacks, monkeypatch):
    from CAMOverlayLib.panel.dialogs import install

    lacks("nibabel")
    host.native.setTestingEnabled(True)
    try:
        assert "nibabel" in install.Installer().ensure() and not index.installed
    finally:
        host.native.setTestingEnabled(False)


def test_another_python_is_left_alone(host, index, lacks, tmp_path):
    """What a chosen environment lacks is said by its own process, with the command that installs it."""
    from CAMOverlayLib.panel.dialogs.install import usesOwnPython

    assert usesOwnPython("") and usesOwnPython(sys.executable)
    other = tmp_path / "bin" / "python"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    assert not usesOwnPython(str(tmp_path)) and not usesOwnPython(str(tmp_path / "absent"))


@pytest.mark.slow
def test_another_python_computes(host, demoVolume, fresh, panel, zygote, tmp_path):
    environment = tmp_path / "bin" / "python"
    environment.parent.mkdir()
    mark = tmp_path / "ran"
    environment.write_text(f'#!/bin/sh\ntouch "{mark}"\nexec "{zygote.python}" "$@"\n')
    environment.chmod(0o755)
    panel.chooseBundle(DEMO_BUNDLE)
    panel.ui.advancedBox.collapsed = False
    host.process()
    host.type(panel.ui.pythonSelector, str(tmp_path))
    panel.apply()
    assert mark.exists() and panel.overlay is not None and str(tmp_path) in panel.ui.environmentLabel.text, (
        panel.ui.messageLabel.text + panel.ui.logText.toPlainText()
    )
    assert slicer.app.userSettings().value("CAMOverlay/Python") == str(tmp_path)
    host.type(panel.ui.pythonSelector, str(tmp_path / "absent"))
    panel.apply()
    assert "does not exist" in panel.ui.messageLabel.text


def test_a_python_on_another_machine_is_said_to_be_one(host, panel):
    from CAMOverlayLib.panel.dialogs.install import usesOwnPython

    panel.ui.advancedBox.collapsed = False
    host.type(panel.ui.pythonSelector, "ssh://me@gpu-box/opt/env")
    assert panel.ui.environmentLabel.text == "/opt/env on gpu-box, through ssh: what is explained is sent there"
    assert slicer.app.userSettings().value("CAMOverlay/Python") == "ssh://me@gpu-box/opt/env"
    assert not usesOwnPython("ssh://me@gpu-box/opt/env")
    host.type(panel.ui.pythonSelector, "ssh://gpu-box")
    assert "says no place on gpu-box" in panel.ui.environmentLabel.text
    panel.ui.pythonSelector.currentPath = ""
    assert "Slicer's own" in panel.ui.environmentLabel.text


CONFLICT = """Collecting torch>=2.6
ERROR: Cannot install torch because these package versions have conflicting dependencies.

The conflict is caused by:
    torch 2.9.0 depends on setuptools>=77
    The user requested (constraint) setuptools==65.5.0

To fix this you could try to:
ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/en/latest/topics/dependency-resolution/"""


def test_versions_that_do_not_fit_are_not_blamed_on_the_network(host):
    from CAMOverlayLib.panel.dialogs.install import failure

    words = failure(CalledProcessError(1, ["pip"], output=CONFLICT))
    assert "no versions that fit together" in words and "setuptools>=77" in words
    assert not any(wrong in words for wrong in ("network", "proxy", "disk", "\n"))


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (
            "ERROR: Could not find a version that satisfies the requirement torch>=2.6 (from versions: none)",
            "no build of torch",
        ),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]", "certificate"),
        ("ERROR: Something that nobody foresaw\n", "Something that nobody foresaw"),
        (b"\xff[Errno 28] No space left on device", "space on the disk"),
    ],
)
def test_pips_own_words_are_read(host, output, words):
    from CAMOverlayLib.panel.dialogs.install import failure

    assert words in failure(CalledProcessError(1, ["pip"], output=output))


def test_one_failure_opens_one_window_and_its_log_has_pips_words(host, demoVolume, panel, index, lacks):
    lacks("nibabel")
    index.error = CONFLICT
    panel.chooseBundle(DEMO_BUNDLE)
    panel.apply("OK", "Close")
    assert len(host.dialogs.shown) == 2, "the question and one failure"
    assert "fit together" in host.dialogs.shown[1].text and "fit together" in panel.ui.messageLabel.text
    assert "conflicting dependencies" in panel.ui.logText.toPlainText() and panel.ui.applyButton.enabled


def test_only_what_must_not_change_is_pinned(host):
    import os

    from CAMOverlayLib.panel.dialogs.install import Installer

    path = Installer._writeConstraints()
    with open(path) as file:
        lines = file.read().split()
    os.unlink(path)
    names = {line.partition("==")[0].partition("<")[0] for line in lines}
    assert {"numpy", "vtk", "SimpleITK"} <= names
    for name in ("scipy", "requests"):  # where Slicer, or this environment, has them
        assert (name in names) == (find_spec(name) is not None), name
    assert not names & {"pip", "setuptools", "packaging", "wheel", "torch", "monai", "nibabel"}
    assert f"numpy=={importlib.metadata.version('numpy')}" in lines and "itk<0" in lines


@pytest.mark.parametrize(
    ("requirement", "version", "met"),
    [
        ("torch>=2.5", "2.10.0+cpu", True),
        ("torch>=2.5", "2.5", True),
        ("torch>=2.5.0", "2.5", True),
        ("torch>=2.5", "2.4.1", False),
        ("torch>=2.5", None, False),
        ("torch==2.13.0", "2.14.0", True),  # a newer one is never taken back
        ("torch==2.13.0", "2.9.1", False),
        ("einops", "0.1", True),
        ("nibabel >= 5.2, < 6", "5.1.9", False),
        ("nibabel>=5.2,<6", "5.3.0rc1", True),
    ],
)
def test_a_version_that_is_too_old_is_missing(host, monkeypatch, requirement, version, met):
    from CAMOverlayLib.panel.dialogs import install

    monkeypatch.setattr(install, "requirements", lambda: [requirement])
    monkeypatch.setattr(install, "versionOf", lambda name: version)
    assert install.missing() == ([] if met else [requirement])
    if version and not met:
        assert version in install.question([requirement])


def test_what_was_installed_from_here_can_be_removed(host, panel, index, monkeypatch):
    from CAMOverlayLib.panel.dialogs import install

    slicer.app.userSettings().remove(install.INSTALLED_KEY)
    assert install.removable() == []
    assert "Nothing was installed" in install.Installer().remove()
    install._remember({"einops", "no-such-package"})
    assert install.removable() == ["einops"], "what is gone already is not named"
    removed = []
    monkeypatch.setattr(install, "pipUninstall", removed.append)
    panel.ui.advancedBox.collapsed = False
    host.process()
    host.dialogs.answer("Cancel")
    host.click(panel.ui.removeButton)
    assert removed == [] and "Nothing was removed" in panel.ui.messageLabel.text
    host.dialogs.answer("OK")
    host.click(panel.ui.removeButton)
    assert removed == [["einops"]] and "removed" in panel.ui.messageLabel.text
    slicer.app.userSettings().remove(install.INSTALLED_KEY)
