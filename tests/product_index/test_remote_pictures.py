"""Pictures by address: kept, asked for again, waited for, given up."""

import threading
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from product_index.build import build_pictures
from product_index.errors import HostAway, InvalidSettings, PictureMissing, PictureUnavailable
from product_index.picture_cache import PictureCache
from product_index.picture_stores import StorePictures
from product_index.picture_web import Fetched
from product_index.pictures import NoPictures
from product_index.remote_pictures import TRIES, Away, RemotePictures
from product_index.settings import Settings

from .picture_host import PICTURE

URL = "https://shop.example/mug.jpg"


class Clock:
    """Seconds that pass when somebody says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Host:
    """The twin of a host: answers what it is told to, and counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.say: Callable[[str], bytes | Exception] = lambda _url: PICTURE

    def __call__(self, url: str, *, known: Fetched | None = None) -> Fetched:
        self.asked.append(url)
        answer = self.say(url)
        if isinstance(answer, Exception):
            raise answer
        return known if known is not None and known.picture == answer else Fetched(picture=answer, etag="1")


def away(_url: str) -> Exception:
    return HostAway("host 'shop.example' does not answer")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def make(tmp_path: Path, clock: Clock, host: Host) -> Callable[..., RemotePictures]:
    """One process' pictures; all that are made share the folder."""

    def made(**options: float) -> RemotePictures:
        return RemotePictures(
            NoPictures({"mug.jpg": b"beside"}),
            {"https": host},
            PictureCache(tmp_path / "kept", max_bytes=10_000, now_s=clock),
            Away(tmp_path / "kept" / "away", now_s=clock),
            now_s=clock, steady_s=clock, sleep=clock.sleep, chance=lambda: 0.5, **options,
        )  # fmt: skip

    return made


def test_names_are_looked_up_beside_and_addresses_are_fetched(make: Callable[..., RemotePictures]) -> None:
    assert (b"beside", PICTURE) == (make().read("mug.jpg"), make().read(URL))
    with pytest.raises(PictureMissing):
        make().read("gopher://shop.example/mug.jpg")


def test_a_picture_that_stumbles_is_asked_for_again(make: Callable[..., RemotePictures], host: Host) -> None:
    host.say = lambda _url: PICTURE if len(host.asked) == TRIES else PictureUnavailable("500")

    assert PICTURE == make().read(URL)
    assert TRIES == len(host.asked)


def test_what_will_never_come_is_asked_for_once(make: Callable[..., RemotePictures], host: Host) -> None:
    host.say = lambda _url: PictureMissing("404")

    with pytest.raises(PictureMissing):
        make().read(URL)
    assert 1 == len(host.asked)


def test_a_kept_picture_is_taken_while_it_is_fresh(
    make: Callable[..., RemotePictures], host: Host, clock: Clock
) -> None:
    """Without a word, its host is asked whether it is still the same."""
    for fresh_s, asked in ((100.0, 1), (0.0, 2), (100.0, 2)):
        assert PICTURE == make(fresh_s=fresh_s).read(URL)
        assert asked == len(host.asked)
    clock.now += 101

    host.say = lambda _url: PICTURE + b"!"
    assert PICTURE + b"!" == make(fresh_s=100.0).read(URL)


def test_while_a_host_is_away_its_other_pictures_are_not_waited_for(
    make: Callable[..., RemotePictures], host: Host, clock: Clock
) -> None:
    """A page of 500 pictures on a host that hangs costs one wait, not 500."""
    host.say = away
    pictures = make()
    for number in range(50):
        with pytest.raises(PictureUnavailable):
            pictures.read(f"https://shop.example/{number}.jpg")
    assert TRIES == len(host.asked)

    clock.now += 60
    host.say = lambda _url: PICTURE
    assert [PICTURE] * 3 == [pictures.read(f"https://shop.example/{number}.jpg") for number in range(3)]


def test_a_host_is_waited_for_but_not_for_ever(
    make: Callable[..., RemotePictures], host: Host, clock: Clock
) -> None:
    """Also by the next process: a task that is tried again is one."""
    host.say = away
    with pytest.raises(PictureUnavailable):
        make(patience_s=600).read(URL)
    clock.now += 590
    with pytest.raises(PictureUnavailable):
        make(patience_s=600).read(URL)
    clock.now += 20

    pictures = make(patience_s=600)
    with pytest.raises(PictureMissing, match=r"has not answered for 6\d\d s"):
        pictures.read(URL)
    asked = len(host.asked)
    with pytest.raises(PictureMissing):  # at once: the host has not answered for as long
        pictures.read("https://shop.example/other.jpg")
    assert asked == len(host.asked)

    host.say = lambda _url: PICTURE
    clock.now += 61
    assert PICTURE == pictures.read(URL)
    host.say = away
    with pytest.raises(PictureUnavailable):  # it answered in between: waited for anew
        make(patience_s=600).read(URL)


def test_one_picture_that_always_fails_does_not_stop_the_others(
    make: Callable[..., RemotePictures], host: Host, clock: Clock
) -> None:
    """Its host answers for the rest, so only this one is given up."""
    pictures = make(patience_s=600)
    host.say = lambda url: PictureUnavailable("500") if url.endswith("broken.jpg") else PICTURE
    for _ in range(6):
        with pytest.raises(PictureUnavailable):
            pictures.read("https://shop.example/broken.jpg")
        assert PICTURE == pictures.read(URL)
        clock.now += 100

    with pytest.raises(PictureMissing, match="not waited for any longer"):
        pictures.read("https://shop.example/broken.jpg")


def test_when_a_host_is_given_up_the_copy_of_before_is_taken(
    make: Callable[..., RemotePictures], host: Host, clock: Clock
) -> None:
    """Better the picture of yesterday than a vector without one."""
    pictures = make(patience_s=600)
    pictures.read(URL)
    host.say = away
    with pytest.raises(PictureUnavailable):  # while it is waited for, nothing old is taken
        pictures.read(URL)
    clock.now += 601

    assert PICTURE == pictures.read(URL)


def test_the_cache_keeps_its_bound_and_what_was_used_last(tmp_path: Path, clock: Clock) -> None:
    cache = PictureCache(tmp_path, max_bytes=5_000, now_s=clock)
    for number in range(30):
        cache.put(f"{URL}{number}", Fetched(picture=bytes(500)))
        assert cache.get(f"{URL}0") is not None, number  # used again and again

    assert 5_000 >= sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert cache.get(f"{URL}29") is not None
    assert cache.get(f"{URL}1") is None
    cache.put("huge", Fetched(picture=bytes(6_000)))
    assert cache.get("huge") is None


def test_a_kept_file_that_was_changed_is_no_picture(tmp_path: Path) -> None:
    cache = PictureCache(tmp_path, max_bytes=5_000)
    cache.put(URL, Fetched(picture=PICTURE))
    (path,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    for broken in (path.read_bytes()[:-1], b"", b"{}\n" + PICTURE, b"\xff\n"):
        path.write_bytes(broken)

        assert cache.get(URL) is None
        assert not path.exists()
        cache.put(URL, Fetched(picture=PICTURE))


def test_a_disk_that_is_full_costs_the_cache_not_the_picture(
    make: Callable[..., RemotePictures], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(Path, "mkdir", full)

    assert PICTURE == make().read(URL)


def test_many_threads_share_a_cache(tmp_path: Path) -> None:
    cache = PictureCache(tmp_path, max_bytes=20_000)

    def work(seed: int) -> None:
        for number in range(60):
            url, body = f"{URL}{(seed + number) % 50}", str((seed + number) % 50).encode() * 200
            cache.put(url, Fetched(picture=body))
            kept = cache.get(url)
            assert kept is None or kept.fetched.picture == body

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]

    assert 0 == len(list(tmp_path.rglob("*.part")))


def test_a_store_is_read_under_the_listed_places_only(bucket: str) -> None:
    """A seller's row must not name another bucket that our key happens to open."""
    pictures = StorePictures([bucket])

    assert PICTURE == pictures("memory://shop/mug.jpg").picture
    for name, pattern in (
        ("memory://other/mug.jpg", "PICTURE_STORES"), ("memory://shop/../other/mug.jpg", "PICTURE_STORES"),
        ("memory://shopping/mug.jpg", "PICTURE_STORES"), ("memory://shop/none.jpg", "check the name"),
        ("memory://shop/page.jpg", "is no picture"), ("memory://shop", "PICTURE_STORES"),
    ):  # fmt: skip
        with pytest.raises(PictureMissing, match=pattern):
            pictures(name)


def test_a_store_that_fails_or_hangs_may_be_asked_again(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store, forever = type(fsspec.filesystem("memory")), threading.Event()
    for act in (lambda *_, **__: forever.wait(), lambda *_, **__: 1 / 0):
        monkeypatch.setattr(store, "cat_file", act)
        with pytest.raises(PictureUnavailable, match="the store fails"):
            StorePictures([bucket], timeout_s=0.2)("memory://shop/mug.jpg")
    forever.set()

    def refused(*_: object, **__: object) -> bytes:
        raise PermissionError("403")

    monkeypatch.setattr(store, "cat_file", refused)
    with pytest.raises(PictureMissing, match="may not be read"):
        StorePictures([bucket])("memory://shop/mug.jpg")


@pytest.mark.parametrize("place", ["s3:", "file:///srv", "http://host", "klingon://bucket", "bucket"])
def test_a_place_that_is_no_store_is_refused_at_the_start(place: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="PICTURE_STORES"):
        build_pictures(Settings(picture_stores=place, picture_cache=tmp_path))
