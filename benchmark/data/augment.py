"""Random flip, zoom and shear of a batch, on the device, as Keras' ImageDataGenerator defines them.

In (row, column) coordinates an output pixel reads the input at

    A (output - o) + o,    A = [[1, -sin s], [0, cos s]] diag(z_row, z_column)

interpolated bilinearly, edge pixels repeated ('nearest'); the horizontal flip comes afterwards. A zoom above
1 therefore shows more of the image, and the shear also squeezes columns by cos s. What the releases do, read
in their published packages (KP: Keras-Preprocessing, which Keras calls from 2.2 on):

| release | shear unit | centre o | interpolation | axes of A |
|---|---|---|---|---|
| Keras 2.0.8, 2.1.2 | radians | (h/2 + 0.5, w/2 + 0.5) | nearest pixel | row, column |
| Keras 2.1.3 | degrees | the same | nearest pixel | row, column |
| Keras 2.1.4 to 2.1.6; KP 1.0.1, 1.0.9, 1.1.0, 1.1.2 | degrees | the same | bilinear | row, column |
| Keras 2.9, 2.15, and 3.15's legacy module | degrees | (h/2 - 0.5, w/2 - 0.5) | bilinear | column, row |

The older centre is one pixel off the true one along both axes (keras-preprocessing pull request 314);
`centre` chooses. Radians became degrees in Keras 2.1.3 (pull request 8868), which made the usual 0.2 all but
no shear: `shear_unit` chooses. Zoom draws are alike on both axes, so the swapped axes of later releases only
turn the shear from one along the columns into one along the rows; here A is always in (row, column).

Shapes: B images, C channels, H rows, W columns.
"""

import math
from typing import Annotated, Literal

import torch
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor
from torch.nn.functional import grid_sample

from benchmark.base.section import Section

NUM_DRAWS = 4
"""Uniform draws that `augment` needs per image."""


MOST_ZOOM = 1000.0
"""Of which all that is seen is a pixel."""


def _list_to_tuple(value: object) -> object:
    """TOML has only lists, and strict validation refuses them as tuples."""
    return tuple(value) if isinstance(value, list) else value


class Augmentation(Section):
    """What may happen to a training image; the defaults are the source notebook's.

    Attributes:
        flip: mirror left to right with probability 1/2.
        zoom: lowest and highest zoom factor, drawn for rows and columns separately.
        shear: the shear angle is uniform in [-shear, shear).
        shear_unit: unit of `shear`; Keras took radians before 2.1.3.
        centre: the fixed point; 'keras-legacy' is that of keras-preprocessing up to 1.1.2, a pixel off.
    """

    flip: bool = True
    zoom: Annotated[tuple[float, float], BeforeValidator(_list_to_tuple)] = (0.8, 1.2)
    shear: float = Field(default=0.2, ge=0)
    shear_unit: Literal["degrees", "radians"] = "degrees"
    centre: Literal["pixel-centre", "keras-legacy"] = "pixel-centre"

    @model_validator(mode="after")
    def _check_ranges(self) -> "Augmentation":
        low, high = self.zoom
        if not 0 < low <= high <= MOST_ZOOM:
            raise ValueError(f"zoom: expected 0 < low <= high <= {MOST_ZOOM:g}, found {list(self.zoom)}")
        if not self.max_shear_rad < math.pi / 2:
            raise ValueError(f"shear: expected less than a right angle, found {self.shear} {self.shear_unit}")
        return self

    @property
    def max_shear_rad(self) -> float:
        """Bound of the shear angle, in radians."""
        return math.radians(self.shear) if self.shear_unit == "degrees" else self.shear

    @property
    def warps(self) -> bool:
        """Whether images are ever resampled."""
        return self.zoom != (1.0, 1.0) or self.shear != 0


def augment(images: Tensor, draws: Tensor, config: Augmentation) -> Tensor:
    """Augment every image by its own draws; a pure function without host synchronization.

    Args:
        images: [B, C, H, W] float32.
        draws: [B, 4] float32, uniform in [0, 1): row zoom, column zoom, shear, flip.
        config: the ranges.

    Returns:
        [B, C, H, W] float32. Image i depends on images[i] and draws[i] alone.
    """
    if config.warps:
        grid = _sampling_grid(images.shape[-2], images.shape[-1], draws, config)
        images = grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if config.flip:
        images = torch.where((draws[:, 3] < 0.5)[:, None, None, None], images.flip(-1), images)
    return images


def _sampling_grid(height: int, width: int, draws: Tensor, config: Augmentation) -> Tensor:
    """Where each output pixel reads: [B, H, W, 2], as (x, y) in grid_sample's units.

    Written out rather than through `affine_grid`, whose matrix product would let TF32, autocast and the
    batch's size reach the coordinates.
    """
    low, high = config.zoom
    zoom_row, zoom_column = (low + (high - low) * draws[:, :2, None, None]).unbind(1)  # [B, 1, 1] each
    angle = (2 * draws[:, 2, None, None] - 1) * config.max_shear_rad

    off_centre = 0.5 if config.centre == "keras-legacy" else -0.5
    centre_row, centre_column = height / 2 + off_centre, width / 2 + off_centre
    row = torch.arange(height, device=draws.device, dtype=draws.dtype)[:, None] - centre_row  # [H, 1]
    column = torch.arange(width, device=draws.device, dtype=draws.dtype)[None, :] - centre_column  # [1, W]

    sheared = zoom_column * column  # [B, 1, W]
    input_row = zoom_row * row - torch.sin(angle) * sheared + centre_row  # [B, H, W]
    input_column = (torch.cos(angle) * sheared + centre_column).expand_as(input_row)

    # grid_sample without align_corners: pixel i of n sits at (2 i + 1) / n - 1.
    return torch.stack(((2 * input_column + 1) / width - 1, (2 * input_row + 1) / height - 1), dim=-1)
