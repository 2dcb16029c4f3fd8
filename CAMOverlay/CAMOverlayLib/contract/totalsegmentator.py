"""TotalSegmentator's weights as they lie on disk: its results folder, one Dataset of it, or the archive of one.

Each Dataset is an nnU-Net model, and a task may share its classes among several of them. Which one is opened depends on
the class that is asked for, so that has to be known first (:func:`narrow`). Nothing is run to tell any of it.

The results folder is ``~/.totalsegmentator/nnunet/results`` unless somebody moved it; what its Datasets are is in
:mod:`CAMOverlayLib.contract.totalsegmentator_tasks`.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import BundleError, TargetError
from .model import Code, ModelInfo, ModelSummary
from .nnunet_folder import ALL_FOLDS, TrainedFolder, dataset_name, find_trained, is_nnunet
from .nnunet_plans import Plans, class_names, read_plans, summary_of
from .totalsegmentator_tasks import FOLDERS, TASKS, Task, classes_of

KIND = "TotalSegmentator model"
NO_CROP, CUBIC = "no_crop", "cubic"
"""Words that say how a task is run: without the rough model that would crop the volume; with the splines of third order
that resampled volumes up to version 2.15."""
BACKGROUND = "background"


@dataclass(frozen=True)
class Part:
    """One Dataset of a task.

    Attributes:
        path: its folder, a trained folder in it, or its archive; None where it is missing.
    """

    task: Task
    number: int
    path: Path | None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the outputs, the background first: the model's own, where it is there and has names. One that is
        damaged is told of when it is opened; the others can be used meanwhile."""
        listed = (BACKGROUND, *classes_of(self.number))
        if self.path is None:
            return listed
        try:
            return named(class_names(find_network(self, ()).folder), self.number)
        except BundleError:
            return listed


@dataclass(frozen=True)
class Chosen:
    """What of a folder is meant.

    Attributes:
        parts: of every task that is there, in the order in which a class is looked for; missing ones among them.
        words: what is left of the configurations' names, for the nnU-Net model itself.
    """

    parts: tuple[Part, ...]
    words: tuple[str, ...]

    @property
    def there(self) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.path is not None)

    @property
    def only(self) -> Part | None:
        """The one part that can be meant; None where several can."""
        return self.parts[0] if len(self.parts) == 1 else None

    def holding(self) -> dict[str, Part]:
        """Every class with the first part that has it, in the order of tasks and their parts."""
        found: dict[str, Part] = {BACKGROUND: self.there[0]}
        for part in self.parts:
            for name in part.classes:
                found.setdefault(name, part)
        return found


def recognises(path: Path) -> bool:
    """Whether a folder or archive is TotalSegmentator's, told from names alone."""
    try:
        return bool(_installed(path))
    except (OSError, zipfile.BadZipFile):
        return False


def choose(path: Path, words: Sequence[str] = ()) -> Chosen:
    """Which Datasets there can be meant.

    Args:
        words: names of a task (``total_mr``), a Dataset or its number (``291``), :data:`NO_CROP`, :data:`CUBIC`, and
            whatever an nnU-Net model knows.

    Raises:
        BundleError: what was named is not there.
    """
    there = _installed(path)
    words = tuple(word.strip() for word in words)
    tasks = [task for task in TASKS if there.keys() & set(task.datasets)]
    parts = [Part(task, number, there.get(number)) for task in tasks for number in task.datasets]
    if not path.is_dir() or path in there.values():
        parts = [part for part in parts if part.path is not None]  # who gives one Dataset means that
    wanted = [word for word in words if _names_part(word)]
    kept = [part for part in parts if all(_is_meant(part, word) for word in wanted)]
    if kept and not any(part.path for part in kept):
        require_there(kept[0], path, " ".join(wanted))
    if not kept:
        raise BundleError(
            f"'{path}' has no {' '.join(wanted)}; there are {', '.join(task.name for task in tasks)} with the Datasets "
            f"{', '.join(map(str, sorted(there)))}. Name one of these.",
            setting="configs",
        )
    return Chosen(tuple(kept), tuple(word for word in words if not _names_part(word)))


def narrow(path: Path, configs: tuple[str, ...], classes: Sequence[str]) -> tuple[str, ...]:
    """The configurations' names with which the network is opened that has these classes.

    Raises:
        TargetError: several networks could be meant and no class says which, or the classes are not of one network.
        BundleError: the network that has them is missing.
    """
    chosen = choose(path, configs)
    if chosen.only is not None:
        return configs
    holding = chosen.holding()
    parts = [holding[name] for name in classes if name != BACKGROUND]
    if not parts:
        some = ", ".join([name for name in holding if name != BACKGROUND][:6])
        raise TargetError(
            f"'{path}' holds {len(chosen.there)} networks of TotalSegmentator, each with classes of its own, and "
            f"answers for none without one of them. Name a class, such as {some}; there are {len(holding) - 1}.",
            setting="target",
        )
    if len({part.number for part in parts}) > 1:
        where = " and ".join(f"{name} by Dataset{holding[name].number:03d}" for name in classes)
        raise TargetError(f"The classes are found by different networks, {where}. Compare classes of one network.")
    require_there(parts[0], path, classes[0])
    return (parts[0].task.name, str(parts[0].number), *chosen.words)


def require_there(part: Part, path: Path, name: str) -> None:
    """Raises BundleError where a part is missing, with what fetches it."""
    if part.path is None:
        task = part.task
        command = f"totalseg_download_weights -t {task.download or task.name}"
        licence = " after totalseg_set_license" if task.licensed else ""
        raise BundleError(
            f"'{name}' of task {task.name} needs '{FOLDERS[part.number]}', which '{path}' lacks. Get it with "
            f"'{command}'{licence}, or name another task that is there.",
            setting="configs",
        )


def find_network(part: Part, words: Sequence[str]) -> TrainedFolder:
    """The trained folder of a part that TotalSegmentator takes, unless the words name another.

    Raises:
        BundleError, WeightsError: as :func:`CAMOverlayLib.contract.nnunet_folder.find_trained`.
    """
    assert part.path is not None
    words = [word for word in words if word not in (NO_CROP, CUBIC)]
    usual = f"{part.task.trainer}__nnUNetPlans__{part.task.configuration}"
    folder = part.path if part.path.is_dir() else None
    unnamed = not any(word[:1] in "23" or "__" in word for word in words)  # 2d, 3d_fullres, a folder's name
    if unnamed and folder is not None and (folder / usual).is_dir():
        words.append(usual)
    if part.task.all_folds and not any(word.startswith("fold_") for word in words):
        words.append(ALL_FOLDS)
    return find_trained(part.path, words)


def named(said: Sequence[str], number: int) -> tuple[str, ...]:
    """Names of the outputs of a Dataset: what its ``dataset.json`` says, unless that only counts them."""
    listed = (BACKGROUND, *classes_of(number))
    counted = [name for name in said[1:] if re.fullmatch(r"(class|label|structure)?[_ ]?\d*", name, re.IGNORECASE)]
    return listed if counted and len(said) == len(listed) else tuple(said)


# What it says of itself -----------------------------------------------------------------------------------------------


def summarise(path: Path, configs: tuple[str, ...] = ()) -> ModelSummary:
    """What is there: of one Dataset its network, of several all their classes.

    Raises:
        BundleError, WeightsError: nothing there can be read.
    """
    chosen = choose(path, configs)
    if chosen.only is None:
        return summary_of_all(chosen)
    trained = find_network(chosen.only, chosen.words)
    return summary_of_part(chosen.only, trained, read_plans(trained.folder, trained.configuration))


def summary_of_part(part: Part, trained: TrainedFolder, plans: Plans) -> ModelSummary:
    """The same of one whose plans were read."""
    info = summary_of(trained, plans).info
    task, place = part.task, part.task.datasets.index(part.number) + 1
    several = f", part {place} of {len(task.datasets)}" if len(task.datasets) > 1 else ""
    about = f"TotalSegmentator {task.name}{several}, {resolution(task)}: {info.task}"
    classes = named(plans.classes, part.number)
    told = ModelInfo(info.name, "", about, info.channels, info.channel_names, info.spatial_shape, classes)
    return ModelSummary(KIND, told, Code((), (), ()), needs_trust=False)


def summary_of_all(chosen: Chosen) -> ModelSummary:
    """Of several networks: all their classes, and which Dataset has which."""
    holding = chosen.holding()
    tasks = dict.fromkeys(part.task for part in chosen.parts)
    told = [_contents(task, [part for part in chosen.parts if part.task is task]) for task in tasks]
    about = f"{len(chosen.there)} networks; the class says which one answers. " + "; ".join(told)
    info = ModelInfo("TotalSegmentator", "", about, 1, (), (), tuple(holding))
    return ModelSummary(KIND, info, Code((), (), ()), needs_trust=False)


def _contents(task: Task, parts: list[Part]) -> str:
    told = []
    for part in parts:
        names = part.classes[1:]
        which = names[0] if len(names) == 1 else f"{names[0]} … {names[-1]}"
        told.append(f"Dataset{part.number:03d} {which}{'' if part.path else ' (missing)'}")
    return f"{task.name} ({resolution(task)}): {', '.join(told)}"


def resolution(task: Task) -> str:
    if task.spacing is None:
        return "at the volume's own resolution"
    sides = dict.fromkeys(f"{mm:.3g}" for mm in task.spacing)
    return f"{' × '.join(f'{mm:.3g}' for mm in task.spacing) if len(sides) > 1 else next(iter(sides))} mm"


# Where it lies --------------------------------------------------------------------------------------------------------


def _installed(path: Path) -> dict[int, Path]:
    """The Datasets there by number; none where it is something else.

    Raises:
        OSError, BadZipFile: it cannot be looked into.
    """
    number = _number(dataset_name(path)) if is_nnunet(path) else None
    if number is not None:
        beside = path.parent if path.is_dir() and path.name != dataset_name(path) else path
        sure = _is_distinct(number) or any(map(_is_sure, beside.parent.iterdir()))
        return {number: path} if sure else {}
    if not path.is_dir():
        return {}
    children = [child for child in sorted(path.iterdir()) if _number(child.name) is not None and is_nnunet(child)]
    found = {number: child for child in children if (number := _number(child.name)) is not None and child.is_dir()}
    return found if any(map(_is_distinct, found)) else {}


def _number(name: str) -> int | None:
    """The number of a Dataset that has TotalSegmentator's name for it, however many subjects it was trained on."""
    match = re.match(r"Dataset(\d{3})_", name)
    known = FOLDERS.get(int(match[1])) if match else None
    return int(match[1]) if match and known and _without_subjects(name) == _without_subjects(known) else None


def _without_subjects(name: str) -> str:
    return re.sub(r"_\d+subj.*", "", name)


def _is_distinct(number: int) -> bool:
    """Whether nobody else calls a Dataset so: ``Dataset008_HepaticVessel`` may be anybody's own."""
    return "subj" in FOLDERS[number]


def _is_sure(folder: Path) -> bool:
    number = _number(folder.name)
    return number is not None and _is_distinct(number)


def _names_part(word: str) -> bool:
    return word.isdecimal() or word.startswith("Dataset") or any(word == task.name for task in TASKS)


def _is_meant(part: Part, word: str) -> bool:
    if word.isdecimal():
        return int(word) == part.number
    if word.startswith("Dataset"):
        return part.number in (_number(word), _number(word + FOLDERS[part.number][len("Dataset000") :]))
    return word == part.task.name
