"""The networks: ours (a finder and a segmenter on one plan), and two others for comparison.

All take (N, 3, S, S) float in [0, 255], S any multiple of 32 and fixed in a model file, and scale
it inside, so that a model file needs no preprocessing. Channels are multiples of 16 and
convolutions dense, because those train and run fastest per MAC on CPUs; operators are those that
ONNX Runtime, ONNX Runtime Web and Core ML share.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INPUT_SIZE = 256
"""Side of a picture in pixels, where nobody names another."""
FINDER_STRIDE = 4
"""Input pixels per cell of the finder's maps."""


def _scaled(image: Tensor) -> Tensor:
    return image * (1 / 64) - 2.0  # about [-2, 2], the same for every picture


class Network(nn.Module):
    """What can be trained and exported."""

    output_names: ClassVar[tuple[str, ...]] = ("mask",)

    def exported(self, image: Tensor) -> tuple[Tensor, ...]:
        """What the model file gives, by `output_names`: (probability of head,)."""
        return (torch.sigmoid(self(image)),)


class ConvNorm(nn.Sequential):
    """3x3 (or other) convolution, batch norm, and a ReLU unless `relu` is false."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 3, stride: int = 1, relu: bool = True):
        layers: list[nn.Module] = [
            nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(c_out),
        ]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class Residual(nn.Module):
    """Two 3x3 convolutions beside the identity (He et al., 2016)."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            ConvNorm(channels, channels), ConvNorm(channels, channels, relu=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


class Merge(nn.Module):
    """One step up: the coarse map, doubled, added to the fine one, and 3x3 convolutions."""

    def __init__(self, c_coarse: int, c_fine: int, c_out: int, residuals: int):
        super().__init__()
        self.coarse = ConvNorm(c_coarse, c_out, kernel=1, relu=False)
        self.fine = ConvNorm(c_fine, c_out, kernel=1, relu=False)
        self.mix = nn.Sequential(
            ConvNorm(c_out, c_out), *(Residual(c_out) for _ in range(residuals))
        )

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        up = F.interpolate(self.coarse(coarse), scale_factor=2.0, mode="bilinear")
        return self.mix(F.relu(up + self.fine(fine)))


class Trunk(nn.Module):
    """A residual U-Net without its last layer: features at 1/`stride` of the input's size."""

    channels = (16, 32, 64, 128, 192)
    """Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the input's size."""
    residuals_down = (3, 3, 2, 2)
    """Residual blocks at 1/4, 1/8, 1/16 and 1/32."""
    residuals_up = (0, 1, 1, 0)
    """Residual blocks on the way back, at 1/16, 1/8, 1/4 and 1/2."""

    def __init__(self, stride: int):
        super().__init__()
        self.stem = ConvNorm(3, self.channels[0], stride=2)
        self.down = nn.ModuleList(
            nn.Sequential(
                ConvNorm(c_in, c_out, stride=2), *(Residual(c_out) for _ in range(residuals))
            )
            for (c_in, c_out), residuals in zip(
                pairwise(self.channels), self.residuals_down, strict=True
            )
        )
        steps_up = 5 - stride.bit_length() + 1
        widths = self.channels[::-1]
        self.up = nn.ModuleList(
            Merge(coarse, fine, fine, residuals)
            for (coarse, fine), residuals in zip(
                pairwise(widths[: steps_up + 1]), self.residuals_up[:steps_up], strict=True
            )
        )
        self.out_channels = widths[steps_up]

    def forward(self, image: Tensor) -> Tensor:
        fine = [self.stem(_scaled(image))]
        for down in self.down:
            fine.append(down(fine[-1]))
        x = fine.pop()
        for up in self.up:
            x = up(x, fine.pop())
        return x


class Segmenter(Network):
    """Crop -> logits of head and of neck: (N, 2, S, S), shuffled from half size to full."""

    output_names = ("mask", "neck")

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk(stride=2)
        self.head = nn.Conv2d(self.trunk.out_channels, 2 * 4, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        return F.pixel_shuffle(self.head(self.trunk(image)), 2)

    def exported(self, image: Tensor) -> tuple[Tensor, ...]:
        """What the model file gives: (probability of head, probability of neck)."""
        chance = torch.sigmoid(self(image))
        return chance[:, :1], chance[:, 1:]


class Finder(Network):
    """Look -> (N, 5, S / 4, S / 4): a logit that a head's centre is here, and its box.

    Channels 1-4 are the centre's offset from the cell's centre in x and y, in cells, and the
    logarithms of the head's width and height, in cells ("Objects as Points", Zhou et al., 2019).
    """

    output_names = ("centre", "box")

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk(stride=FINDER_STRIDE)
        self.head = nn.Conv2d(self.trunk.out_channels, 5, 3, padding=1)
        with torch.no_grad():
            self.head.bias.zero_()
            self.head.bias[0] = -4.0  # centres are rare: start with a prior of 2 %

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.trunk(image))

    def exported(self, image: Tensor) -> tuple[Tensor, ...]:
        """What the model file gives: (probability of a centre, box) as in `forward`."""
        maps = self(image)
        return torch.sigmoid(maps[:, :1]), maps[:, 1:]


class EncoderDecoder(Network):
    """The original's network: plain 3x3 convolutions, max-pooling, bilinear steps back.

    32-512 filters, 3.1 M parameters, no normalisation layers; as described for
    SwiftHeadSegmenter, which this project re-creates.
    """

    def __init__(self) -> None:
        super().__init__()
        down, up = (3, 32, 64, 128, 256, 512), (512, 256, 128, 64, 32)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(down))
        self.up = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(up))
        self.head = nn.Conv2d(32, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = image / 255
        for step, conv in enumerate(self.down):
            x = F.relu(conv(x if step == 0 else F.max_pool2d(x, 2)))
        for conv in self.up:
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)
            x = F.relu(conv(x))
        return self.head(x)


class SqueezeExcite(nn.Module):
    """Weighs each channel by what the whole map holds (Hu et al., 2018), with a hard sigmoid."""

    def __init__(self, channels: int):
        super().__init__()
        self.squeeze = nn.Conv2d(channels, channels // 4, 1)
        self.excite = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        whole = F.adaptive_avg_pool2d(x, 1)
        return x * F.hardsigmoid(self.excite(F.relu(self.squeeze(whole))))


class InvertedResidual(nn.Module):
    """MobileNetV3's block: widen, filter each channel alone, weigh the channels, narrow."""

    def __init__(
        self,
        c_in: int,
        c_wide: int,
        c_out: int,
        *,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
        excited: bool = True,
        hard_swish: bool = True,
    ):
        super().__init__()
        activation = nn.Hardswish if hard_swish else nn.ReLU
        padding = dilation * (kernel // 2)
        depthwise = nn.Conv2d(
            c_wide, c_wide, kernel, stride, padding, dilation, groups=c_wide, bias=False
        )
        layers: list[nn.Module] = [
            *(ConvNorm(c_in, c_wide, kernel=1, relu=False), activation()),
            *(depthwise, nn.BatchNorm2d(c_wide), activation()),
            *([SqueezeExcite(c_wide)] if excited else []),
            ConvNorm(c_wide, c_out, kernel=1, relu=False),
        ]
        self.body = nn.Sequential(*layers)
        self.has_identity = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.has_identity else self.body(x)


class LrAspp(Network):
    """MobileNetV3-Small with the LR-ASPP head (Howard et al., 2019), written from the paper.

    The last blocks are dilated instead of strided, and the head's large pool spans the whole map.
    """

    def __init__(self) -> None:
        super().__init__()
        block = InvertedResidual
        self.stem = nn.Sequential(ConvNorm(3, 16, stride=2, relu=False), nn.Hardswish())
        self.fine = nn.Sequential(  # to 1/8 of the input's size
            block(16, 16, 16, kernel=3, stride=2, hard_swish=False),
            block(16, 72, 24, kernel=3, stride=2, excited=False, hard_swish=False),
            block(24, 88, 24, kernel=3, excited=False, hard_swish=False),
        )
        self.coarse = nn.Sequential(  # to 1/16
            block(24, 96, 40, kernel=5, stride=2),
            block(40, 240, 40, kernel=5),
            block(40, 240, 40, kernel=5),
            block(40, 120, 48, kernel=5),
            block(48, 144, 48, kernel=5),
            block(48, 288, 96, kernel=5, dilation=2),
            block(96, 576, 96, kernel=5, dilation=2),
            block(96, 576, 96, kernel=5, dilation=2),
            ConvNorm(96, 576, kernel=1, relu=False),
            nn.Hardswish(),
        )
        self.narrow = ConvNorm(576, 128, kernel=1)
        self.weigh = nn.Conv2d(576, 128, 1, bias=False)
        self.head = nn.Conv2d(128, 1, 1)
        self.fine_head = nn.Conv2d(24, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        fine = self.fine(self.stem(_scaled(image)))
        coarse = self.coarse(fine)
        weight = torch.sigmoid(self.weigh(F.adaptive_avg_pool2d(coarse, 1)))
        up = F.interpolate(self.narrow(coarse) * weight, scale_factor=2.0, mode="bilinear")
        mask = self.head(up) + self.fine_head(fine)
        return F.interpolate(mask, scale_factor=8.0, mode="bilinear")


def halves_of(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights by name as they are kept: real numbers in half precision."""
    return {
        name: value.half() if value.dtype.is_floating_point else value
        for name, value in weights.items()
    }


NETWORKS: dict[str, type[Network]] = {
    "finder": Finder,
    "segmenter": Segmenter,
    "encoder-decoder": EncoderDecoder,
    "lr-aspp": LrAspp,
}
