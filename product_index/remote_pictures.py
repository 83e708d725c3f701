"""Pictures by address: asked for again where that may help, given up where it does not.

A host that is away is waited for: the call fails as `Retryable`, and whoever
asked (the stream, a task of the schedule) comes again. Not for ever, for a
catalogue may name a thousand hosts, and one that is gone must not stop the
rest: after `patience_s` the copy of before is taken, or the picture counts as
missing; its product is embedded from its text, its row says so, and it is
asked for again with the next rebuild. While a host is away its other pictures
are not waited for one by one. Since when is noted on disk, so that a second
attempt in another process knows.
"""

import hashlib
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from .errors import HostAway, PictureMissing, PictureUnavailable
from .picture_cache import Kept, PictureCache
from .picture_hosts import host_of, shown
from .picture_web import Fetched
from .pictures import Pictures

# Within the time limit of one picture.
TRIES = 3
_FIRST_PAUSE_S = 0.2
# A host that is away is asked once in a tenth of the time that it has been, between these.
_PROBE_SHARE, _PROBE_MIN_S, _PROBE_MAX_S = 0.1, 2.0, 60.0


class Fetch(Protocol):
    """Asks once for what is under an address."""

    def __call__(self, url: str, *, known: Fetched | None = None) -> Fetched:
        """Return the picture.

        Raises:
            PictureMissing: there is none, or it may not be asked for.
            PictureUnavailable: it may be there later.
        """
        ...


class RemotePictures:
    """Addresses to whoever can fetch them, names to what is beside.

    Args:
        local: where names and `file:` addresses are looked up.
        fetchers: by scheme.
        cache: of what was fetched.
        away: which hosts and pictures did not answer.
        fresh_s: so long a kept picture is taken without asking its host.
        patience_s: so long a host is waited for.
        timeout_s: for all tries of one picture together.
        at_once: so many may be waited for side by side.
        steady_s, sleep, chance: stop-watch, patience and jitter.
    """

    def __init__(
        self,
        local: Pictures,
        fetchers: dict[str, Fetch],
        cache: PictureCache,
        away: "Away",
        *,
        fresh_s: float = 0.0,
        patience_s: float = 600.0,
        timeout_s: float = 10.0,
        at_once: int = 16,
        now_s: Callable[[], float] = time.time,
        steady_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.at_once = at_once
        self._local = local
        self._fetchers = fetchers
        self._cache = cache
        self._away = away
        self._fresh_s = fresh_s
        self._patience_s = patience_s
        self._timeout_s = timeout_s
        self._now_s = now_s
        self._steady_s = steady_s
        self._sleep = sleep
        self._chance = chance

    def read(self, uri: str) -> bytes:
        """Return the bytes under a name or an address."""
        scheme = uri.partition("://")[0].casefold() if "://" in uri else "file"
        fetch = self._fetchers.get(scheme)
        if fetch is None:
            return self._local.read(uri)
        kept = self._cache.get(uri)
        if kept is not None and self._now_s() - kept.asked_at < self._fresh_s:
            return kept.fetched.picture
        try:
            return self._ask(uri, fetch, kept)
        except PictureUnavailable as error:
            waited_s = self._away.waited_s(host_of(uri), uri)
            if waited_s < self._patience_s:
                raise
            if kept is not None:
                return kept.fetched.picture
            raise PictureMissing(
                f"{error}; it has not answered for {waited_s:.0f} s and is not waited for any longer"
            ) from error

    def _ask(self, uri: str, fetch: Fetch, kept: Kept | None) -> bytes:
        host = host_of(uri)
        self._away.check(host, uri)
        try:
            fetched = self._ask_again(uri, fetch, kept)
        except HostAway as error:
            self._away.note(host, uri, silent=True, reason=str(error))
            raise
        except PictureUnavailable as error:
            self._away.note(host, uri, silent=False, reason=str(error))
            raise
        except PictureMissing:
            self._away.forget(host, uri)  # an answer is an answer
            raise
        self._away.forget(host, uri)
        self._cache.put(uri, fetched)
        return fetched.picture

    def _ask_again(self, uri: str, fetch: Fetch, kept: Kept | None) -> Fetched:
        until_s = self._steady_s() + self._timeout_s
        for attempt in range(TRIES):
            try:
                return fetch(uri, known=kept.fetched if kept else None)
            except PictureUnavailable:
                pause_s = _FIRST_PAUSE_S * 2.0**attempt * (0.5 + self._chance())
                if attempt == TRIES - 1 or self._steady_s() + pause_s >= until_s:
                    raise
                self._sleep(pause_s)
        raise AssertionError("the last try returns or raises")


class Away:
    """Hosts and pictures that did not answer, since when; on disk, for other processes too.

    Args:
        folder: of small files, one each.
        now_s: seconds since 1970.
    """

    def __init__(self, folder: Path, *, now_s: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._now_s = now_s
        self._lock = threading.Lock()
        self._silent: dict[str, tuple[float, str]] = {}  # host -> when it was last asked in vain, and why
        self._noted: dict[str, float] = {}  # host or address -> since when

    def check(self, host: str, uri: str) -> None:
        """Return if the host may be asked now.

        Raises:
            HostAway: it did not answer a moment ago.
        """
        with self._lock:
            asked_at, reason = self._silent.get(host, (0.0, ""))
            pause_s = min(_PROBE_MAX_S, max(_PROBE_MIN_S, _PROBE_SHARE * self._since_s(host)))
            if self._now_s() - asked_at >= pause_s:
                if reason:  # one asks; the others of this moment do not wait with it
                    self._silent[host] = (self._now_s(), reason)
                return
        raise HostAway(f"picture {shown(uri)} is not asked for now: {reason}")

    def note(self, host: str, uri: str, *, silent: bool, reason: str) -> None:
        """Write down that the picture did not come; and, if it is silent, that the host is away."""
        with self._lock:
            for name in (host, uri) if silent else (uri,):
                if name not in self._noted:
                    self._noted[name] = self._written(name)
            if silent:
                self._silent[host] = (self._now_s(), reason)

    def forget(self, host: str, uri: str) -> None:
        """Both have answered."""
        with self._lock:
            self._silent.pop(host, None)
            for name in (host, uri):
                if self._noted.pop(name, None) is not None or self._path(name).exists():
                    with suppress(OSError):
                        self._path(name).unlink(missing_ok=True)

    def waited_s(self, host: str, uri: str) -> float:
        """How long one of them has been away."""
        with self._lock:
            return max(self._since_s(host), self._since_s(uri))

    def _since_s(self, name: str) -> float:
        since = self._noted.get(name)
        return 0.0 if since is None else self._now_s() - since

    def _written(self, name: str) -> float:
        """Since when it is away, by the note of whoever found it first."""
        path, now_s = self._path(name), self._now_s()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError), path.open("x") as note:
                note.write(repr(now_s))
            return float(path.read_text() or now_s)
        except (OSError, ValueError):
            return now_s

    def _path(self, name: str) -> Path:
        return self._folder / hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
