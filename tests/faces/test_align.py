import cv2
import numpy as np
import pytest

from memgan.errors import ImageError
from memgan.faces import FFHQ_TEMPLATE, Face, align, crop_from_box_matrix
from memgan.faces.align import fit_to_template
from memgan.faces.warp import compose_affine, invert_affine, rescale_affine, warp


def similarity(scale, degrees, x, y):
    angle = np.deg2rad(degrees)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([linear, (x, y)])


def face_at(matrix, box=(0, 0, 100, 100)):
    return Face(np.array(box, np.float32), FFHQ_TEMPLATE @ matrix[:, :2].T + matrix[:, 2], 1.0)


def waves(height, width, period):
    """A smooth picture known at every real position."""

    def value(x, y):
        phases = (x / period, y / period, (x + y) / period / 1.5)
        return np.stack([127.5 + 100 * np.sin(2 * np.pi * phase) for phase in phases], -1)

    y, x = np.mgrid[:height, :width]
    return np.rint(value(x, y)).astype(np.uint8), value


@pytest.mark.parametrize("degrees", [0, 17, 90, 180, -135])
@pytest.mark.parametrize("scale", [0.05, 0.7, 9])
def test_exact_similarities_are_recovered(degrees, scale):
    image_from_crop = similarity(scale, degrees, 300, -40)
    found = fit_to_template(face_at(image_from_crop).landmarks)
    assert np.allclose(found, invert_affine(image_from_crop), atol=1e-6 / scale)


def test_crop_size_scales_the_field_of_view():
    landmarks = face_at(similarity(0.5, 20, 90, 80)).landmarks
    large, small = (fit_to_template(landmarks, size) for size in (512, 128))
    assert np.allclose(rescale_affine(large, 0.25, 0.25), small)


@pytest.mark.parametrize(
    ("scale", "degrees", "period"),
    [(0.1, 30, 12), (0.5, 0, 30), (0.9, 45, 30), (1, 10, 40), (1.3, 180, 60), (3.7, -75, 300), (5, 5, 400)],
)
def test_pixels_come_from_where_the_matrix_says(scale, degrees, period):
    """Crops from 50 to 2500 picture pixels wide: every crop pixel shows the picture at the place that is sent to it."""
    side = 500 if scale < 1.4 else int(520 * scale)
    image, value = waves(side, side, period)
    matrix = similarity(scale, degrees, 0, 0)
    matrix[:, 2] = np.array([side / 2, side / 2]) - matrix[:, :2] @ (255.5, 255.5)
    aligned = align(image, face_at(matrix))
    assert aligned.crop.shape == (512, 512, 3) and aligned.crop.dtype == np.uint8
    y, x = np.mgrid[:512, :512]
    places = np.stack([x, y], -1) @ matrix[:, :2].T + matrix[:, 2]
    inside = ((places > 3 * scale + 2) & (places < side - 3 * scale - 3)).all(-1)
    assert inside.mean() > 0.5
    # A shift by half a picture pixel would change the steepest places by this much.
    half_pixel = 100 * 2 * np.pi / period * 0.5 * max(1, scale)
    error = np.abs(aligned.crop - value(places[..., 0], places[..., 1]))[inside]
    assert error.max() < max(3, 0.5 * half_pixel) and error.mean() < max(0.6, 0.1 * half_pixel)


def test_large_faces_are_averaged_not_picked():
    checks = np.indices((4096, 4096)).sum(0) % 2 * 255
    image = np.repeat(checks[:, :, None], 3, 2).astype(np.uint8)
    aligned = align(image, face_at(similarity(8, 12, -100, -500)))
    assert np.abs(aligned.crop[200:300, 200:300].astype(int) - 127).max() < 20


def test_outside_the_picture_is_its_mirror_image():
    image, _ = waves(200, 200, 60)
    aligned = align(image, face_at(similarity(0.5, 0, -60, 20)))
    # Crop x = 120 is picture x = 0.
    assert np.abs(aligned.crop[:, 120:241][:, ::-1].astype(int) - aligned.crop[:, :121]).max() <= 2
    assert aligned.crop[:, :121].std() > 20


@pytest.mark.parametrize("x", [-5000, -400, 190, 5000])
def test_faces_far_outside_do_not_fail(x):
    image, _ = waves(200, 180, 60)
    assert align(image, face_at(similarity(0.8, 33, x, x))).crop.shape == (512, 512, 3)


def test_cutting_the_needed_region_changes_nothing():
    image, _ = waves(900, 900, 25)
    face = face_at(similarity(0.6, 25, 600, 420))
    aligned = align(image, face)
    whole = warp(image, aligned.crop_from_image, 512, 512, cv2.BORDER_REFLECT_101)
    assert np.abs(aligned.crop.astype(int) - whole).max() <= 1


@pytest.mark.parametrize(
    "landmarks",
    [
        np.full((5, 2), 50.0),
        np.full((5, 2), np.nan),
        FFHQ_TEMPLATE * (-1, 1) + (512, 0),  # mirrored: left and right swapped
        FFHQ_TEMPLATE[[2, 4, 0, 1, 3]],
        FFHQ_TEMPLATE[:4],
        FFHQ_TEMPLATE * 1e-3,
    ],
)
def test_degenerate_landmarks(landmarks):
    assert fit_to_template(landmarks) is None
    image, _ = waves(300, 300, 50)
    box = np.array([100, 80, 180, 190], np.float32)
    aligned = align(image, Face(box, landmarks, 0.9))
    assert np.array_equal(aligned.crop_from_image, crop_from_box_matrix(box))
    middle = aligned.crop_from_image[:, :2] @ (140, 135) + aligned.crop_from_image[:, 2]
    assert np.abs(middle - 256).max() < 40
    with pytest.raises(ImageError, match="face box"):
        align(image, Face(np.array([9, 9, 9, 9.0]), landmarks, 0.9))


def test_one_line_of_landmarks_is_still_a_rotation():
    profile = FFHQ_TEMPLATE * (0.15, 1) + (200, 0)  # both eyes nearly at one place
    matrix = fit_to_template(profile)
    assert abs(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))) < 10


def test_one_wrong_landmark_moves_the_crop_little():
    wrong = FFHQ_TEMPLATE.copy()
    wrong[3] += (25, -10)
    moved = fit_to_template(wrong)
    assert np.abs(moved[:, :2] @ (256, 256) + moved[:, 2] - 256).max() < 8


def test_fit_is_the_least_squares_optimum():
    source = np.random.default_rng(0).normal(size=(5, 2)) * 30

    def cost(matrix):
        return np.square(source @ matrix[:, :2].T + matrix[:, 2] - FFHQ_TEMPLATE).sum()

    matrix = fit_to_template(source, max_residual=np.inf)
    best = cost(matrix)
    residual = np.sqrt(best / np.square(FFHQ_TEMPLATE - FFHQ_TEMPLATE.mean(0)).sum())
    assert fit_to_template(source, max_residual=residual * 0.999) is None
    assert fit_to_template(source, max_residual=residual * 1.001) is not None
    for scale, degrees, x, y in ((1.01, 0, 0, 0), (1, 1, 0, 0), (1, 0, 0.5, 0), (1, 0, 0, -0.5)):
        assert cost(compose_affine(similarity(scale, degrees, x, y), matrix)) > best


def test_align_leaves_the_input_alone():
    image, _ = waves(300, 300, 50)
    face = face_at(similarity(0.5, 10, 20, 20))
    before, points = image.copy(), face.landmarks.copy()
    first = align(image, face)
    assert np.array_equal(align(image, face).crop, first.crop)
    assert np.array_equal(image, before) and np.array_equal(face.landmarks, points)


def test_a_face_far_larger_than_the_picture_is_cut_out_and_ends():
    """Averaged down, such a picture is a single row, which OpenCV 5 mirrors forever."""
    image = np.full((40, 60, 3), 90, np.uint8)
    for side in (60, 445, 1100):
        middle = np.array([30.0, 20.0])
        face = Face(np.float32([*(middle - side / 2), *(middle + side / 2)]), np.zeros((5, 2), np.float32), 1.0)
        assert (align(image, face, 16).crop == 90).all()
