"""From a picture's name to its bytes, and never further."""

import zipfile
from pathlib import Path

import pytest

from product_index import pictures
from product_index.errors import InvalidSettings, PictureMissing
from product_index.pictures import NoPictures, Sought, pictures_beside


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "mug.jpg").write_bytes(b"mug")
    (folder / "top.jpg").write_bytes(b"top")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        archive.writestr("a/cup.jpg", b"cup")
        archive.writestr("a/same.jpg", b"1")
        archive.writestr("b/same.jpg", b"2")
    return folder


def test_pictures_are_found_in_the_folder_its_subfolders_and_its_zips(shop: Path) -> None:
    found = pictures_beside(shop)

    assert b"top" == found.read("top.jpg")
    assert b"mug" == found.read("mug.jpg") == found.read("images/mug.jpg")
    assert b"cup" == found.read("a/cup.jpg") == found.read("cup.jpg")
    assert b"mug" == found.read((shop / "images" / "mug.jpg").as_uri())
    assert b"2" == found.read("b/same.jpg")


def test_a_zip_alone_can_be_the_root(shop: Path) -> None:
    assert b"cup" == pictures_beside(shop / "photos.zip").read("cup.jpg")


@pytest.mark.parametrize(
    "uri",
    ["../secret.jpg", "images/../../secret.jpg", "/etc/passwd", "file:///etc/passwd", "file:///%2e%2e/secret.jpg",
     "link.jpg", "", "\0", "nope.jpg", "images", "same.jpg"],
)  # fmt: skip
def test_no_name_leads_out_of_the_root(shop: Path, uri: str) -> None:
    """Nor does a link; a name that two members share is no name."""
    (shop / "link.jpg").symlink_to(shop.parent / "secret.jpg")

    with pytest.raises(PictureMissing):
        pictures_beside(shop).read(uri)
    with pytest.raises(PictureMissing):
        pictures_beside(shop).read(str(shop.parent / "secret.jpg"))


def test_an_address_on_the_network_is_refused_with_what_to_do(shop: Path) -> None:
    with pytest.raises(PictureMissing, match=r"'https' address.*download"):
        pictures_beside(shop).read("https://example.com/mug.jpg")


def test_a_picture_that_is_too_large_is_not_read(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_PICTURE_BYTES", 2)

    for name in ("mug.jpg", "cup.jpg"):
        with pytest.raises(PictureMissing, match="at most 2"):
            pictures_beside(shop).read(name)


def test_a_broken_zip_and_a_root_that_is_not_there_are_named(shop: Path) -> None:
    (shop / "photos.zip").write_bytes(b"no zip")

    with pytest.raises(PictureMissing, match=r"photos.zip"):
        pictures_beside(shop).read("cup.jpg")
    with pytest.raises(InvalidSettings, match="PICTURE_ROOT"):
        pictures_beside(shop / "nowhere")


def test_which_pictures_of_a_catalogue_are_there_is_told_before_a_build() -> None:
    """A folder that is the wrong one shows at once; addresses are left to the build."""
    sought = Sought(NoPictures({"a.jpg": b"a", "b.jpg": b"b"}), at_most=3)

    assert "" == sought.sentence()
    sought.look(["a.jpg", "https://shop/c.jpg"])
    assert (
        "1 of 1 looked for are there; 1 not looked for: addresses are asked when an index is built"
        == sought.sentence()
    )
    sought.look(["c.jpg", "b.jpg", "d.jpg", "s3://shop/e.jpg"])
    assert (3, 1, 2) == (sought.named, sought.missing, sought.addresses)
    assert sought.sentence().startswith(
        "2 of 3 looked for are there; the first that is not: no picture 'c.jpg'"
    )
