"""Other surroundings: who is cut out, and what comes behind."""

import torch

from memgan.training.data.augmentation import CutOuts, swap_backgrounds

SIDE = 256


def portrait(hat: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """(3, SIDE, SIDE): a reddish, slightly noisy person before blue; and where the person is."""
    places = (torch.arange(SIDE) + 0.5) / SIDE
    down, right = torch.meshgrid(places, places, indexing="ij")
    person = ((right - 0.5) / 0.3) ** 2 + ((down - 0.5) / 0.38) ** 2 < 1
    person |= (down > 0.8) & ((right - 0.5).abs() < 0.42)
    if hat:  # far outside of the template's ovals
        person |= (down > 0.1) & (down < 0.25) & ((right - 0.5).abs() < 0.44)
    colors = torch.where(
        person, torch.tensor([0.5, -0.1, -0.3]).view(3, 1, 1), torch.tensor([-0.6, -0.3, 0.4]).view(3, 1, 1)
    )
    return colors + 0.03 * torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)), person


def cut_out(images: torch.Tensor) -> torch.Tensor:
    """The persons of photographs that are seen for the first time."""
    return CutOuts(len(images))(images, list(range(len(images))), [False] * len(images))


def overlap(mask: torch.Tensor, person: torch.Tensor) -> float:
    """Intersection over union."""
    found = mask > 0.5
    return float((found & person).sum() / (found | person).sum())


def test_the_person_is_cut_out_and_not_the_template() -> None:
    for hat in (False, True):
        image, person = portrait(hat)
        mask = cut_out(image[None])[0]
        assert mask.shape == (SIDE, SIDE) and mask.dtype == torch.float32
        assert mask.min() >= 0 and mask.max() <= 1
        assert overlap(mask, person) > 0.93
        assert torch.equal(mask, cut_out(image[None])[0])


def test_what_was_cut_out_of_a_photograph_is_kept() -> None:
    image, _ = portrait()
    leaning = image.roll(20, -1)
    both = torch.stack([image, leaning])
    expected = cut_out(both)
    cuts = CutOuts(5)
    assert cuts.known.sum() == 0 and cuts(both[:0], [], []).shape == (0, SIDE, SIDE)
    # The first is seen in the mirror first; its person is the one of the photograph all the same.
    first = cuts(torch.stack([image.flip(-1), leaning]), [3, 1], [True, False])
    torch.testing.assert_close(first, torch.stack([expected[0].flip(-1), expected[1]]), rtol=0, atol=1e-6)
    assert cuts.known.sum() == 2
    again = cuts(torch.zeros(3, 3, SIDE, SIDE), [1, 3, 1], [True, False, False])  # the pictures are not looked at
    torch.testing.assert_close(again, torch.stack([expected[1].flip(-1), expected[0], expected[1]]), rtol=0, atol=1e-6)
    assert not torch.equal(expected[0], expected[1]) and cuts.known.sum() == 2
    mixed = cuts(torch.stack([image, leaning]), [3, 4], [False, False])  # one known, one not
    assert torch.equal(mixed, expected) and cuts.known.sum() == 3


def test_the_person_stays_and_the_rest_is_another_photograph() -> None:
    image, _ = portrait()
    images = image.expand(6, -1, -1, -1).clamp(-1, 1).double()
    stripes = torch.linspace(-1, 1, SIDE).expand(3, SIDE, SIDE)  # red, green and blue alike: gray
    changed = swap_backgrounds(images, cut_out(images), lambda: stripes, torch.Generator().manual_seed(2))
    assert changed.shape == images.shape and changed.dtype == images.dtype and changed.abs().max() <= 1
    mask = cut_out(images[:1])[0]
    sure, none = mask == 1, mask == 0
    torch.testing.assert_close(changed[..., sure], images[..., sure], rtol=0, atol=1e-6)
    behind = changed[..., none]
    assert (behind[:, 0] - behind[:, 2]).abs().max() < 1e-5  # nothing of the blue is left
    light = behind.mean((1, 2))
    assert light.std() > 0.1  # each has its own draw
    again = swap_backgrounds(images, cut_out(images), lambda: stripes, torch.Generator().manual_seed(2))
    assert torch.equal(changed, again)
    assert swap_backgrounds(images[:0], images[:0, 0], lambda: stripes, torch.Generator()).shape == (0, 3, SIDE, SIDE)


def test_backgrounds_are_near_and_far_sharp_and_blurred_dark_and_light() -> None:
    image, _ = portrait()
    people = cut_out(image[None])
    none = people[0, :40] == 0
    fine = torch.Generator().manual_seed(3)
    asked: list[int] = []

    def noise() -> torch.Tensor:
        asked.append(1)
        return torch.rand(3, SIDE, SIDE, generator=fine) * 2 - 1

    counts, detail, light = [], [], []
    for seed in range(24):
        asked.clear()
        changed = swap_backgrounds(image[None], people, noise, torch.Generator().manual_seed(seed))[0, :, :40]
        counts.append(len(asked))
        light.append(float(changed[:, none].mean()))
        detail.append(float((changed.diff(dim=-1)[:, none[:, 1:] & none[:, :-1]]).abs().mean()))
    assert set(counts) == {1, 4}
    assert min(detail) < 0.01 and max(detail) > 0.15
    assert min(light) < -0.6 and max(light) > -0.05
