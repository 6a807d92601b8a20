"""Datasets from files: image folders and archives, CIFAR, SVHN, tables."""

import gzip
import io
import os
import pickle
import struct
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import data
from tilegrad.data.cifar import CIFAR10_CLASSES, read_batch
from tilegrad.errors import DataError, PackageError
from tilegrad.errors import FileNotFoundError as TgFileNotFoundError
from tilegrad.errors import ValueError as TgValueError

Image = pytest.importorskip("PIL.Image")


def pixels(n=4, size=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 3, size, size), dtype=np.uint8)


def png(a):
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(a.transpose(1, 2, 0))).save(file, "png")
    return file.getvalue()


# --- image folders --------------------------------------------------------------------------------
@pytest.fixture(params=["folder", "zip"])
def photos(request, tmp_path):
    """Two classes of two and one image; a function that makes an ImageFolder of them."""
    images = pixels(3)
    names = {"train/cat/b.png": images[1], "train/cat/a.png": images[0],
             "train/dog/deep/c.PNG": images[2]}  # fmt: skip
    if request.param == "zip":
        root = tmp_path / "photos.zip"
        with zipfile.ZipFile(root, "w", zipfile.ZIP_DEFLATED) as z:
            z.writestr("train/", "")
            z.writestr("train/cat/notes.txt", "no image")
            for name, a in names.items():
                z.writestr(name, png(a))
    else:
        root = tmp_path / "photos"
        for name, a in names.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(png(a))
        (root / "train" / "list.txt").write_text("no image")
    return root, images


def test_image_folder(photos):
    root, images = photos
    d = data.ImageFolder(root, part="train")
    assert d.classes == ["cat", "dog"] and d.targets == [0, 0, 1] and len(d) == 3
    for i in range(3):
        x, y = d[i]
        assert x.dtype == tg.float32 and y == d.targets[i]
        np.testing.assert_array_equal(x.numpy(), images[i].astype("f4") / np.float32(255))
        np.testing.assert_array_equal(d.image(i), images[i])
    seen = data.ImageFolder(root, part="train", transform=lambda x: (x.dtype, x.shape))[1][0]
    assert seen == (tg.uint8, (3, 32, 32))
    with pytest.raises(DataError, match=r"has no val/<class>/<image>"):
        data.ImageFolder(root, part="val")


@pytest.mark.parametrize("workers", ["processes", "threads"])
def test_workers_read_the_archive_at_the_same_time(photos, workers):
    root, images = photos
    d = data.ImageFolder(root, part="train")
    d[0]
    positions = [0, 1, 2] * 20
    loader = data.DataLoader(d, 2, sampler=positions, num_workers=3, workers=workers)
    got = np.concatenate([x.numpy() for x, _ in loader])
    np.testing.assert_array_equal(got, images[positions].astype("f4") / np.float32(255))


def test_image_folders_refuse(tmp_path):
    with pytest.raises(TgFileNotFoundError, match="neither a folder nor a file"):
        data.ImageFolder(tmp_path / "none")
    (tmp_path / "x.zip").write_bytes(b"PK\3\4 not really")
    with pytest.raises(DataError, match="no whole zip archive"):
        data.ImageFolder(tmp_path / "x.zip")
    bad = tmp_path / "bad"
    (bad / "a").mkdir(parents=True)
    whole = png(pixels(1)[0])
    (bad / "a" / "0.png").write_bytes(whole[: len(whole) // 2])
    (bad / "a" / "1.png").write_bytes(b"text")
    d = data.ImageFolder(bad)
    for i in range(2):
        with pytest.raises(DataError, match=rf"'a/{i}.png': read_image: .* cannot be decoded"):
            d[i]
    with pytest.raises(TgFileNotFoundError, match="there is no file"):
        data.read_image(tmp_path / "none.png")
    assert data.read_image(whole, "L").shape == (1, 32, 32)


def test_archives_refuse_bombs_and_damage(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("a/0.png", png(pixels(1)[0]))
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"PK\1\2")
    claims = bytes(raw[: at + 24]) + struct.pack("<I", 1 << 31) + bytes(raw[at + 28 :])
    path.write_bytes(claims)
    with pytest.raises(DataError, match="claims to hold 2147483648 bytes"):
        data.ImageFolder(path)[0]
    raw[60] ^= 255
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"'a/0.png' is damaged"):
        data.ImageFolder(path)[0]


def test_archives_are_stored_or_deflated(tmp_path):
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(tmp_path / "x.zip", "w", method) as z:
            z.writestr("a/0.png", bytes(1 << 20))
        with pytest.raises(DataError, match="neither stored nor deflated"):
            data.ImageFolder(tmp_path / "x.zip")[0]
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as z:
        z.writestr("a/0.png", png(pixels(1)[0]))
        with pytest.warns(UserWarning, match="Duplicate"):
            z.writestr("a/0.png", png(pixels(1)[0]))
    with pytest.raises(DataError, match=r"holds 'a/0.png' twice"):
        data.ImageFolder(tmp_path / "x.zip")


def test_damaged_archives_raise_data_errors_only(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("a/0.png", png(pixels(1, 4)[0]))
        z.writestr("b/\u00e9.png", png(pixels(1, 4)[0]))
    raw = (tmp_path / "x.zip").read_bytes()
    rng, refused = np.random.default_rng(0), 0
    for _ in range(2000):
        changed = bytearray(raw)
        for at in rng.integers(0, len(raw), rng.integers(1, 4)):
            changed[at] = rng.integers(0, 256)
        (tmp_path / "x.zip").write_bytes(changed)
        try:
            for sample in data.ImageFolder(tmp_path / "x.zip"):
                assert sample[0].shape[0] == 3
        except DataError:
            refused += 1
    assert refused > 500


def test_what_file_managers_leave_is_no_image(tmp_path):
    for name in ("a/0.png", "a/.hidden.png", "a/._0.png", ".git/0.png", "__MACOSX/a/0.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(png(pixels(1)[0]))
    d = data.ImageFolder(tmp_path)
    assert d.samples == [("a/0.png", 0)] and d.classes == ["a"]


def encoded(image, kind):
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def test_only_decoders_of_images_are_started():
    for kind in ("EPS", "GIF", "PDF"):
        with pytest.raises(DataError, match="cannot be decoded"):
            data.read_image(encoded(Image.new("RGB", (4, 4)), kind))


def test_images_of_too_many_pixels(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 15)
    with pytest.raises(DataError, match="cannot be decoded"):
        data.read_image(png(pixels(1, 4)[0]))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 16)
    assert data.read_image(png(pixels(1, 4)[0])).shape == (3, 4, 4)


def test_grey_levels_of_many_bits():
    levels = np.array([[0, 255, 256], [32768, 40000, 65535]], np.uint16)
    for kind in ("PNG", "TIFF"):
        a = data.read_image(encoded(Image.fromarray(levels), kind))
        np.testing.assert_array_equal(a, np.broadcast_to(levels >> 8, (3, 2, 3)))
    for other in (np.int32, np.float32):
        with pytest.raises(DataError, match="have no known range"):
            data.read_image(encoded(Image.fromarray(levels.astype(other)), "TIFF"))


def test_images_without_pillow(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(PackageError, match="needs pillow: pip install pillow"):
        data.read_image(b"")


def test_image_dataset_in_batches():
    images = pixels(9)
    flip = lambda x: x.flip(-1)  # noqa: E731
    whole = lambda x: flip(x)  # noqa: E731
    whole.batched = True
    for transform in (None, flip, whole):
        d = data.ImageDataset(tg.from_numpy(images), tg.arange(9), transform=transform)
        expected = (images if transform is None else images[..., ::-1]).astype("f4") / 255
        got = [x.numpy() for x, _ in data.DataLoader(d, 4)]
        assert got[0].dtype == np.float32
        np.testing.assert_allclose(np.concatenate(got), expected, rtol=1e-6)
        np.testing.assert_allclose(d[3][0].numpy(), expected[3], rtol=1e-6)


# --- CIFAR ----------------------------------------------------------------------------------------
def python2_pickle(arrays, **lists):
    """As Python 2 wrote the originals: protocol 2 with byte strings, and NumPy's old names."""

    def text(b):
        return b"U" + bytes([len(b)]) + b if len(b) < 256 else b"T" + struct.pack("<I", len(b)) + b

    out = b"\x80\2}q\0("
    for name, a in arrays.items():
        shape = b"".join(b"M" + struct.pack("<H", n) for n in a.shape)
        out += text(name.encode()) + b"cnumpy.core.multiarray\n_reconstruct\nq\1cnumpy\nndarray\n"
        out += b"K\0\x85" + text(b"b") + b"\x87Rq\2(K\1(" + shape + b"tcnumpy\ndtype\n"
        out += text(b"u1") + b"K\0K\1\x87Rq\3(K\3" + text(b"|") + b"NNNJ\xff\xff\xff\xff" * 1
        out += b"J\xff\xff\xff\xffK\0tb\x89" + text(a.tobytes()) + b"tb"
    for name, values in lists.items():
        items = [text(v) if isinstance(v, bytes) else b"K" + bytes([v]) for v in values]
        out += text(name.encode()) + b"](" + b"".join(items) + b"e"
    return out + b"u."


def rows(n, seed):
    return pixels(n, seed=seed).reshape(n, -1)


def test_the_originals_read_as_python_reads_them():
    """The bytes above are a pickle of Python 2, which pickle itself understands."""
    raw = python2_pickle({"data": rows(3, 0)}, labels=[1, 2, 9], filenames=[b"a", b"b", b"c"])
    if np.__version__ >= "2":
        raw = raw.replace(b"numpy.core", b"numpy._core")
    plain = pickle.loads(raw, encoding="bytes")
    np.testing.assert_array_equal(plain[b"data"], rows(3, 0))
    found = read_batch(raw, "x")
    np.testing.assert_array_equal(found["data"], rows(3, 0))
    assert found["labels"] == [1, 2, 9] and found["filenames"] == [b"a", b"b", b"c"]


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-py"])
@pytest.mark.parametrize("written", ["python 2", "python 3"])
def test_cifar10(tmp_path, inner, written):
    folder = tmp_path / inner
    folder.mkdir(exist_ok=True)
    for i, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
        labels = [i, 9, 0]
        if written == "python 2":
            raw = python2_pickle({"data": rows(3, i)}, labels=labels)
        else:
            raw = pickle.dumps({"data": rows(3, i), "labels": labels}, 2)
        (folder / name).write_bytes(raw)
    d = data.CIFAR10(tmp_path)
    assert d.images.shape == (15, 3, 32, 32) and d.images.dtype == tg.uint8
    assert d.labels.tolist() == [n for i in range(5) for n in (i, 9, 0)]
    assert d.classes[3] == "cat"
    np.testing.assert_array_equal(d.images[3:6].numpy(), pixels(3, seed=1))
    x, y = d[4]
    assert x.dtype == tg.float32 and 0.9 < x.max().item() <= 1 and y.item() == 9
    test = data.CIFAR10(tmp_path, train=False, transform=lambda x: x[:, :4])
    assert len(test) == 3 and test[0][0].shape == (3, 4, 32)


def test_cifar10_as_images(tmp_path):
    images = pixels(10)
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as z:
        for name, a in zip(CIFAR10_CLASSES, images, strict=True):
            z.writestr(f"train/{name}/0000.png", png(a))
        z.writestr("test/frog/0.png", png(images[0]))
    d = data.CIFAR10(tmp_path / "c.zip")
    assert d.labels.tolist() == list(range(10))
    np.testing.assert_array_equal(d.images.numpy(), images)
    with pytest.raises(DataError, match=r"has the classes \['frog'\]"):
        data.CIFAR10(tmp_path / "c.zip", train=False)
    for root in (tmp_path, str(tmp_path)):  # of neither layout: both are named
        with pytest.raises(DataError, match=r"neither data_batch_1 .* nor train/<class>/<image>"):
            data.CIFAR10(root)


def test_cifar100(tmp_path):
    for name, n in (("train", 4), ("test", 2)):
        raw = python2_pickle(
            {"data": rows(n, n)}, fine_labels=[99] * n, coarse_labels=list(range(n))
        )
        (tmp_path / name).write_bytes(raw)
    assert data.CIFAR100(tmp_path).classes == []
    meta = python2_pickle({}, fine_label_names=[b"apple"], coarse_label_names=[b"fruit", b"fish"])
    (tmp_path / "meta").write_bytes(meta)
    d = data.CIFAR100(tmp_path, train=False, coarse=True)
    assert d.classes == ["fruit", "fish"] and d.labels.tolist() == [0, 1]
    assert data.CIFAR100(tmp_path).labels.tolist() == [99] * 4


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


def doubled(depth):
    """A tuple of tuples whose hash takes 2**depth steps."""
    return b"K\0" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(depth))


HOSTILE = {
    "deep_key": b"\x80\2}" + b")" + b"\x85" * 50_000 + b"K\0s.",
    "doubled_key": b"\x80\2}" + doubled(60) + b"K\0s.",
    "encoded_often": b"\x80\2X\0\0\x10\0" + b"x" * 2**20 + b"q\0](" + b"c_codecs\nencode\n("
    b"h\0X\6\0\0\0latin1tR" * 5000 + b"e.",
    "attributes": b"\x80\2cnumpy.core.multiarray\n_reconstruct\nN}U\4codeU\1xs\x86b.",
    "calls": pickle.dumps({"data": Evil()}, 2),
    "calls_4": pickle.dumps({"data": Evil()}, 4),
    "getattr": b"\x80\2cbuiltins\ngetattr\ncbuiltins\nlist\nU\4copy\x86R.",
    "frombuffer": b"\x80\2cnumpy\nfrombuffer\nU\4abcd\x85R.",
    "nested_name": b"\x80\4\x8c\5numpy\x8c\x0cndarray.dump\x93.",
    "build_on_dict": b"\x80\2}}b.",
    "new": b"\x80\2cnumpy\nndarray\n)\x81.",
    "extension": b"\x80\2\x82\1.",
    "instance": b"(U\2idios\nsystem\n.",
    "persistent": b"\x80\2U\1aQ.",
    "bytearray": b"\x80\5\x96\xff\xff\xff\xff\xff\0\0\0.",
    "memo": b"\x80\2}r\xff\xff\xff\xffj\xff\xff\xff\xfe.",
    "text_memo": b"}p999999999999\n.",
    "long_bytes": b"\x80\3\x8e\xff\xff\xff\xff\xff\xff\0\0.",
    "no_dict": pickle.dumps([1], 2),
    "huge_shape": python2_pickle({"data": rows(1, 0)}).replace(b"(M\1\0M", b"(M\xff\xffM"),
    "not_a_pickle": b"hello world\n",
    "gzip": gzip.compress(b"x"),
    "empty": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw = HOSTILE[name]
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"'some/file'"):
            read_batch(raw, "some/file")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100 * len(raw) + 500_000
    assert not os.path.exists("evil")


def test_damaged_pickles_raise_data_errors_only():
    """Every truncation, and 3000 changes of bytes, of a small batch."""
    raw = python2_pickle({"data": rows(1, 0)[:, :12]}, labels=[3], filenames=[b"name"])
    for n in range(len(raw)):
        with pytest.raises(DataError):
            read_batch(raw[:n], "x")
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(3000):
        changed = bytearray(raw)
        for at in rng.integers(0, len(raw), rng.integers(1, 4)):
            changed[at] = rng.integers(0, 256)
        try:
            read_batch(bytes(changed), "x")
        except DataError:
            refused += 1
    assert refused > 1000


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"data": rows(2, 0), "labels": [1]}, "labels does not hold one label for each of 2"),
        ({"data": rows(1, 0), "labels": [10]}, "labels other than 0 to 9"),
        ({"data": rows(1, 0)[:, 1:], "labels": [1]}, r"not uint8 of shape \(N, 3072\)"),
        ({"data": rows(1, 0).astype("i4"), "labels": [1]}, "not an array of uint8"),
        ({"labels": [1]}, r"not uint8 of shape \(N, 3072\)"),
    ],
)
def test_cifar_refuses(tmp_path, content, text):
    (tmp_path / "test_batch").write_bytes(pickle.dumps(content, 2))
    with pytest.raises(DataError, match=text):
        data.CIFAR10(tmp_path, train=False)
    with pytest.raises(TgFileNotFoundError, match="data_batch_1"):
        data.CIFAR10(tmp_path)


# --- SVHN -----------------------------------------------------------------------------------------
def test_svhn(tmp_path, monkeypatch):
    scipy_io = pytest.importorskip("scipy.io")
    images, labels = pixels(4), np.array([[10], [1], [2], [9]], np.uint8)
    path = tmp_path / "test_32x32.mat"
    scipy_io.savemat(path, {"X": images.transpose(2, 3, 1, 0), "y": labels}, do_compression=True)
    d = data.SVHN(tmp_path, "test")
    assert d.labels.tolist() == [0, 1, 2, 9]
    np.testing.assert_array_equal(d.images.numpy(), images)
    whole = path.read_bytes()
    for n in (0, 60, 130, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:n])
        with pytest.raises(DataError, match=r"no \.mat file"):
            data.SVHN(tmp_path, "test")
    scipy_io.savemat(path, {"X": images, "y": labels})
    with pytest.raises(DataError, match=r"X must be uint8 of shape \(32, 32, 3, 4\), got uint8"):
        data.SVHN(tmp_path, "test")
    scipy_io.savemat(path, {"X": images.transpose(2, 3, 1, 0), "y": labels + 1})
    with pytest.raises(DataError, match="labels other than 1 to 10"):
        data.SVHN(tmp_path, "test")
    with pytest.raises(TgFileNotFoundError, match=r"train_32x32\.mat"):
        data.SVHN(tmp_path)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(PackageError, match="need scipy: pip install scipy"):
        data.SVHN(tmp_path, "test")


# --- tables ---------------------------------------------------------------------------------------
def table(tmp_path, text, **options):
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    return data.read_csv(tmp_path / "t.csv", **options)


def test_csv(tmp_path):
    text = '\ufeffa, b,"the, c",d\n1,red,2.5,x\n-3e2,blue,,y\n\n4,red,1,x\n'
    t = table(tmp_path, text, target="d")
    assert t.feature_names == ["a", "b=blue", "b=red", "the, c"] and t.classes == ["x", "y"]
    expected = [[1, 0, 1, 2.5], [-300, 1, 0, np.nan], [4, 0, 1, 1]]
    np.testing.assert_array_equal(t.x.numpy(), np.array(expected, "f4"))
    assert t.y.tolist() == [0, 1, 0] and t[1][1].item() == 1
    t = table(tmp_path, text, target="a", columns=["the, c"])
    assert t.x.shape == (3, 1) and t.y.tolist() == [1, -300, 4] and t.classes == []
    t = table(tmp_path, text, target="a", labels=True, drop=["b", "d"])
    assert t.classes == ["-300".replace("00", "e2"), "1", "4"] and t.y.tolist() == [1, 0, 2]
    assert table(tmp_path, text, drop=["b", "d"]).tensors[0].shape == (3, 2)
    assert table(tmp_path, "a;b\n1;2\n", delimiter=";").x.tolist() == [[1, 2]]


def test_csv_without_values(tmp_path):
    """What stands for a missing number is one only where the others are numbers."""
    t = table(tmp_path, "a,b\n1,NA\nNA,x\nN/A,y\nnull,x\n,x\n-2.5,x\n")
    assert t.feature_names == ["a", "b=NA", "b=x", "b=y"]
    np.testing.assert_array_equal(t.x.numpy()[:, 0], np.array([1] + [np.nan] * 4 + [-2.5], "f4"))
    assert t.x.numpy()[:, 1].tolist() == [1, 0, 0, 0, 0, 0]
    t = table(tmp_path, "a,b\n1,NA\n2,x\n", target="b", labels=True)  # Namibia, among words
    assert t.classes == ["NA", "x"]


@pytest.mark.parametrize(
    ("text", "options", "error", "words"),
    [
        ("", {}, DataError, "first line must name the columns"),
        ("a,a\n1,2\n", {}, DataError, "first line must name the columns"),
        ("a,b\n1,2\n1\n", {}, DataError, "line 3: 1 fields, expected 2"),
        ('a\n"open\n', {}, DataError, "is no table"),
        ("a,b\n", {"target": "c"}, TgValueError, r"no column 'c', only \['a', 'b'\]"),
        ("a,b\n", {"drop": ["z"]}, TgValueError, "no column 'z'"),
        (
            "a,b\n1,2\n3,\n4,NA\n",
            {"target": "b", "labels": True},
            DataError,
            "2 rows have no 'b', the first of them row 2 below",
        ),
        ("a,b\n1,x\n3,\n", {"target": "b", "labels": True}, DataError, "1 rows have no 'b'"),
    ],
)
def test_csv_refuses(tmp_path, text, options, error, words):
    with pytest.raises(error, match=words):
        table(tmp_path, text, **options)


def test_csv_of_other_bytes(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a\n\xff\xfe\n")
    with pytest.raises(DataError, match="is no table"):
        data.read_csv(tmp_path / "t.csv")
    with pytest.raises(TgFileNotFoundError, match="there is no file"):
        data.read_csv(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"is no table: .*irectory"):
        data.read_csv(tmp_path)


def test_toys(monkeypatch):
    pytest.importorskip("sklearn")
    iris = data.toy("iris")
    assert iris.x.shape == (150, 4) and iris.classes == ["setosa", "versicolor", "virginica"]
    assert iris.y.dtype == tg.int64 and len(iris.feature_names) == 4
    diabetes = data.toy("diabetes")
    assert diabetes.y.dtype == tg.float32 and diabetes.classes == []
    for name in ("wine", "breast_cancer", "digits", "linnerud"):
        assert len(data.toy(name)) > 10
    with pytest.raises(TgValueError, match=r"expects one of breast_cancer, .* got 'rain'"):
        data.toy("rain")
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(PackageError, match="comes with scikit-learn"):
        data.toy("iris")
