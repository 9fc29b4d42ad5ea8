"""The argument IMAGES: image files, found in folders and read as a classifier takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tfxai import zoo
from tfxai.cli.terminal import UserError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
PILLOW_ERRORS = (
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    SyntaxError,
    Image.DecompressionBombError,
)
"""What Pillow raises on damaged or refused files."""


class UnreadableImageError(ValueError):
    """An image file that cannot be read."""


def read_pixels(file: Path, classifier: zoo.Classifier) -> np.ndarray:
    """Read the centre crop of a photo at the classifier's size, ``[H, W, 3 | 1]`` in 0..255.

    Raises:
        UnreadableImageError: the file is damaged, or no image.
    """
    try:
        with Image.open(file) as image:
            pixels = zoo.centre_crop(image, classifier.size, margin=classifier.crop_margin)
    except PILLOW_ERRORS as error:
        raise UnreadableImageError(str(error)) from error
    grey = classifier.model.input_shape[-1] == 1
    return pixels.mean(-1, keepdims=True) if grey else pixels


def image_files(paths: list[Path]) -> list[tuple[Path, str]]:
    """List each image file once, with a stem that names its results and no other file's.

    Args:
        paths: image files, and folders, which stand for the image files in them.

    Raises:
        UserError: a path that does not exist, or a folder without images.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += _files_in(path)
        elif path.is_file():
            files.append(path)
        else:
            remedy = f"; options of the method are --option {path}" if "=" in str(path) else ""
            raise UserError(f"IMAGES {path}: no such file or folder{remedy}")
    by_real_path: dict[Path, Path] = {}
    for file in files:
        by_real_path.setdefault(file.resolve(), file)
    return _with_stems(list(by_real_path.values()))


def _files_in(folder: Path) -> list[Path]:
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise UserError(f"IMAGES {folder}: the folder has no images")
    return files


def _with_stems(files: list[Path]) -> list[tuple[Path, str]]:
    taken: set[str] = set()
    with_stems = []
    for file in files:
        stem, count = file.stem, 1
        while stem in taken:
            count += 1
            stem = f"{file.stem}_{count}"
        taken.add(stem)
        with_stems.append((file, stem))
    return with_stems
