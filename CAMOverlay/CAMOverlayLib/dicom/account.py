"""How an object came about, in the words and codes that DICOM has for it. Nothing of it comes from the patient."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .. import __version__
from ..contract.methods import CATALOGUE
from ..contract.request import Result

SOFTWARE = "CAMOverlay"

SALIENCY = ("saliency", "smoothgrad", "guidedbackprop", "integratedgradients", "occlusion")
"""Methods whose maps are of the input and no class activation."""


@dataclass(frozen=True)
class Account:
    """What computed an object.

    Attributes:
        method: title of the method, such as ``Grad-CAM``, and ``target``: the class that was explained.
        layer: where the method looked.
        model, model_version: the network's name and version.
        model_hash: SHA-256 over the model's files; empty where that is not known.
        versions: of the libraries that took part.
    """

    method: str
    target: str
    layer: str
    model: str
    model_version: str
    model_hash: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, result: Result) -> Account:
        """Of a finished explanation."""
        model = result.bundle_name or "network"
        return cls(
            result.method,
            result.target.name,
            result.layer,
            model,
            result.bundle_version,
            result.provenance.content_hash,
            dict(result.versions),
        )

    @property
    def quantity(self) -> str:
        """What the heat is, as a keyword of DICOM's codes: class activation, or saliency (PS3.16 CID 7180)."""
        name = next((name for name, info in CATALOGUE.items() if info.title == self.method), "")
        return "Saliency" if name in SALIENCY else "ClassActivation"

    def parameters(self) -> dict[str, str]:
        """What the algorithm was called with."""
        said = {"method": self.method, "target": self.target, "layer": self.layer, **self.model_words()}
        return {name: plain(value, 200) for name, value in said.items() if value}

    def model_words(self) -> dict[str, str]:
        said = {"model": self.model, "model version": self.model_version, "model sha256": self.model_hash}
        return {name: plain(value, 200) for name, value in said.items() if value}

    def sentence(self, what: str) -> str:
        """One paragraph of at most 1024 characters (ST)."""
        said = "; ".join(f"{name} {value}" for name, value in self.parameters().items())
        return f"{plain(what, 200)} by {SOFTWARE} {__version__}: {said}."[:1024]

    def software(self) -> tuple[str, ...]:
        """Every version, each at most 64 characters (LO)."""
        others = {name: version for name, version in self.versions.items() if name != SOFTWARE}
        return tuple(plain(f"{name} {version}") for name, version in {SOFTWARE: __version__, **others}.items())


def plain(text: Any, longest: int = 64) -> str:
    """A text as DICOM takes it: without control characters and backslashes, which part values, and cut."""
    words = "".join(c if c.isprintable() and c != "\\" else " " for c in str(text))
    return " ".join(words.split())[:longest].rstrip()
