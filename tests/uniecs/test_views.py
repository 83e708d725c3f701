"""What training sees of a picture: changed within bounds, the same for the same seed."""

import pytest

torch = pytest.importorskip("torch")

from uniecs.views import augment, augment_strongly  # noqa: E402 - after the skip

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("change", [augment, augment_strongly])
def test_a_changed_picture_is_a_picture_and_chance_is_the_seeds(change: object) -> None:
    """Bytes in, bytes of the same shape out; a resumed run sees what it would have seen."""
    chance = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (6, 32, 32, 3), dtype=torch.uint8, generator=chance)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(change(pixels))  # type: ignore[operator]

    assert (pixels.shape, pixels.dtype) == (results[0].shape, results[0].dtype)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize("change", [augment, augment_strongly])
def test_colour_stays_a_signal(change: object) -> None:
    """Red remains redder than green and blue, however it is lit and tinted."""
    red = torch.zeros(40, 16, 16, 3, dtype=torch.uint8)
    red[..., 0], red[..., 1:] = 200, 60
    torch.manual_seed(3)
    seen = change(red).float().mean((1, 2))  # type: ignore[operator]

    assert (seen[:, 0] > seen[:, 1:].max(1).values + 40).all()
