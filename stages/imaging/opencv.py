"""OpenCV as the stages use it: one bounded reader, one thread.

OpenCV reads its limit on picture size from the environment once, when it is imported, so whoever needs ``cv2`` in a
stage imports it from here. One thread, because many workers with one thread each are faster than one with many.
"""

from __future__ import annotations

import os
from typing import Final

MAX_PICTURE_PIXELS: Final = 250_000_000
"""The most that is ever decoded (three bytes each): a guard against bombs, above any camera. The limit for pictures is
that of the stage validate."""

os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PICTURE_PIXELS))

import cv2  # noqa: E402  (the limit above must be there first)

cv2.setNumThreads(1)

__all__ = ["MAX_PICTURE_PIXELS", "cv2"]
