"""A dataset as its source has it, decoded: what readers return and the cache holds."""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RawData:
    """Images and labels in their source's order, before any choice of ours.

    Attributes:
        train_images: [N, C, H, W] uint8; what the source offers for training.
        train_labels: [N] int64, in 0 ... K-1.
        test_images: [M, C, H, W] uint8.
        test_labels: [M] int64.
        class_names: K names, by label.
    """

    train_images: Pixels
    train_labels: Indices
    test_images: Pixels
    test_labels: Indices
    class_names: tuple[str, ...]

    def arrays(self) -> tuple[Pixels, Indices, Pixels, Indices]:
        """The arrays, in the order in which they are hashed and stored."""
        return self.train_images, self.train_labels, self.test_images, self.test_labels

    def fingerprint(self) -> str:
        """SHA-256 (hex) over shapes, pixels, labels and class names; the same on every machine."""
        digest = hashlib.sha256("\0".join(self.class_names).encode())
        for array in self.arrays():
            digest.update(str(array.shape).encode())
            # Little-endian whatever the machine; pixels are single bytes.
            digest.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).data)
        return digest.hexdigest()
