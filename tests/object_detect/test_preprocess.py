from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.object_detect.preprocess import make_input, place

from .models import manifest_of, network_of, plain

LETTERBOX = {"mode": "letterbox", "pad_value": 114, "align": "center"}


def spec_of(fixture="channels", **changes):
    return manifest_of(fixture, **changes).input


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("color", "expected"), [("RGB", [0.2, 0.4, 0.6]), ("BGR", [0.6, 0.4, 0.2])])
def test_the_network_gets_the_channels_in_the_manifests_order(color, expected):
    network = network_of("channels", input__color=color)
    picture = plain(40, 30, (153, 102, 51))  # blue 0.6, green 0.4, red 0.2
    tensor = make_input(picture, place(40, 30, network.manifest.input), network.manifest.input)
    assert network.infer(tensor)["scores"][0, 0] == pytest.approx(expected, abs=1e-4)


def test_values_are_scaled_then_centred_then_divided_in_the_order_of_the_colours():
    network = network_of(
        "channels",
        input__scale=1 / 255,
        input__mean=[0.1, 0.2, 0.3],
        input__std=[0.5, 0.25, 2.0],
        outputs__scores__activation="sigmoid",
    )
    picture = plain(16, 16, (153, 102, 51))
    tensor = make_input(picture, place(16, 16, network.manifest.input), network.manifest.input)
    means = network.infer(tensor)["scores"][0, 0]
    assert means == pytest.approx([(0.2 - 0.1) / 0.5, (0.4 - 0.2) / 0.25, (0.6 - 0.3) / 2.0], abs=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_the_tensor_has_the_manifests_shape_and_type(dtype, layout):
    spec = spec_of(input__layout=layout, input__dtype=dtype, input__width=32, input__height=48)
    tensor = make_input(plain(100, 70, (0, 0, 255)), place(100, 70, spec), spec)
    assert tensor.shape == spec.shape == ((1, 48, 32, 3) if layout == "NHWC" else (1, 3, 48, 32))
    assert tensor.dtype == dtype
    assert tensor.flags.c_contiguous
    red = tensor[0, ..., 0] if layout == "NHWC" else tensor[0, 0]
    assert red.min() == 1


def test_raw_pixels_go_in_untouched():
    spec = spec_of("ssd_decoded")
    picture = np.random.default_rng(7).integers(0, 256, (32, 32, 3), np.uint8)
    tensor = make_input(picture, place(32, 32, spec), spec)
    assert tensor.dtype == np.uint8
    assert (tensor[0] == picture[:, :, ::-1]).all()


# --- places ----------------------------------------------------------------------------------------------------------


def test_stretching_fills_the_input():
    spec = spec_of("ssd_decoded")
    placement = place(640, 320, spec)
    assert placement.to_picture(np.array([[8.0, 8, 32, 32]])).tolist() == [[160, 80, 640, 320]]


@pytest.mark.parametrize(
    ("size", "align", "expected"),
    [
        ((128, 64), "center", (64, 32, 0, 16)),
        ((64, 128), "center", (32, 64, 16, 0)),
        ((128, 64), "top-left", (64, 32, 0, 0)),
        ((64, 64), "center", (64, 64, 0, 0)),
        ((32, 16), "center", (64, 32, 0, 16)),
        ((5000, 1), "center", (64, 1, 0, 31)),
    ],
)
def test_a_letterbox_keeps_proportions_and_pads_the_rest(size, align, expected):
    spec = spec_of("yolov8", input__resize={**LETTERBOX, "align": align})
    found = place(*size, spec)
    assert (found.width_px, found.height_px, found.left_px, found.top_px) == expected


def test_padding_has_the_manifests_value():
    spec = spec_of("yolov8", input__scale=1)
    tensor = make_input(plain(128, 64, (255, 255, 255)), place(128, 64, spec), spec)[0]
    assert (tensor[:, :16] == 114).all()
    assert (tensor[:, 16:48] == 255).all()
    assert (tensor[:, 48:] == 114).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 4000), st.integers(1, 4000), st.sampled_from(["stretch", "center", "top-left"]))
def test_the_placed_picture_maps_back_to_the_whole_picture(width_px, height_px, how):
    resize = {"mode": "stretch"} if how == "stretch" else {**LETTERBOX, "align": how}
    spec = spec_of("yolov8", input__resize=resize, input__width=96)
    found = place(width_px, height_px, spec)
    assert found.left_px >= 0
    assert found.top_px >= 0
    right, bottom = found.left_px + found.width_px, found.top_px + found.height_px
    assert right <= spec.width
    assert bottom <= spec.height
    corners = found.to_picture(np.array([[found.left_px, found.top_px, right, bottom]], np.float64))
    assert corners[0] == pytest.approx([0, 0, width_px, height_px])
