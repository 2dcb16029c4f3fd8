"""``cohort.html``: what a cohort says, on one page that needs nothing but a browser.

Counts and failures come first, then where the heat lies (mean maps, groups, structures), whether it lies in the masks,
right and wrong answers side by side, and the table of all cases. The page may run one script, its own, which it names
by its hash, and may ask no network for anything, whatever a name in a list looks like. Pictures of cases are in the
page; their reports are opened beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..contract.whole_files import save_text
from ..report.document import document, read_file
from ..report.markup import Markup, el, markup
from ..report.viewer import script_hash
from .summary import sections
from .summary.anatomy import Segmentations, read_names
from .summary.cases import read_account, read_cases
from .summary.gathered import Gathered, Gathering
from .summary.maps import Template
from .summary.table import cases_table

PAGE = "cohort.html"

_HERE = Path(__file__).parent / "summary"


def write_cohort_page(
    folder: str | Path,
    *,
    template: str | Path | None = None,
    segmentations: str | Path | None = None,
    structure_names: str | Path | None = None,
    seed: int = 0,
    report: Callable[[float, str], None] = lambda share, words: None,
) -> Path:
    """Write ``cohort.html`` into a cohort's folder, from what lies there.

    Args:
        folder: what ``cam-overlay cohort`` wrote.
        template: image on which the mean map of each class is shown, and on which cases are grouped; the column
            ``to_template`` of the list says how each volume lies on it (see ``summary/transforms.py``).
        segmentations: column of the list, or folder, with a label map of each case.
        structure_names: file with the names of the labels; None takes ``labels.csv`` beside the segmentations.
        seed: of the bootstrap and of the search for groups.
        report: called with the share that is done and some words; what it raises ends the work, with nothing written.

    Returns:
        the page's path. It appears complete or not at all.

    Raises:
        OutputError: it is no folder of a cohort, or cannot be written to.
        VolumeError: the template, or the file of names, cannot be read.
        TargetError: there are no such segmentations.
    """
    folder = Path(folder).expanduser()
    cases = read_cases(folder)
    onto = Template.read(Path(template).expanduser()) if template is not None else None
    inside = Segmentations(segmentations, folder) if segmentations is not None else None
    found = Gathering(onto, inside, folder).gather(cases, seed, report)
    if structure_names is not None:
        found.names = read_names(Path(structure_names).expanduser())
    report(1.0, "Writing the page")
    return save_text(folder / PAGE, _page(folder, found, onto, seed))


def require_readable(template: str | Path | None) -> None:
    """Raise VolumeError where a template cannot be read: before hours are spent, and not after."""
    if template is not None:
        Template.read(Path(template).expanduser())


def _page(folder: Path, found: Gathered, template: Template | None, seed: int) -> str:
    account = read_account(folder)
    parts = [
        sections.heading(folder, account, found),
        sections.warnings(found),
        sections.figures(found),
        sections.classes(found, seed),
        sections.failures(found),
        sections.mean_maps(found, template),
        sections.groups(found),
        sections.in_masks(found, seed),
        sections.right_and_wrong(found, seed),
        sections.structures(found),
        cases_table(found),
        sections.provenance(account, found, seed),
    ]
    script = (_HERE / "cohort.js").read_text(encoding="utf-8")
    style = read_file("page.css") + (_HERE / "cohort.css").read_text(encoding="utf-8")
    body = el("main", *(part for part in parts if part is not None))
    scripts = [el("script", Markup(script))]
    return document(f"Cohort {folder.resolve().name}", markup(body), style, scripts, [script_hash(script)])
