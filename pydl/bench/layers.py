"""The convolution and pooling layers of well-known networks, each shape once."""

from __future__ import annotations

from typing import NamedTuple


class Conv(NamedTuple):
    """A layer of square filters over square images; padding None keeps the size at stride 1."""

    network: str
    channels: int
    out_channels: int
    kernel_size: int
    size: int
    stride: int = 1
    padding: int | None = None
    groups: int = 1

    @property
    def pad(self) -> int:
        """Rows and columns of zeros on each side."""
        return self.kernel_size // 2 if self.padding is None else self.padding

    @property
    def out_size(self) -> int:
        """Height and width of the result."""
        return (self.size + 2 * self.pad - self.kernel_size) // self.stride + 1

    def __str__(self) -> str:
        channels = f"{self.channels}-{self.out_channels}" if self.groups == 1 else f"{self.groups}"
        stride = f"s{self.stride}" if self.stride > 1 else ""
        return (
            f"{self.network} {channels} {self.kernel_size}x{self.kernel_size}{stride}@{self.size}"
        )


CONVOLUTIONS = (
    # Krizhevsky, Sutskever, Hinton 2012; 64 filters first as in Krizhevsky 2014
    Conv("alexnet", 3, 96, 11, 227, 4, 0),
    Conv("alexnet", 3, 64, 11, 224, 4, 2),
    Conv("alexnet", 64, 192, 5, 27),
    Conv("alexnet", 192, 384, 3, 13),
    Conv("alexnet", 384, 256, 3, 13),
    Conv("alexnet", 256, 256, 3, 13),
    # Simonyan, Zisserman 2014
    Conv("vgg16", 3, 64, 3, 224),
    Conv("vgg16", 64, 64, 3, 224),
    Conv("vgg16", 64, 128, 3, 112),
    Conv("vgg16", 128, 128, 3, 112),
    Conv("vgg16", 128, 256, 3, 56),
    Conv("vgg16", 256, 256, 3, 56),
    Conv("vgg16", 256, 512, 3, 28),
    Conv("vgg16", 512, 512, 3, 28),
    Conv("vgg16", 512, 512, 3, 14),
    # Szegedy et al. 2014: the stem, and the branches of inceptions 3a, 4a, 4b and 5b
    Conv("googlenet", 64, 192, 3, 56),
    Conv("googlenet", 192, 64, 1, 28),
    Conv("googlenet", 192, 96, 1, 28),
    Conv("googlenet", 96, 128, 3, 28),
    Conv("googlenet", 192, 16, 1, 28),
    Conv("googlenet", 16, 32, 5, 28),
    Conv("googlenet", 192, 32, 1, 28),
    Conv("googlenet", 480, 192, 1, 14),
    Conv("googlenet", 96, 208, 3, 14),
    Conv("googlenet", 24, 64, 5, 14),
    Conv("googlenet", 832, 384, 1, 7),
    Conv("googlenet", 192, 384, 3, 7),
    Conv("googlenet", 48, 128, 5, 7),
    # He, Zhang, Ren, Sun 2015, with the stride in the 3x3 layer
    Conv("resnet50", 3, 64, 7, 224, 2),
    Conv("resnet50", 64, 64, 1, 56),
    Conv("resnet50", 64, 64, 3, 56),
    Conv("resnet50", 64, 256, 1, 56),
    Conv("resnet50", 256, 64, 1, 56),
    Conv("resnet50", 256, 128, 1, 56),
    Conv("resnet50", 128, 128, 3, 56, 2),
    Conv("resnet50", 256, 512, 1, 56, 2),
    Conv("resnet50", 128, 128, 3, 28),
    Conv("resnet50", 128, 512, 1, 28),
    Conv("resnet50", 512, 128, 1, 28),
    Conv("resnet50", 512, 256, 1, 28),
    Conv("resnet50", 256, 256, 3, 28, 2),
    Conv("resnet50", 512, 1024, 1, 28, 2),
    Conv("resnet50", 256, 256, 3, 14),
    Conv("resnet50", 256, 1024, 1, 14),
    Conv("resnet50", 1024, 256, 1, 14),
    Conv("resnet50", 1024, 512, 1, 14),
    Conv("resnet50", 512, 512, 3, 14, 2),
    Conv("resnet50", 1024, 2048, 1, 14, 2),
    Conv("resnet50", 512, 512, 3, 7),
    Conv("resnet50", 512, 2048, 1, 7),
    Conv("resnet50", 2048, 512, 1, 7),
    # Huang, Liu, van der Maaten, Weinberger 2016
    Conv("densenet121", 64, 128, 1, 56),
    Conv("densenet121", 128, 32, 3, 56),
    Conv("densenet121", 128, 32, 3, 28),
    Conv("densenet121", 384, 128, 1, 28),
    Conv("densenet121", 128, 32, 3, 14),
    Conv("densenet121", 768, 128, 1, 14),
    Conv("densenet121", 128, 32, 3, 7),
    Conv("densenet121", 768, 128, 1, 7),
    # LeCun, Bottou, Bengio, Haffner 1998, and the wider one of many tutorials
    Conv("lenet5", 1, 6, 5, 28),
    Conv("lenet5", 6, 16, 5, 14, 1, 0),
    Conv("lenet", 1, 32, 5, 28),
    Conv("lenet", 32, 64, 5, 14),
)
"""Every kind of convolution of these networks; a shape that two of them share is listed once."""

DEPTHWISE = (
    # Howard et al. 2017
    Conv("mobilenet", 32, 32, 3, 112, groups=32),
    Conv("mobilenet", 64, 64, 3, 112, groups=64),
    Conv("mobilenet", 64, 64, 3, 112, 2, groups=64),
    Conv("mobilenet", 128, 128, 3, 56, groups=128),
    Conv("mobilenet", 256, 256, 3, 28, groups=256),
    Conv("mobilenet", 512, 512, 3, 14, groups=512),
    Conv("mobilenet", 1024, 1024, 3, 7, groups=1024),
)
"""The depthwise convolutions of MobileNet."""

LARGE = (
    (Conv("vgg16", 64, 64, 3, 224), 1),
    (Conv("vgg16", 128, 128, 3, 112), 1),
    (Conv("vgg16", 256, 256, 3, 56), 4),
    (Conv("vgg16", 512, 512, 3, 28), 4),
    (Conv("resnet50", 64, 64, 3, 56), 8),
    (Conv("resnet50", 128, 128, 3, 28), 8),
)
"""Large layers with their batch, for which the direct algorithm should come near the peak."""


class ResponseNorm(NamedTuple):
    """Local response normalisation over 5 channels of square images."""

    network: str
    batch: int
    channels: int
    size: int

    def __str__(self) -> str:
        return f"{self.network} {self.channels}@{self.size} n{self.batch}"


RESPONSE_NORMS = (
    # Krizhevsky, Sutskever, Hinton 2012
    ResponseNorm("alexnet", 1, 96, 55),
    ResponseNorm("alexnet", 8, 96, 55),
    ResponseNorm("alexnet", 8, 256, 27),
    # Szegedy et al. 2014
    ResponseNorm("googlenet", 8, 64, 56),
    ResponseNorm("googlenet", 8, 192, 56),
)
"""The response normalisations of these networks."""


class Concatenation(NamedTuple):
    """Square images that are joined along their channels."""

    network: str
    batch: int
    channels: tuple[int, ...]
    size: int

    def __str__(self) -> str:
        parts = "+".join(map(str, self.channels))
        if len(self.channels) > 4:
            parts = f"{self.channels[0]}+{len(self.channels) - 1}x{self.channels[1]}"
        return f"{self.network} {parts}@{self.size} n{self.batch}"


CONCATENATIONS = (
    # Szegedy et al. 2014: inceptions 3a and 5b
    Concatenation("googlenet", 1, (64, 128, 32, 32), 28),
    Concatenation("googlenet", 8, (64, 128, 32, 32), 28),
    Concatenation("googlenet", 8, (384, 384, 128, 128), 7),
    # Huang, Liu, van der Maaten, Weinberger 2016: the last layers of three blocks
    Concatenation("densenet121", 8, (64, 32, 32, 32, 32, 32), 56),
    Concatenation("densenet121", 8, (256, *[32] * 23), 14),
    Concatenation("densenet121", 8, (512, *[32] * 15), 7),
)
"""Concatenations of these networks."""


class Pooling(NamedTuple):
    """A pooling layer over square images; kind is max, avg, global_avg or adaptive_avg.

    The last has an `out_size` in place of a window.
    """

    network: str
    kind: str
    batch: int
    channels: int
    size: int
    kernel_size: int = 0
    stride: int = 0
    padding: int = 0
    ceil_mode: bool = False
    out_size: int = 0

    def __str__(self) -> str:
        window = f"{self.kernel_size}x{self.kernel_size}s{self.stride} " if self.kernel_size else ""
        ceil = " ceil" if self.ceil_mode else ""
        to = f"-{self.out_size}" if self.out_size else ""
        return f"{self.network} {window}{self.channels}@{self.size}{to}{ceil} n{self.batch}"


class Norm(NamedTuple):
    """A batch normalisation of square images."""

    network: str
    channels: int
    size: int

    def __str__(self) -> str:
        return f"{self.network} {self.channels}@{self.size}"


NORMS = (
    # He, Zhang, Ren, Sun 2015: the stem, and the widest of each stage; 64@56 is within the first
    Norm("resnet50", 64, 112),
    Norm("resnet50", 64, 56),
    Norm("resnet50", 256, 56),
    Norm("resnet50", 512, 28),
    Norm("resnet50", 1024, 14),
    Norm("resnet50", 512, 7),
    Norm("resnet50", 2048, 7),
    # Huang, Liu, van der Maaten, Weinberger 2016: inputs of layers amid the blocks
    Norm("densenet121", 128, 56),
    Norm("densenet121", 320, 28),
    Norm("densenet121", 128, 14),
    Norm("densenet121", 640, 14),
    Norm("densenet121", 1024, 7),
)
"""Batch normalisations of these networks."""


POOLINGS = (
    Pooling("vgg16", "max", 1, 64, 224, 2, 2),
    Pooling("vgg16", "max", 8, 64, 224, 2, 2),
    Pooling("alexnet", "max", 8, 64, 55, 3, 2),
    Pooling("resnet50", "max", 1, 64, 112, 3, 2, 1),
    Pooling("resnet50", "max", 8, 64, 112, 3, 2, 1),
    Pooling("googlenet", "max", 8, 192, 56, 3, 2, 0, True),
    Pooling("googlenet", "max", 8, 480, 14, 3, 1, 1),
    Pooling("lenet", "max", 64, 32, 28, 2, 2),
    Pooling("densenet121", "avg", 1, 128, 56, 2, 2),
    Pooling("densenet121", "avg", 8, 256, 56, 2, 2),
    Pooling("inception", "avg", 8, 480, 14, 3, 1, 1),
    Pooling("lenet5", "avg", 64, 6, 28, 2, 2),
    Pooling("resnet50", "global_avg", 1, 2048, 7),
    Pooling("resnet50", "global_avg", 32, 2048, 7),
    Pooling("densenet121", "global_avg", 8, 1024, 7),
    # images of 256x256 in AlexNet, of 288x288 in VGG-16
    Pooling("alexnet", "adaptive_avg", 8, 256, 7, out_size=6),
    Pooling("vgg16", "adaptive_avg", 8, 512, 9, out_size=7),
)
"""Pooling layers of these networks."""
