"""Files, datasets and loaders."""

import gzip
import sys
from collections import namedtuple

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import data
from tilegrad.errors import DataError, DTypeError, PackageError, ShapeError
from tilegrad.errors import FileNotFoundError as TgFileNotFoundError
from tilegrad.errors import ValueError as TgValueError


# --- IDX ------------------------------------------------------------------------------------------
def test_idx_bytes_are_those_of_the_format(tmp_path):
    """By hand: type 0x0B is int16, two axes of lengths 1 and 2, big-endian values 1 and -2."""
    path = tmp_path / "x"
    raw = bytes.fromhex("00000b02 00000001 00000002 0001 fffe")
    path.write_bytes(raw)
    a = data.read_idx(path)
    assert a.dtype == np.int16 and a.dtype.isnative and a.tolist() == [[1, -2]]
    data.write_idx(path, a)
    assert path.read_bytes() == raw


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4), (0, 7)], ids=str)
def test_idx_round_trip(tmp_path, dtype, suffix, shape):
    a = np.random.default_rng(0).uniform(-100, 100, shape).astype(dtype)
    path = tmp_path / f"a{suffix}"
    data.write_idx(path, np.array(a, order="F"))
    b = data.read_idx(path)
    assert b.dtype == a.dtype and b.shape == shape and b.flags.writeable
    np.testing.assert_array_equal(a, b)
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == bool(suffix)


def test_idx_compression_is_seen_in_the_content(tmp_path):
    data.write_idx(tmp_path / "a.gz", np.arange(3, dtype=np.uint8))
    (tmp_path / "plain").write_bytes((tmp_path / "a.gz").read_bytes())
    assert data.read_idx(tmp_path / "plain").tolist() == [0, 1, 2]
    first = (tmp_path / "a.gz").read_bytes()
    data.write_idx(tmp_path / "a.gz", np.arange(3, dtype=np.uint8))
    assert (tmp_path / "a.gz").read_bytes() == first


GOOD = bytes.fromhex("00000801 00000004") + b"abcd"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", r"truncated: a header of 4 bytes, got 0"),
        (b"PK\3\4 zip", r"not an IDX file: expected 00 00, .* got 50 4b 03 04"),
        (b"\0\0\x07\1" + b"\0" * 8, r"not an IDX file: .* got 00 00 07 01"),
        (GOOD[:6], r"truncated: 1 lengths in 4 bytes, got 2 bytes"),
        (GOOD[:-1], r"truncated: shape \(4,\) of uint8 takes 4 bytes of data, got 3"),
        (GOOD + b"e", r"longer than its header says: .* takes 4 bytes of data, got at least 5"),
        (b"\0\0\x0e\xff" + b"\xff" * 1020, r"truncated: shape .* takes \d+ bytes of data, got 0"),
        (b"\0\0\x08\x64" + b"\0\0\0\1" * 100 + b"a", "no array has 100 such lengths"),
        (b"\0\0\x08\4" + b"\0\0\0\0" + b"\xff" * 12, "no array has 4 such lengths"),
        (gzip.compress(b"\0\0\x08\1\x10\0\0\1"), "unpacks to 268435457 bytes; at most 268435456"),
        (gzip.compress(GOOD)[:-4], "compressed data of .* are damaged"),
        (gzip.compress(GOOD)[:-8] + b"\0" * 8, "compressed data of .* are damaged"),
        (gzip.compress(GOOD[:-1]), r"takes 4 bytes of data, got 3"),
    ],
    ids="empty zip type lengths short long huge axes wide bomb cut broken gzip_short".split(),
)
def test_idx_refuses_damaged_files(tmp_path, raw, text):
    path = tmp_path / "some-file"
    path.write_bytes(raw)
    with pytest.raises(DataError, match=text) as e:
        data.read_idx(path)
    assert "some-file" in str(e.value) and isinstance(e.value, ValueError)


def test_idx_missing_and_unsupported(tmp_path):
    with pytest.raises(TgFileNotFoundError, match=r"there is no file .*nowhere"):
        data.read_idx(tmp_path / "nowhere")
    with pytest.raises(DTypeError, match=r"write_idx: expects one of .* got int64"):
        data.write_idx(tmp_path / "x", np.zeros(2, np.int64))
    assert not (tmp_path / "x").exists()


# --- MNIST and digits -----------------------------------------------------------------------------
def write_mnist(folder, n=6, suffix="", **changes):
    images = np.arange(n * 16, dtype=np.uint8).reshape(n, 4, 4)
    labels = (np.arange(n) % 10).astype(np.uint8)
    arrays = {"images": images, "labels": labels, **changes}
    for part in ("train", "t10k"):
        data.write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", arrays["images"])
        data.write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", arrays["labels"])
    return images, labels


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist(tmp_path, suffix):
    images, labels = write_mnist(tmp_path, suffix=suffix)
    for train in (True, False):
        d = data.MNIST(tmp_path, train)
        assert len(d) == 6 and d.images.shape == (6, 1, 4, 4)
        assert d.images.dtype == tg.float32 and d.labels.dtype == tg.int64
        np.testing.assert_allclose(d.images.numpy()[:, 0] * 255, images, rtol=1e-6)
        np.testing.assert_array_equal(d.labels.numpy(), labels)
        x, y = d[2]
        assert x.shape == (1, 4, 4) and y.item() == 2


def test_mnist_with_transforms(tmp_path):
    images, _ = write_mnist(tmp_path)
    crop = data.transforms.CenterCrop(2)
    d = data.FashionMNIST(tmp_path, transform=crop)
    assert d.classes[9] == "Ankle boot" and data.MNIST(tmp_path).classes[9] == "9"
    (x, _) = next(iter(data.DataLoader(d, 6)))
    np.testing.assert_allclose(x.numpy()[:, 0] * 255, images[:, 1:3, 1:3], rtol=1e-6)


def test_mnist_refuses(tmp_path):
    with pytest.raises(
        TgFileNotFoundError, match=r"neither train-images-idx3-ubyte nor .*gz is in"
    ):
        data.MNIST(tmp_path)
    with pytest.raises(TgFileNotFoundError, match="which is not a folder"):
        data.MNIST(tmp_path / "none")
    for changes, text in (
        ({"labels": np.zeros(5, np.uint8)}, "6 images, but train-labels-idx1-ubyte 5 labels"),
        ({"labels": np.zeros((6, 1), np.uint8)}, r"uint8 of 1 axes, got uint8 of shape \(6, 1\)"),
        ({"images": np.zeros((6, 4, 4), np.int16)}, "uint8 of 3 axes, got int16"),
        ({"labels": np.full(6, 10, np.uint8)}, "has label 10, expected 0 to 9"),
    ):
        write_mnist(tmp_path, **changes)
        with pytest.raises(DataError, match=text):
            data.MNIST(tmp_path)


def test_digits():
    train, test = data.digits(), data.digits(train=False)
    assert len(train) == 1437 and len(test) == 360
    x = train.tensors[0].numpy()
    assert x.shape == (1437, 1, 8, 8) and x.dtype == np.float32
    assert x.min() == 0 and x.max() == 1
    assert set(test.tensors[1].tolist()) == set(range(10))
    large = data.digits(enlarge=True).tensors[0].numpy()
    assert large.shape == (1437, 1, 28, 28)
    np.testing.assert_array_equal(large[:, :, 3:26:3, 3:26:3], x)
    assert large[:, :, :2].max() == 0 and large[..., -2:].max() == 0


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(PackageError, match="pip install scikit-learn") as e:
        data.digits()
    assert isinstance(e.value, ImportError)


# --- datasets -------------------------------------------------------------------------------------
def numbers(n=10):
    return data.TensorDataset(tg.arange(n), tg.arange(n).float() * 2)


def test_tensor_dataset():
    d = numbers()
    assert len(d) == 10 and [t.item() for t in d[3]] == [3, 6]
    with pytest.raises(ShapeError, match=r"one first length, got shapes \[\(2,\), \(3,\)\]"):
        data.TensorDataset(tg.zeros(2), tg.zeros(3))
    with pytest.raises(ShapeError):
        data.TensorDataset(tg.tensor(1.0))
    with pytest.raises(TgValueError, match="at least one"):
        data.TensorDataset()
    with pytest.raises(TypeError, match="got list"):
        data.TensorDataset([1])
    with pytest.raises(NotImplementedError):
        data.Dataset()[0]


def test_subset_and_split():
    s = data.Subset(numbers(), [7, 1])
    assert len(s) == 2 and s[0][0].item() == 7 and s[-1][0].item() == 1
    parts = data.random_split(numbers(), [6, 4], tg.Generator().manual_seed(1))
    again = data.random_split(numbers(), [6, 4], tg.Generator().manual_seed(1))
    seen = [p[i][0].item() for p in parts for i in range(len(p))]
    assert sorted(seen) == list(range(10)) and seen != sorted(seen)
    assert [p.indices for p in parts] == [p.indices for p in again]
    assert [len(p) for p in data.random_split(range(11), [0.5, 0.25, 0.25])] == [6, 3, 2]
    with pytest.raises(TgValueError, match=r"lengths \[6, 5\] do not add up to 10"):
        data.random_split(numbers(), [6, 5])


# --- loader ---------------------------------------------------------------------------------------
def collected(loader):
    return [b[0].tolist() for b in loader]


def test_batches_in_order():
    loader = data.DataLoader(numbers(), 4)
    assert len(loader) == 3 and collected(loader) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    loader = data.DataLoader(numbers(), 4, drop_last=True)
    assert len(loader) == 2 and collected(loader) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    first = next(iter(loader))
    assert isinstance(first, list) and first[1].tolist() == [0, 2, 4, 6]
    with tg.no_grad():
        first[0].zero_()
    assert loader.dataset.tensors[0].tolist() == list(range(10))
    assert collected(data.DataLoader(data.TensorDataset(tg.zeros(0, 2)), 3)) == []


def test_shuffling_follows_the_generator():
    def passes(generator, count=2):
        loader = data.DataLoader(numbers(50), 7, shuffle=True, generator=generator)
        return [[i for b in collected(loader) for i in b] for _ in range(count)]

    first, second = passes(3)
    assert sorted(first) == list(range(50)) and first != sorted(first) and first != second
    assert passes(3) == [first, second]
    assert passes(tg.Generator().manual_seed(3)) == [first, second]
    assert passes(4)[0] != first
    tg.manual_seed(3)
    assert passes(None) == [first, second]
    for x, y in data.DataLoader(numbers(50), 7, shuffle=True):
        assert (x * 2).tolist() == y.tolist()


def test_any_dataset_is_collated():
    Pair = namedtuple("Pair", "a b")
    samples = [
        {"t": tg.full((2,), float(i)), "n": i, "f": i / 2, "a": np.full(3, i), "s": str(i),
         "p": Pair(i, -i), "u": (i, [i])}
        for i in range(3)
    ]  # fmt: skip
    batch = next(iter(data.DataLoader(samples, 3)))
    assert batch["t"].tolist() == [[0, 0], [1, 1], [2, 2]] and batch["n"].tolist() == [0, 1, 2]
    assert batch["f"].dtype == tg.float32 and batch["a"].shape == (3, 3)
    assert batch["s"] == ["0", "1", "2"]
    assert isinstance(batch["p"], Pair) and batch["p"].b.tolist() == [0, -1, -2]
    assert batch["u"][1][0].tolist() == [0, 1, 2]
    with pytest.raises(TgValueError, match="different numbers of fields"):
        next(iter(data.DataLoader([(1, 2), (1,)], 2)))


def test_fast_and_slow_path_agree():
    fast = [[t.numpy() for t in b] for b in data.DataLoader(numbers(), 3)]
    slow = [
        [t.numpy() for t in b]
        for b in data.DataLoader(numbers(), 3, collate_fn=data.default_collate)
    ]
    half = data.Subset(numbers(), list(range(0, 10, 2)))
    assert collected(data.DataLoader(half, 2)) == [[0, 2], [4, 6], [8]]
    pairs = data.Subset([(i, i) for i in range(4)], [3, 1])
    assert collected(data.DataLoader(pairs, 2)) == [[3, 1]]
    for a, b in zip(fast, slow, strict=True):
        for x, y in zip(a, b, strict=True):
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)


def test_samplers():
    d = numbers()
    assert collected(data.DataLoader(d, 2, sampler=[5, 3, 1])) == [[5, 3], [1]]
    loader = data.DataLoader(d, batch_sampler=[[1], [2, 3]])
    assert len(loader) == 2 and collected(loader) == [[1], [2, 3]]
    singles = data.DataLoader(d, batch_size=None)
    assert len(singles) == 10 and [x.item() for x, _ in singles] == list(range(10))
    assert list(data.DataLoader([1, 2], None, collate_fn=lambda s: -s)) == [-1, -2]


def test_samplers_draw_what_they_say():
    letters = "abcde"
    assert list(data.SequentialSampler(letters)) == [0, 1, 2, 3, 4]
    orders = [
        list(data.RandomSampler(letters, generator=tg.Generator().manual_seed(4))) for _ in range(2)
    ]
    assert orders[0] == orders[1] and sorted(orders[0]) == [0, 1, 2, 3, 4]
    twelve = list(data.RandomSampler(letters, num_samples=12))
    assert sorted(twelve[:5]) == sorted(twelve[5:10]) == [0, 1, 2, 3, 4] and len(twelve) == 12
    many = data.RandomSampler(letters, replacement=True, num_samples=5000)
    counts = np.bincount(list(many), minlength=5)
    assert len(many) == counts.sum() == 5000 and abs(counts - 1000).max() < 150
    weighted = list(data.WeightedRandomSampler([1.0, 0.0, 3.0], 4000))
    assert weighted.count(1) == 0 and abs(weighted.count(0) - 1000) < 150
    assert sorted(data.WeightedRandomSampler([1, 2, 3], 3, replacement=False)) == [0, 1, 2]
    assert sorted(data.SubsetRandomSampler([7, 3])) == [3, 7]
    with pytest.raises(TgValueError, match="num_samples must be positive, got 0"):
        data.RandomSampler(letters, num_samples=0)
    with pytest.raises(TgValueError, match=r"one axis .* got shape \(1, 1\)"):
        data.WeightedRandomSampler([[1.0]], 1)
    with pytest.raises(TgValueError, match="batch_size must be positive, got 0"):
        data.BatchSampler([], 0, False)


def test_an_endless_sampler_is_read_batch_by_batch():
    sampler = data.RandomSampler(range(10), replacement=True, num_samples=10**12)
    batch = next(iter(data.DataLoader(numbers(), 4, sampler=sampler)))
    assert len(batch[0]) == 4


def test_joined_datasets_and_streams():
    class Stream(data.IterableDataset):
        def __iter__(self):
            return iter(range(5))

    both = data.Subset(numbers(), [7, 1]) + numbers()
    assert len(both) == 12 and both.cumulative_sizes == [2, 12]
    assert [int(both[i][0]) for i in (0, 1, 2, -1)] == [7, 1, 0, 9]
    assert collected(data.DataLoader(both, 3))[0] == [7, 1, 0]
    with pytest.raises(IndexError, match="index 12 for 12 samples"):
        both[12]
    with pytest.raises(TgValueError, match="at least one dataset"):
        data.ConcatDataset([])
    assert [b.tolist() for b in data.DataLoader(Stream(), 2)] == [[0, 1], [2, 3], [4]]
    joined = data.DataLoader(Stream() + Stream(), 4, drop_last=True)
    assert [b.tolist() for b in joined] == [[0, 1, 2, 3], [4, 0, 1, 2]]
    assert list(data.DataLoader(Stream(), None)) == [0, 1, 2, 3, 4]
    with pytest.raises(TgValueError, match="an IterableDataset excludes shuffle"):
        data.DataLoader(Stream(), shuffle=True)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"num_workers": -1}, "num_workers must not be negative, got -1"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"shuffle": True, "sampler": [0]}, "sampler and shuffle exclude"),
        ({"batch_sampler": [[0]], "batch_size": 3}, "batch_sampler excludes"),
        ({"batch_size": None, "drop_last": True}, "drop_last needs a batch_size"),
    ],
)
def test_loader_refuses(options, text):
    with pytest.raises(TgValueError, match=text):
        data.DataLoader(numbers(), **options)


def test_utils_data_is_the_same():
    from tilegrad.utils.data import DataLoader

    assert DataLoader is data.DataLoader and tg.utils.data.MNIST is data.MNIST
    assert {n for n in dir(data) if n[0] != "_"} == {n for n in dir(tg.utils.data) if n[0] != "_"}


def test_a_seed_is_a_generator_everywhere():
    g = tg.Generator().manual_seed
    for make in (
        lambda g: [s.indices for s in data.random_split(range(9), [4, 5], g)],
        lambda g: list(data.RandomSampler(range(9), generator=g)),
        lambda g: list(data.SubsetRandomSampler(range(9), g)),
        lambda g: list(data.WeightedRandomSampler([1.0] * 9, 9, generator=g)),
    ):
        assert make(3) == make(np.int64(3)) == make(g(3)) != make(4)
        with pytest.raises(TypeError, match="expected a Generator, a seed or None, got str"):
            make("3")


def test_an_overridden_getitem_is_used():
    class Doubled(data.TensorDataset):
        def __getitem__(self, i):
            return (2 * super().__getitem__(i)[0],)

    class Fast(Doubled):
        def take(self, index):
            return [tg.zeros(len(index))]

    doubled = Doubled(tg.arange(4))
    for form in (doubled, data.Subset(doubled, [0, 1, 2, 3]), data.random_split(doubled, [4])[0]):
        (batch,) = data.DataLoader(form, 4)
        assert sorted(batch[0].tolist()) == [0, 2, 4, 6]
    assert next(iter(data.DataLoader(Fast(tg.arange(4)), 2)))[0].tolist() == [0.0, 0.0]


def test_arrays_and_tensors_are_read_by_rows():
    rows = np.arange(12).reshape(4, 3)
    for form in (rows, tg.tensor(rows), data.Subset(rows, range(4)), data.Subset(tg.tensor(rows),
                 range(4))):  # fmt: skip
        assert [b.tolist() for b in data.DataLoader(form, 2)] == [rows[:2].tolist(),
                                                                  rows[2:].tolist()]  # fmt: skip
