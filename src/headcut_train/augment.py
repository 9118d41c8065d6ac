"""What cameras, phones and messengers do to a picture: colour, light, blur, noise, JPEG."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from headcut.geometry import U8Array

Random = np.random.Generator


def photometric(picture: U8Array, rng: Random, *, coarsest: float = 0.3) -> U8Array:
    """Return the picture (H, W, 3) uint8 with changed colours and quality, geometry untouched.

    Some lose details, down to what a picture of `coarsest` times the size would show.
    """
    image = _toned(Image.fromarray(picture), rng)
    if rng.random() < 0.08:
        image = image.convert("L").convert("RGB")
    elif rng.random() < 0.5:
        image = ImageEnhance.Color(image).enhance(rng.uniform(0.5, 1.5))
    quality = rng.random()
    if quality < 0.1:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.6)))
    elif quality < 0.28:  # a small picture enlarged
        scale = np.exp(rng.uniform(np.log(coarsest), np.log(0.8)))
        small = max(1, int(image.width * scale)), max(1, int(image.height * scale))
        image = image.resize(small, Image.Resampling.BILINEAR).resize(image.size)
    if rng.random() < 0.12:
        image = _noisy(image, rng)
    if rng.random() < 0.15:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(rng.integers(20, 85)))
        image = Image.open(file)
    return np.asarray(image)


def _toned(image: Image.Image, rng: Random) -> Image.Image:
    """Change brightness, contrast, gamma and white balance by one table a channel."""
    level = np.arange(256, dtype=np.float32) / 255
    if rng.random() < 0.06:  # low light
        level = level ** rng.uniform(1.5, 2.6) * rng.uniform(0.4, 0.9)
    else:
        level = level ** np.exp(rng.normal(0, 0.2))
    level = (level - 0.5) * rng.uniform(0.75, 1.25) + 0.5 + rng.normal(0, 0.06)
    gains = np.exp(rng.normal(0, 0.06, 3))
    tables = np.clip(level * gains[:, None] * 255, 0, 255).astype(np.uint8)
    return image.point(tables.ravel().tolist())


def _noisy(image: Image.Image, rng: Random) -> Image.Image:
    """Add sensor noise, the same in all channels or not."""
    sigma = rng.uniform(2, 14)
    channels = 3 if rng.random() < 0.5 else 1
    noise = rng.standard_normal((image.height, image.width, channels), np.float32) * sigma
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))
