"""What the Extensions Index asks of an extension: its description, categories, licence, requirements, citation."""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version
from support import REPOSITORY, RESOURCES

# From the index's own check of description files, as of 2026.
CATEGORIES = {
    "Active Learning",
    "Analysis",
    "BigImage",
    "Cardiac",
    "Conda",
    "Converters",
    "DICOM",
    "Developer Tools",
    "Diffusion",
    "Examples",
    "Exporter",
    "Filtering",
    "IGT",
    "Informatics",
    "Neuroimaging",
    "Nuclear Medicine",
    "Pipelines",
    "Planning",
    "Quantification",
    "Radiotherapy",
    "Registration",
    "Remote",
    "Rendering",
    "Segmentation",
    "Sequences",
    "Shape Analysis",
    "Simulation",
    "Surface Models",
    "Tracking",
    "Training",
    "Ultrasound",
    "Utilities",
    "Wizards",
}
# The schema, version 1.0.2: key → type, and whether it must be there.
SCHEMA = {
    "$schema": (str, True),
    "category": (str, True),
    "scm_url": (str, True),
    "scm_revision": (str, False),
    "scm_type": (str, False),
    "build_dependencies": (list, False),
    "dicom_support_rule": (str, False),
    "build_subdirectory": (str, False),
    "enabled": (bool, False),
    "tier": (int, False),
}

DESCRIPTION = json.loads((REPOSITORY / "CAMOverlay.json").read_text())
CMAKE = (REPOSITORY / "CMakeLists.txt").read_text()
README = (REPOSITORY / "README.md").read_text()


def cmake(name: str) -> str:
    return re.search(rf'set\({name} "([^"]+)"\)', CMAKE)[1]


def requirements() -> list[Requirement]:
    lines = (line.partition("#")[0].strip() for line in (RESOURCES / "requirements.txt").read_text().splitlines())
    return [Requirement(line) for line in lines if line]


def test_the_description_file_follows_the_schema():
    assert set(DESCRIPTION) <= set(SCHEMA), "the schema allows nothing else"
    for key, (kind, required) in SCHEMA.items():
        assert key in DESCRIPTION or not required, key
        assert isinstance(DESCRIPTION.get(key, kind()), kind), key
    assert DESCRIPTION["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert 1 <= DESCRIPTION["tier"] <= 5 and DESCRIPTION["scm_type"] in ("git", "local")


def test_names_and_addresses_are_those_that_the_index_accepts():
    assert re.search(r"project\((\w+)\)", CMAKE)[1] == "CAMOverlay", "the description file's name"
    address = urlsplit(DESCRIPTION["scm_url"])
    assert address.scheme in ("https", "git") and "slicer" in address.path.rpartition("/")[2].lower()
    assert DESCRIPTION["category"] in CATEGORIES and cmake("EXTENSION_CATEGORY") == DESCRIPTION["category"]
    assert cmake("EXTENSION_DEPENDS").split() == DESCRIPTION["build_dependencies"] == ["PyTorch"]
    assert len(cmake("EXTENSION_DESCRIPTION").split()) > 8
    pictures = [cmake("EXTENSION_ICONURL"), *cmake("EXTENSION_SCREENSHOTURLS").split()]
    for picture in pictures:
        assert picture.startswith("https://") and picture.endswith(".png")
        assert (REPOSITORY / picture.partition("/main/")[2]).read_bytes().startswith(b"\x89PNG"), picture


def test_reviewers_find_licence_module_sentence_and_citation():
    assert "Apache License" in (REPOSITORY / "LICENSE").read_text()[:300]
    for heading in ("## Modules", "## How to cite", "## Licence"):
        assert heading in README, heading
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    version = re.search(r'^version = "(.+)"', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert citation["cff-version"] == "1.2.0" and citation["version"] == version and citation["license"] == "Apache-2.0"


@pytest.mark.parametrize("requirement", requirements(), ids=lambda r: r.name)
def test_requirements_are_lower_bounds_that_the_tested_versions_meet(requirement):
    assert {specifier.operator for specifier in requirement.specifier} == {">="}, "Slicer's rules forbid pins"
    lines = (REPOSITORY / "Testing" / "constraints.txt").read_text().splitlines()
    tested = dict(line.lower().split("==") for line in lines if "==" in line)
    assert Version(tested[requirement.name.lower()]) in requirement.specifier
