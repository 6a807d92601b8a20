"""Transforms of images against formulas, pillow, and themselves."""

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import data
from tilegrad.data import transforms as T
from tilegrad.errors import DTypeError, ShapeError
from tilegrad.errors import ValueError as TgValueError

rng = np.random.default_rng(7)


def photos(n=6, c=3, h=20, w=24):
    return rng.integers(0, 256, (n, c, h, w), dtype=np.uint8)


def smooth(n=2, c=3, h=32, w=40):
    """Images that hardly change from pixel to pixel."""
    y, x = np.mgrid[:h, :w]
    waves = [np.sin(x / 9 + i) * np.cos(y / 7 + i / 2) for i in range(n * c)]
    return (np.stack(waves).reshape(n, c, h, w) * 0.4 + 0.5).astype(np.float32)


IMAGE_TRANSFORMS = {
    "CenterCrop": T.CenterCrop(12),
    "ColorJitter": T.ColorJitter(0.4, 0.4, 0.4, 0.1),
    "Compose": T.Compose([T.RandomCrop(12), T.RandomHorizontalFlip()]),
    "GaussianNoise": T.GaussianNoise(),
    "Grayscale": T.Grayscale(),
    "LinearTransformation": T.LinearTransformation(np.eye(1440), np.zeros(1440)),
    "Normalize": T.Normalize([0.5, 0.4, 0.3], [0.1, 0.2, 0.3]),
    "Pad": T.Pad(2, padding_mode="reflect"),
    "RandomAffine": T.RandomAffine(20, (0.1, 0.2), (0.8, 1.2), 10),
    "RandomApply": T.RandomApply(T.GaussianNoise(sigma=0.5)),
    "RandomCrop": T.RandomCrop((12, 16), padding=3),
    "RandomErasing": T.RandomErasing(p=1.0, value="random"),
    "RandomHorizontalFlip": T.RandomHorizontalFlip(),
    "RandomResizedCrop": T.RandomResizedCrop(12),
    "RandomRotation": T.RandomRotation(45),
    "RandomVerticalFlip": T.RandomVerticalFlip(),
    "Resize": T.Resize((10, 30)),
    "TenCrop": T.TenCrop(12),
    "ToFloat": T.ToFloat(),
}
FLOATING = {"LinearTransformation", "Normalize", "ToFloat"}


def test_every_transform_is_here():
    others = {"AddNoise", "PitchShift", "Speed", "SynonymReplacement", "Typos", "CutMix", "MixUp"}
    named = {n for n in dir(T) if isinstance(getattr(T, n), type) and n != "Transform"}
    assert named == set(IMAGE_TRANSFORMS) | others


@pytest.mark.parametrize("name", IMAGE_TRANSFORMS)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_kinds_in_and_out(name, dtype):
    """Arrays and tensors, images and batches; the input stays; the seed decides."""
    t, raw = IMAGE_TRANSFORMS[name], photos()
    x = raw if dtype == "uint8" else (raw / 255).astype(dtype)
    before = x.copy()
    results = []
    for _ in range(2):
        tg.manual_seed(4)
        results.append(t(x))
    tg.manual_seed(4)
    as_tensor = t(tg.from_numpy(x))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], as_tensor.numpy())
    np.testing.assert_array_equal(x, before)
    expected = "float32" if name in FLOATING and dtype == "uint8" else dtype
    if name == "LinearTransformation":
        expected = "float32"
    assert isinstance(results[0], np.ndarray) and results[0].dtype == expected
    one = t(x[0])
    assert one.shape == results[0].shape[1:] and one.dtype == results[0].dtype
    if name not in FLOATING and expected != "uint8":
        assert results[0].min() >= -4e-6 or name == "RandomErasing"
        assert results[0].max() <= 1 + 4e-6 or name == "RandomErasing"
    assert t(x[:0]).shape == (0, *one.shape)
    assert t.batched


@pytest.mark.parametrize("name", [n for n in IMAGE_TRANSFORMS if n != "Compose"])
def test_uint8_and_floating_agree(name):
    """The same numbers of the generator give the same image, but for rounding."""
    t, raw = IMAGE_TRANSFORMS[name], photos()
    generator = tg.Generator().manual_seed(3)
    a = t(raw, generator).astype("f8")
    b = t((raw / 255).astype("f4"), generator.manual_seed(3)).astype("f8")
    if name == "RandomErasing":
        return
    scale = 1 if name in FLOATING else 255
    assert np.abs(a - b * scale).max() <= (1e-5 if name in FLOATING else 0.51)


def test_a_generator_may_be_given():
    x, t = photos(), T.RandomCrop(12)
    g = tg.Generator().manual_seed(1)
    first, second = t(x, g), t(x, g)
    assert (first != second).any()
    np.testing.assert_array_equal(t(x, g.manual_seed(1)), first)
    state = tg.get_rng_state().tolist()
    t(x, g)
    assert tg.get_rng_state().tolist() == state


def test_images_of_a_batch_differ():
    x = np.repeat(photos(1), 16, 0)
    for name in ("ColorJitter", "RandomAffine", "RandomCrop", "RandomResizedCrop", "GaussianNoise"):
        y = IMAGE_TRANSFORMS[name](x)
        assert len({image.tobytes() for image in y}) > 12, name


# --- geometry -------------------------------------------------------------------------------------
def test_random_crop_takes_every_window():
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    found = T.RandomCrop(3)(np.repeat(x, 200, 0))
    windows = {w.tobytes() for w in found}
    assert windows == {
        np.ascontiguousarray(x[0, :, i : i + 3, j : j + 3]).tobytes()
        for i in (0, 1)
        for j in (0, 1)
    }
    padded = T.RandomCrop(4, padding=(1, 2), fill=7)(np.repeat(x, 400, 0))
    wide = np.pad(x[0], ((0, 0), (2, 2), (1, 1)), constant_values=7)
    expected = {
        np.ascontiguousarray(wide[:, i : i + 4, j : j + 4]).tobytes()
        for i in range(5)
        for j in range(3)
    }
    assert {w.tobytes() for w in padded} == expected


def test_flips():
    x = photos(400)
    for t, axis in ((T.RandomHorizontalFlip, -1), (T.RandomVerticalFlip, -2)):
        np.testing.assert_array_equal(t(1.0)(x), np.flip(x, axis))
        np.testing.assert_array_equal(t(0.0)(x), x)
        turned = (t()(x) != x).any((1, 2, 3))
        assert 150 < turned.sum() < 250


@pytest.mark.parametrize("mode", ["edge", "reflect", "symmetric", "constant"])
def test_pad(mode):
    x = photos()
    y = T.Pad((1, 2, 3, 4), padding_mode=mode)(x)
    np.testing.assert_array_equal(y, np.pad(x, ((0, 0), (0, 0), (2, 4), (1, 3)), mode))
    colours = T.Pad(1, fill=(1, 2, 3))(x)
    assert colours[0, :, 0, 0].tolist() == [1, 2, 3]


def test_ten_crop():
    x = photos()
    y = T.TenCrop((8, 10))(x)
    assert y.shape == (6, 10, 3, 8, 10)
    np.testing.assert_array_equal(y[:, 3], x[:, :, -8:, -10:])
    np.testing.assert_array_equal(y[:, 4], x[:, :, 6:14, 7:17])
    np.testing.assert_array_equal(y[:, 4], T.CenterCrop((8, 10))(x))
    np.testing.assert_array_equal(y[:, 6], x[..., ::-1][:, :, :8, -10:])


@pytest.mark.parametrize("size", [(7, 11), (40, 48), (20, 13), (64, 5)])
def test_resize_is_that_of_pillow(size):
    Image = pytest.importorskip("PIL.Image")
    x = rng.random((2, 2, 20, 24), dtype=np.float32)
    y = T.Resize(size)(x)
    for a, b in zip(x.reshape(-1, 20, 24), y.reshape(-1, *size), strict=True):
        expected = Image.fromarray(a).resize(size[::-1], Image.Resampling.BILINEAR)
        np.testing.assert_allclose(b, np.asarray(expected), atol=2e-6)


def test_resize_by_the_shorter_side():
    assert T.Resize(10)(photos()).shape == (6, 3, 10, 12)
    assert T.Resize(10)(photos(h=24, w=20)).shape == (6, 3, 12, 10)


def test_random_resized_crop():
    x = smooth()
    whole = T.RandomResizedCrop((32, 40), scale=(1, 1), ratio=(1.25, 1.25))
    np.testing.assert_allclose(whole(x), x, atol=1e-6)
    coordinates = np.broadcast_to(np.mgrid[:64, :64][:, None] + 0.5, (2, 300, 64, 64))
    y = T.RandomResizedCrop(16)(coordinates.swapaxes(0, 1).astype(np.float32) / 64)
    height = (y[:, 0, -1, 0] - y[:, 0, 0, 0]) * 16 / 15
    width = (y[:, 1, 0, -1] - y[:, 1, 0, 0]) * 16 / 15
    area, ratio = height * width, width / height
    assert 0.06 < area.min() < 0.15 and 0.9 < area.max() <= 1.05 and 0.45 < area.mean() < 0.6
    assert 0.7 < ratio.min() < 0.8 and 1.25 < ratio.max() < 1.45
    tall = T.RandomResizedCrop(8, scale=(1, 1), ratio=(3, 3))(np.ones((1, 1, 30, 10), "f4"))
    np.testing.assert_allclose(tall, 1, atol=1e-6)


def test_affine_maps_of_known_angles():
    x = smooth(h=33, w=33)
    for degrees, times in ((90, 1), (180, 2), (-90, 3)):
        turned = T.RandomAffine((degrees, degrees))(x)
        np.testing.assert_allclose(turned, np.rot90(x, times, (2, 3)), atol=1e-5)
    np.testing.assert_array_equal(T.RandomRotation((180, 180))(x), x[:, :, ::-1, ::-1])
    np.testing.assert_array_equal(T.RandomAffine(0)(x), x)
    bigger = T.RandomAffine(0, scale=(2.0, 2.0))(x)
    np.testing.assert_allclose(bigger[:, :, ::2, ::2], x[:, :, 8:25, 8:25], atol=1e-5)
    sheared = T.RandomAffine(0, shear=(45, 45), fill=-1)(x)
    for row in (10, 16, 20):  # a row moves by its height over the middle
        by = row - 16
        moved = np.full((2, 3, 33), -1, "f4")
        moved[..., max(by, 0) : 33 + min(by, 0)] = x[:, :, row, max(-by, 0) : 33 - max(by, 0)]
        np.testing.assert_allclose(sheared[:, :, row], moved, atol=1e-5)
    back = T.RandomAffine((-30, -30))(T.RandomAffine((30, 30))(x))
    middle = (slice(None), slice(None), slice(10, 23), slice(10, 23))
    np.testing.assert_allclose(back[middle], x[middle], atol=0.02)


def test_shifts():
    x = np.ones((200, 1, 10, 20), np.float32)
    y = T.RandomAffine(0, translate=(0.2, 0.3), fill=(0,))(x)
    rows, columns = y[:, 0, :, 10].sum(1), y[:, 0, 5].sum(1)
    assert set(rows) == {7.0, 8.0, 9.0, 10.0} and set(columns) == {16.0, 17.0, 18.0, 19.0, 20.0}
    np.testing.assert_array_equal(y, np.round(y))


# --- values ---------------------------------------------------------------------------------------
def test_normalize():
    x = photos(40)
    t = T.Normalize.fit(x)
    np.testing.assert_allclose(t.mean, x.mean((0, 2, 3)) / 255, rtol=1e-6)
    y = t(x)
    np.testing.assert_allclose(y.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std((0, 2, 3)), 1, atol=1e-5)
    floating = T.Normalize.fit(tg.from_numpy((x / 255).astype("f4")))
    np.testing.assert_allclose(floating.std, t.std, rtol=1e-5)
    assert T.Normalize.fit(np.zeros((2, 1, 3, 3), "f4"))(np.zeros((1, 1, 3, 3), "f4")).max() == 0


@pytest.mark.parametrize("kind", ["zca", "pca"])
def test_whitening(kind):
    x = (rng.random((400, 3, 2, 2)) @ rng.random((2, 2))).astype("f4") / 2
    t = T.LinearTransformation.fit(x, kind, eps=0.0)
    y = t(x).reshape(400, -1).astype("f8")
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(y.T @ y / 400, np.eye(12), atol=2e-3)
    if kind == "zca":
        np.testing.assert_allclose(t.matrix, t.matrix.T, rtol=1e-4, atol=1e-4)
    raw = (x * 255).astype(np.uint8)
    np.testing.assert_allclose(T.LinearTransformation.fit(raw, kind, 1e-3)(raw).std(), 1, atol=0.15)


def test_whitening_of_constant_features():
    x = np.repeat(rng.random((50, 1, 1, 2)), 2, 3).astype("f4")
    y = T.LinearTransformation.fit(x, eps=0.0)(x)
    assert np.isfinite(y).all() and abs(y).max() < 10


def test_colours_by_colorsys():
    import colorsys

    x = rng.random((1, 3, 6, 6)).astype("f4")
    x[0, :, 0, 0] = 0.5  # grey has no hue
    for turn in (-0.5, -0.2, 0.1, 0.33):
        y = T.ColorJitter(hue=(turn, turn))(x)
        for i, j in np.ndindex(6, 6):
            h, s, v = colorsys.rgb_to_hsv(*x[0, :, i, j].astype("f8"))
            expected = colorsys.hsv_to_rgb((h + turn) % 1, s, v)
            np.testing.assert_allclose(y[0, :, i, j], expected, atol=2e-6)


def test_brightness_contrast_saturation():
    x = rng.random((3, 3, 5, 5)).astype("f4")
    grey = np.tensordot(x, [0.299, 0.587, 0.114], (1, 0))[:, None]
    mean = grey.mean((1, 2, 3), keepdims=True)
    for name, other in (("brightness", 0), ("contrast", mean), ("saturation", grey)):
        for factor in (0.0, 0.5, 1.5):
            y = T.ColorJitter(**{name: (factor, factor)})(x)
            expected = np.clip(factor * x + (1 - factor) * other, 0, 1)
            np.testing.assert_allclose(y, expected, atol=1e-6)
    np.testing.assert_array_equal(T.ColorJitter()(x), x)
    one = T.ColorJitter(0.5, 0.5, 0.5, 0.5)(x[:, :1])
    assert one.shape == (3, 1, 5, 5)
    np.testing.assert_allclose(T.Grayscale(3)(x), np.repeat(grey, 3, 1), atol=1e-6)


def test_noise():
    x = np.full((4, 3, 50, 50), 0.5, "f4")
    y = T.GaussianNoise(0.1, 0.05)(x)
    assert abs(y.mean() - 0.6) < 0.002 and abs(y.std() - 0.05) < 0.002
    raw = T.GaussianNoise(sigma=0.1)(np.full((1, 1, 100, 100), 128, np.uint8))
    assert abs(raw.std() - 25.5) < 1
    wild = T.GaussianNoise(sigma=3.0)(x)
    assert wild.min() == 0 and wild.max() == 1
    assert T.GaussianNoise(sigma=3.0, clip=False)(x).max() > 2


def test_erasing():
    x = np.ones((500, 3, 20, 20), "f4")
    y = T.RandomErasing(p=0.7, value=(0, 0.25, 0.5))(x)
    holes = (y != x).any(1)
    share = holes.mean((1, 2))
    assert 300 < (share > 0).sum() < 400
    assert 0.015 < share[share > 0].min() and share.max() < 0.36
    for image, hole in zip(y[:50], holes[:50], strict=True):
        if hole.any():
            rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
            box = image[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            for channel, value in zip(box, (0, 0.25, 0.5), strict=True):
                assert (channel == value).all()
    assert (T.RandomErasing(p=1.0, value="random")(x) != x).any((1, 2, 3)).all()


def test_random_apply():
    x = photos(300)
    changed = (T.RandomApply(T.RandomHorizontalFlip(1.0), 0.3)(x) != x).any((1, 2, 3))
    assert 60 < changed.sum() < 120
    np.testing.assert_array_equal(T.RandomApply(T.RandomHorizontalFlip(1.0), 0.0)(x), x)


# --- mixtures -------------------------------------------------------------------------------------
def test_mixup():
    x, y = tg.from_numpy(rng.random((5, 1, 4, 4)).astype("f4")), tg.tensor([0, 1, 2, 0, 1])
    mixed, shares = T.MixUp(alpha=0.5, num_classes=3)(x, y)
    a, partner = x.numpy(), np.roll(x.numpy(), 1, 0)
    lam = float(shares[1, 1])
    np.testing.assert_allclose(mixed.numpy(), lam * a + (1 - lam) * partner, atol=1e-6)
    np.testing.assert_allclose(shares.numpy().sum(1), 1, atol=1e-6)
    assert shares[1].tolist() == pytest.approx([1 - lam, lam, 0], abs=1e-6)
    again = T.MixUp()(mixed, shares)[1]
    np.testing.assert_allclose(again.numpy().sum(1), 1, atol=1e-6)
    loss = tg.nn.functional.cross_entropy(tg.zeros(5, 3), shares)
    assert loss.item() == pytest.approx(np.log(3), rel=1e-5)


def test_cutmix():
    a = np.arange(4, dtype="f4")[:, None, None, None] * np.ones((1, 2, 16, 16), "f4")
    found = set()
    for _ in range(20):
        mixed, shares = T.CutMix(num_classes=4)(tg.from_numpy(a), tg.arange(4))
        other = (mixed.numpy()[1] == 0).all(0)
        assert shares[1].tolist() == pytest.approx([other.mean(), 1 - other.mean(), 0, 0], abs=1e-6)
        rows, columns = other.any(1).sum(), other.any(0).sum()
        assert other.sum() == rows * columns  # a rectangle
        assert set(np.unique(mixed.numpy()[2])) <= {1.0, 2.0}
        found.add(int(other.sum()))
    assert len(found) > 5


# --- what is refused ------------------------------------------------------------------------------
REFUSED = {
    "one axis": (lambda: T.ToFloat()(np.zeros(3, "f4")), ShapeError, r"got shape \(3,\)"),
    "int32": (lambda: T.ToFloat()(np.zeros((1, 2, 2), "i4")), DTypeError, "got int32"),
    "std": (lambda: T.Normalize(0, 0), TgValueError, "std must be positive"),
    "channels": (
        lambda: T.Normalize([0, 0], 1)(photos()), ShapeError, "mean has 2 values for 3 channels",
    ),
    "fit": (lambda: T.Normalize.fit(np.zeros(3)), ShapeError, r"expects images \(N, C, H, W\)"),
    "kind": (lambda: T.LinearTransformation.fit(photos(), "lda"), TgValueError, "'zca' or 'pca'"),
    "matrix": (
        lambda: T.LinearTransformation(np.eye(3), np.zeros(2)), ShapeError, "expects matrix",
    ),
    "flat": (
        lambda: T.LinearTransformation(np.eye(3), np.zeros(3))(photos()), ShapeError, "expects 3",
    ),
    "hue": (lambda: T.ColorJitter(hue=0.6), TgValueError, "hue must lie within"),
    "brightness": (lambda: T.ColorJitter(-1), TgValueError, "brightness must not be negative"),
    "interval": (lambda: T.ColorJitter((2, 1)), TgValueError, "expects low <= high"),
    "sigma": (lambda: T.GaussianNoise(sigma=-1), TgValueError, "sigma must not be negative"),
    "p": (lambda: T.RandomHorizontalFlip(1.5), TgValueError, "p must lie between 0 and 1, got 1.5"),
    "erasing": (lambda: T.RandomErasing(scale=(0, 2)), TgValueError, "scale must lie in"),
    "value": (lambda: T.RandomErasing(value="x")(photos()), TgValueError, "or 'random', got 'x'"),
    "crop": (
        lambda: T.RandomCrop(30)(photos()), ShapeError, r"images \(20, 24\) are smaller than",
    ),
    "size": (lambda: T.Resize((0, 3)), TgValueError, "size expects one or two positive"),
    "padding": (lambda: T.Pad((1, 2, 3)), TgValueError, "padding expects 1, 2 or 4"),
    "mode": (lambda: T.Pad(1, padding_mode="wrap"), TgValueError, "padding_mode is one of"),
    "ratio": (lambda: T.RandomResizedCrop(3, ratio=(0, 1)), TgValueError, "must be above 0"),
    "shift": (lambda: T.RandomAffine(0, (2, 0)), TgValueError, "translate must lie in"),
    "cubic": (
        lambda: T.RandomAffine(0, interpolation="cubic"), TgValueError, "'bilinear' or 'nearest'",
    ),
    "alpha": (lambda: T.MixUp(0), TgValueError, "alpha must be positive"),
    "classes": (
        lambda: T.MixUp(num_classes=2)(tg.rand(2, 1), tg.tensor([0, 2])), TgValueError,
        "labels need num_classes above them, got 2",
    ),
    "labels": (
        lambda: T.CutMix(num_classes=2)(tg.rand(2, 1), tg.tensor([0])), ShapeError, r"got float32",
    ),
    "cut": (
        lambda: T.CutMix(num_classes=2)(tg.rand(2, 1), tg.tensor([0, 1])), ShapeError, "images",
    ),
    "audio": (lambda: T.Speed()(np.zeros(5, "i2")), DTypeError, "expects floating samples"),
    "short": (lambda: T.Speed()(np.zeros(1)), ShapeError, "two samples"),
    "speed": (lambda: T.Speed((0, 1)), TgValueError, "factor must be above 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, error, text = REFUSED[name]
    with pytest.raises(error, match=text):
        call()


# --- in a loader ----------------------------------------------------------------------------------
@pytest.mark.parametrize("split", [False, True])
def test_workers_augment_alike(split):
    train = T.Compose(
        [T.RandomCrop(12), T.RandomHorizontalFlip(), T.RandomErasing(), T.Normalize(0.5, 0.2)]
    )
    single = lambda x: train(x)  # noqa: E731  not batched: image by image
    for transform in (train, single):
        images = data.ImageDataset(tg.from_numpy(photos(30)), tg.arange(30), transform=transform)
        dataset = data.Subset(images, range(0, 30, 2)) if split else images
        found = []
        for n, workers in ((0, "threads"), (1, "processes"), (3, "processes"), (2, "threads")):
            tg.manual_seed(2)
            loader = data.DataLoader(dataset, 4, shuffle=True, num_workers=n, workers=workers)
            found.append([(x.numpy().tobytes(), y.tolist()) for _ in range(2) for x, y in loader])
        assert found[0] == found[1] == found[2] == found[3]
        assert len({x for x, _ in found[0]}) == len(found[0])
