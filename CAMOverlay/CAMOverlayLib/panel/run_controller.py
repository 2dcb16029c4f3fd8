"""From a press of Apply to the overlay: trust, install, run, result; and the listing of layers beside it.

What must not be confused lives here: which run is the one that counts, what ends what, and that nothing runs but what
was trusted. There are no widgets. What the user sees is behind :class:`Face`, who may run behind :class:`Gate`, what
computes behind :class:`Computation`, so that the order of things is tested with plain objects in their places.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from ..contract.errors import CAMOverlayError, Cancelled
from ..contract.inspection import Inspection
from ..contract.request import Progress


class Cancellable(Protocol):
    """Something under way."""

    def cancel(self) -> None:
        """End it; a run says later, by its callbacks, that it ended."""


class Face(Protocol):
    """What the user sees and has chosen."""

    def problem(self) -> str:
        """Why nothing can be run, or an empty text."""

    def folder(self) -> Path | None:
        """The bundle that is chosen."""

    def bundleProblem(self) -> str:
        """Why the bundle cannot be read, or an empty text."""

    def wantsLayers(self) -> bool:
        """Whether the layers of the bundle are still to be listed."""

    def words(self, error: BaseException) -> str:
        """An error's sentence as it reads here."""

    def wanted(self) -> tuple:
        """What a run would explain: with the same answer twice there is nothing to compute."""

    def showsFirst(self) -> bool:
        """Whether a map that is followed is shown before it is checked, which takes longer than the map."""

    def checking(self) -> None:
        """A run was asked for; the bundle is being read."""

    def starting(self) -> None:
        """The run begins now."""

    def cancelling(self) -> None:
        """The run was told to end, and will say when it has."""

    def report(self, progress: Progress) -> None:
        """How far the run is."""

    def say(self, words: str) -> None:
        """A message, while what is under way goes on."""

    def finish(self, words: str) -> None:
        """Nothing is under way any more."""

    def changed(self) -> None:
        """Something began or ended: buttons may say something else."""

    def refresh(self) -> None:
        """A run ended while the next one is on its way: show what is in the scene."""

    def contentKnown(self, contentHash: str) -> None:
        """The bundle's content, as it is now, is about to be used."""

    def show(self, node: Any, wanted: tuple) -> None:
        """The overlay is there."""

    def fail(self, error: BaseException) -> None:
        """The run ended with an error."""

    def listing(self, under_way: bool) -> None:
        """Layers are being listed, or no more."""

    def showLayers(self, found: Inspection) -> None:
        """They are known."""

    def failListing(self, error: BaseException) -> None:
        """They are not."""


class Gate(Protocol):
    """Who may run here, and with what."""

    def hash(self, folder: Path, onHash: Callable[[str], None], onError: Callable[[str], None]) -> Cancellable:
        """The hash of the bundle's content, computed between the turns of the event loop."""

    def allows(self, folder: Path, contentHash: str, ask: bool) -> bool:
        """Whether this content may run; with ``ask`` the user is asked where that is not known."""

    def install(self, ask: bool) -> str:
        """Get what is missing; why it is not there, or an empty text."""


class Computation(Protocol):
    """What computes."""

    def explain(
        self,
        trustedHash: str,
        onProgress: Callable[[Progress], None],
        onResult: Callable[[Any], None],
        onError: Callable[[BaseException], None],
        checked: bool = True,
    ) -> Cancellable:
        """Begin to explain what is chosen, with the checks of the map or without. Raises CAMOverlayError where that
        cannot begin."""

    def layers(
        self,
        folder: Path,
        trustedHash: str,
        onResult: Callable[[Inspection], None],
        onError: Callable[[BaseException], None],
    ) -> Cancellable:
        """Begin to list the layers of a bundle's network. Raises CAMOverlayError where that cannot begin."""


class Words(Protocol):
    """The sentences, in the user's language."""

    notTrusted: str
    otherBundle: str
    cancelled: str


class RunController:
    """Ties a press of Apply to a run.

    Callbacks belong to what they were made for: each start makes a new ticket, and those of an older one are heard no
    more. Otherwise the late end of a run that was superseded would end the one that superseded it.
    """

    def __init__(self, face: Face, gate: Gate, computation: Computation, words: Words) -> None:
        self._face, self._gate, self._computation, self._words = face, gate, computation, words
        self.run: Cancellable | None = None
        self.explained: tuple | None = None
        self._ticket: object = None
        self._preparing: _Preparing | None = None
        self._hashing: Cancellable | None = None
        self._listing: _Listing | None = None

    @property
    def busy(self) -> bool:
        """Whether there is something that *Cancel* would cancel."""
        return self.run is not None or self.preparing

    @property
    def preparing(self) -> bool:
        return self._preparing is not None

    @property
    def isListing(self) -> bool:
        return self._listing is not None

    def apply(self) -> None:
        """Trust, dependencies, run: each step begins when the one before is through."""
        problem = self._face.problem()
        if problem:
            self._face.say(problem)
        else:
            self._withTrust(self._explain)

    def follow(self) -> None:
        """Something else was chosen: show it, unless that is what is shown. A run before is superseded.

        The map comes at once and is checked after that, by the same run once more: who browses classes waits for no
        check, and where nothing else is chosen the answer is there as after any other run.
        """
        if self._face.problem() or self.explained is None:
            return
        wanted = self._face.wanted()
        if self.explained[:2] == wanted[:2] and self.explained != wanted:
            self._withTrust(partial(self._explain, checked=not self._face.showsFirst()))

    def cancel(self) -> None:
        """End what is under way; nothing is changed."""
        prepared = self._stopPreparing()
        if self.run is not None:
            self._face.cancelling()
            self.run.cancel()
        elif prepared:
            self._face.finish(self._words.cancelled)

    def stopAll(self) -> bool:
        """End everything, because the scene or the panel goes; whether something was being prepared."""
        self.stopListing()
        prepared = self._stopPreparing()
        if self.run is not None:
            self.run.cancel()
        return prepared

    def forget(self) -> None:
        """Nothing is shown any more."""
        self.explained = None

    # Trust.

    def _withTrust(self, then: Callable[[str], None], ask: bool = True) -> None:
        """Go on with ``then`` once the user trusts the bundle as it is now and everything that it needs is installed.

        Every run and every listing comes through here, since the bundle may have changed since the one before.

        Args:
            then: called with the hash of the content that is trusted: what was shown is what may run.
            ask: without it nothing is asked, installed or said: what is not trusted is left alone.
        """
        self._stopPreparing()
        folder = self._face.folder()
        assert folder is not None
        ticket = self._preparing = _Preparing(folder, then, ask)
        if ask and self.run is None:
            self._face.checking()
        self._hashing = self._gate.hash(
            folder,
            lambda contentHash: self._onHash(ticket, contentHash),
            lambda problem: self._onHashError(ticket, problem),
        )
        self._face.changed()

    def _onHash(self, ticket: _Preparing, contentHash: str) -> None:
        if self._preparing is not ticket:
            return
        self._hashing = None
        allowed = self._gate.allows(ticket.folder, contentHash, ticket.ask)
        if not self._stillMeant(ticket):
            return
        if not allowed:
            self._endPreparing(ticket, self._words.notTrusted)
            return
        problem = self._gate.install(ticket.ask)
        if not self._stillMeant(ticket):
            return
        if problem:
            self._endPreparing(ticket, problem)
            return
        self._preparing = None
        self._face.contentKnown(contentHash)
        ticket.then(contentHash)

    def _onHashError(self, ticket: _Preparing, problem: str) -> None:
        if self._preparing is ticket:
            self._hashing = None
            self._endPreparing(ticket, problem)

    def _stillMeant(self, ticket: _Preparing) -> bool:
        """Scripts and other modules go on while a question is open: the scene may be closed, another bundle chosen."""
        if self._preparing is not ticket:
            return False
        if self._face.folder() != ticket.folder:
            self._endPreparing(ticket, self._words.otherBundle)
            return False
        return True

    def _endPreparing(self, ticket: _Preparing, words: str) -> None:
        self._preparing = None
        if ticket.ask:
            self._notStarted(words)
        else:
            self._face.changed()

    def _stopPreparing(self) -> bool:
        """End what goes before a run; whether there was anything."""
        prepared, self._preparing = self.preparing, None
        if self._hashing is not None:
            self._hashing.cancel()
            self._hashing = None
        return prepared

    def _notStarted(self, words: str) -> None:
        """Say why there is no new run; one that is under way goes on."""
        if self.run is None:
            self._face.finish(words)
        else:
            self._face.say(words)
            self._face.changed()

    # The run.

    def _explain(self, trustedHash: str, checked: bool = True) -> None:
        if self._face.problem():
            self._notStarted(self._face.problem())  # the scene changed while a question was open
            return
        self.stopListing()
        self._face.starting()
        wanted = self._face.wanted()
        before, ticket = self._ticket, object()

        def current() -> bool:
            return self._ticket is ticket

        self._ticket = ticket  # first: the run before may end while this one is started
        try:
            run = self._computation.explain(
                trustedHash,
                lambda progress: self._face.report(progress) if current() else None,
                lambda node: self._onResult(node, wanted, checked) if current() else None,
                lambda error: self._onError(error) if current() else None,
                checked,
            )
        except CAMOverlayError as error:
            if current():
                self._ticket = before  # a run that is under way was not touched
            self._notStarted(self._face.words(error))
            return
        if current():  # otherwise it has ended already
            self.run = run
        self._face.changed()

    def _onResult(self, node: Any, wanted: tuple, checked: bool = True) -> None:
        self.run = self._ticket = None
        self.explained = wanted
        self._face.show(node, wanted)
        if self.preparing:  # the next run is already on its way
            self._face.refresh()
            return
        if not checked and not self._face.problem() and self._face.wanted() == wanted:
            self._face.refresh()
            self._withTrust(self._explain)
            return
        self._face.finish("")
        if self._face.wantsLayers():
            self.listLayers(ask=False)

    def _onError(self, error: BaseException) -> None:
        self.run = self._ticket = None
        if not isinstance(error, Cancelled):
            self._face.fail(error)
        elif self.preparing:
            self._face.refresh()
        else:
            self._face.finish(self._words.cancelled)

    # The listing of layers.

    def listLayers(self, ask: bool = True) -> None:
        """Ask the process for the layers, if the bundle is trusted; a run that begins meanwhile goes first."""
        if self._face.folder() is not None:
            self._withTrust(self._list, ask)

    def _list(self, trustedHash: str) -> None:
        folder = self._face.folder()
        if self.run is not None or folder is None or self._face.bundleProblem():
            return
        ticket = self._listing = _Listing()
        self._face.listing(True)

        def onResult(found: Inspection) -> None:
            if self._listing is ticket:
                self._listingDone()
                if self._face.folder() == folder:
                    self._face.showLayers(found)

        def onError(error: BaseException) -> None:
            if self._listing is ticket:
                self._listingDone()
                if not isinstance(error, Cancelled):
                    self._face.failListing(error)

        try:
            ticket.run = self._computation.layers(folder, trustedHash, onResult, onError)
        except CAMOverlayError as error:
            onError(error)
        self._face.changed()

    def _listingDone(self) -> None:
        self._listing = None
        self._face.listing(False)

    def stopListing(self) -> None:
        """End the listing that is under way, if there is one."""
        listing = self._listing
        if listing is not None:
            self._listingDone()
            if listing.run is not None:
                listing.run.cancel()


@dataclass(frozen=True, eq=False)
class _Preparing:
    """What goes before a run or a listing: of which bundle, how it goes on, and whether anything may be asked."""

    folder: Path
    then: Callable[[str], None]
    ask: bool


class _Listing:
    """A listing of layers that is under way, and its run once there is one."""

    run: Cancellable | None = None
