"""Pictures of any size and mode, and files that are none."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cifar.data.pictures import find_pictures, read_picture
from cifar.errors import DataError

RED = (200, 30, 30)
LEFT = (20, 200, 60)


def scene(width: int = 40, height: int = 40) -> Image.Image:
    """Red, but for a strip on the left."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(LEFT, (0, 0, width // 4, height))
    return image


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def colour(pixels: Tensor, row: int = 8, column: int = 12) -> tuple[int, ...]:
    return tuple(pixels[:, row, column].tolist())


def test_a_picture_of_the_networks_size_keeps_its_pixels(tmp_path: Path) -> None:
    pixels = np.random.randint(0, 256, (16, 16, 3), dtype=np.uint8)
    path = saved(Image.fromarray(pixels), tmp_path / "a.png")
    read = read_picture(path, 16)
    assert read.dtype == torch.uint8
    assert torch.equal(read, torch.from_numpy(pixels).permute(2, 0, 1))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F", "PA"])
@pytest.mark.parametrize("size", [(16, 16), (1, 1), (7, 50), (300, 33)])
def test_every_mode_and_size_becomes_rgb(mode: str, size: tuple[int, int], tmp_path: Path) -> None:
    try:
        image = scene(*size).convert("L").convert(mode) if mode.startswith(("I", "F")) else scene(*size).convert(mode)
        # Pillow before 13 cannot read back the YCbCr TIFFs that it writes
        path = saved(image, tmp_path / ("a.jpg" if mode == "YCbCr" else "a.tif"))
    except (OSError, ValueError):
        path = saved(scene(*size).convert("LA").convert(mode), tmp_path / "a.gif")  # PA
    read = read_picture(path, 16)
    assert read.shape == (3, 16, 16)
    assert read.is_contiguous()


def test_colours_survive_their_mode(tmp_path: Path) -> None:
    for mode, name in (("P", "a.png"), ("P", "a.gif"), ("RGBA", "a.png"), ("CMYK", "a.jpg"), ("CMYK", "a.tif")):
        path = saved(scene().convert(mode), tmp_path / name)
        got = colour(read_picture(path, 16))
        assert max(abs(a - b) for a, b in zip(got, RED, strict=True)) < 30, (mode, name, got)


def test_the_middle_square_is_taken(tmp_path: Path) -> None:
    image = Image.new("RGB", (90, 30), "blue")
    image.paste(RED, (30, 0, 60, 30))
    assert (read_picture(saved(image, tmp_path / "wide.png"), 16) == torch.tensor(RED)[:, None, None]).all()
    turned = image.transpose(Image.Transpose.ROTATE_90)
    assert (read_picture(saved(turned, tmp_path / "high.png"), 16) == torch.tensor(RED)[:, None, None]).all()


def test_shrinking_is_antialiased(tmp_path: Path) -> None:
    stripes = np.zeros((160, 160), dtype=np.uint8)
    stripes[:, ::2] = 255  # a resize that skips pixels sees all black or all white
    read = read_picture(saved(Image.fromarray(stripes), tmp_path / "a.png"), 16).float()
    assert (read - 127.5).abs().max() < 12


def test_transparency_is_white_paper(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    assert colour(read_picture(saved(clear, tmp_path / "a.png"), 16)) == (255, 255, 255)
    half = Image.new("RGBA", (20, 20), (*RED, 128))
    assert colour(read_picture(saved(half, tmp_path / "b.png"), 16)) == pytest.approx((227, 142, 142), abs=1)
    grey = Image.new("LA", (20, 20), (0, 0))
    assert colour(read_picture(saved(grey, tmp_path / "c.png"), 16)) == (255, 255, 255)
    palette = scene().convert("P", dither=Image.Dither.NONE)
    index = palette.getpixel((30, 20))
    path = saved(palette, tmp_path / "d.png", transparency=index)
    assert colour(read_picture(path, 16)) == (255, 255, 255)
    path = saved(scene(), tmp_path / "e.png", transparency=RED)  # one colour of an RGB picture
    assert colour(read_picture(path, 16)) == (255, 255, 255)


def test_sixteen_bits_have_a_fixed_white_and_others_are_stretched(tmp_path: Path) -> None:
    grey = np.full((16, 16), 32896, dtype=np.uint16)  # 128 of 255
    for name in ("a.png", "a.tif"):
        assert colour(read_picture(saved(Image.fromarray(grey), tmp_path / name), 16)) == (128, 128, 128)
    ramp = np.linspace(-3, 5, 256, dtype=np.float32).reshape(16, 16)
    read = read_picture(saved(Image.fromarray(ramp), tmp_path / "f.tif"), 16)
    assert read.min() == 0
    assert read.max() == 255
    flat = read_picture(saved(Image.fromarray(np.full((16, 16), 7, dtype=np.int32)), tmp_path / "i.tif"), 16)
    assert flat.max() == 0
    ramp[3, 3] = np.nan
    with pytest.raises(DataError, match="NaN"):
        read_picture(saved(Image.fromarray(ramp), tmp_path / "n.tif"), 16)


def test_exif_orientation_is_honoured(tmp_path: Path) -> None:
    upright = scene(40, 40)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to look at it
    stored = upright.transpose(Image.Transpose.ROTATE_90)  # counterclockwise
    path = saved(stored, tmp_path / "a.jpg", exif=exif, quality=95)
    read = read_picture(path, 16)
    assert colour(read, column=1)[1] > 150  # the strip is on the left again
    assert colour(read, column=14)[0] > 150


def test_the_first_frame_of_an_animation_counts(tmp_path: Path) -> None:
    path = saved(Image.new("RGB", (8, 8), "lime"), tmp_path / "a.gif", save_all=True, append_images=[scene(8, 8)])
    assert colour(read_picture(path, 16)) == (0, 255, 0)


def test_the_name_says_nothing(tmp_path: Path) -> None:
    path = saved(scene(), tmp_path / "really_a.png")
    assert read_picture(path.rename(tmp_path / "notes.txt"), 16).shape == (3, 16, 16)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"GIF89a"])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"undamaged image file; got .*a\.png") as caught:
        read_picture(path, 16)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.tif", "a.webp", "a.bmp"])
def test_cut_and_scrambled_files_are_refused_or_read_but_never_crash(name: str, tmp_path: Path) -> None:
    path = saved(scene(200, 200), tmp_path / name)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError):
        read_picture(path, 16)
    random = np.random.RandomState(0)
    for _ in range(30):
        damaged = bytearray(whole)
        for position in random.randint(8, len(whole), 20):
            damaged[position] = random.randint(256)
        path.write_bytes(damaged)
        try:
            assert read_picture(path, 16).shape == (3, 16, 16)
        except DataError as error:
            assert "\n" not in str(error)


def test_decompression_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(Image.new("1", (300, 300)), tmp_path / "bomb.png")
    monkeypatch.setattr("cifar.data.pictures.MOST_PIXELS", 80_000)
    with pytest.raises(DataError, match=r"at most 80,000 pixels; got more in .*bomb\.png"):
        read_picture(path, 16)
    monkeypatch.setattr("cifar.data.pictures.MOST_PIXELS", 90_000)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Pillow refuses on its own
    with pytest.raises(DataError, match=r"at most 90,000 pixels"):
        read_picture(path, 16)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60_000)  # it warns from here on: no reason to refuse
    assert read_picture(path, 16).shape == (3, 16, 16)


def test_no_file_and_no_ordinary_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_picture(tmp_path / "gone.png", 16)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="no ordinary file"):
        read_picture(tmp_path / "pipe", 16)


def test_folders_give_their_files_sorted(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "c.txt"):
        (tmp_path / name).touch()
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "d.png").touch()
    found = list(find_pictures([tmp_path, tmp_path / "b.png"]))
    assert [(path.name, named) for path, named in found] == [
        ("a.png", False),
        ("b.png", False),
        ("c.txt", False),
        ("b.png", True),
    ]
