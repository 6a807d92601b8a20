"""Augmentation of text and audio."""

import numpy as np
import pytest

import tilegrad as tg
from tilegrad.data import transforms as T
from tilegrad.data.transforms.audio import resample, stretch

rng = np.random.default_rng(7)


# --- text -----------------------------------------------------------------------------------------
def test_synonyms():
    t = T.SynonymReplacement({"Big": ["large", "huge"], "dog": ["hound"]}, p=1.0)
    seen = {t("A big DOG, 2 Big dogs' dog_days.") for _ in range(50)}
    assert seen == {
        f"A {a} HOUND, 2 {b} dogs' hound_days."
        for a in ("large", "huge")
        for b in ("Large", "Huge")
    }
    assert T.SynonymReplacement({"big": ["x"]}, p=0.0)("big") == "big"
    many = T.SynonymReplacement({"big": ["x"]}, p=0.3)(["big"] * 1000)
    assert 230 < many.count("x") < 370


def test_typos():
    words = T.Typos(p=1.0)(["keyboard"] * 500)
    lengths = [len(w) for w in words]
    assert set(lengths) == {7, 8, 9}
    assert "ekyboard" in words and "keyboar" in words and "kkeyboard" in words
    assert {w[0] for w in words if w[1:] == "eyboard" and w[0] != "k"} == {"j", "l"}
    tg.manual_seed(1)
    a = T.Typos()("some longer text, as it is written " * 20)
    tg.manual_seed(1)
    assert a == T.Typos()("some longer text, as it is written " * 20)
    assert T.Typos(p=1.0)("") == "" and T.Typos(p=1.0)("12 3!") == "12 3!"
    assert all(T.Typos(p=1.0)("é") in ("é", "éé") for _ in range(20))


# --- audio ----------------------------------------------------------------------------------------
RATE = 8000


def tone(frequency, n=RATE):
    return np.sin(2 * np.pi * frequency * np.arange(n) / RATE)


def pitch(a):
    spectrum = np.abs(np.fft.rfft(a * np.hanning(len(a))))
    return spectrum.argmax() * RATE / len(a)


def test_resample():
    x = tone(440)
    np.testing.assert_allclose(resample(x, 2 * RATE)[::2], x, atol=1e-9)
    np.testing.assert_allclose(resample(resample(x, 12345), RATE), x, atol=1e-9)
    np.testing.assert_allclose(resample(x, RATE), x, atol=1e-9)
    for n in (5, 6):
        for m in (5, 6, 9, 12):
            a = rng.standard_normal(n)
            assert resample(a, m).mean() == pytest.approx(a.mean(), abs=1e-12)
    assert abs(resample(tone(3000), RATE // 2)).max() < 1e-9  # above the new limit


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.25, 2.0])
def test_stretch_keeps_the_pitch(factor):
    y = stretch(tone(440), factor)
    assert y.shape == (round(RATE / factor),)
    assert abs(pitch(y) - 440) < 5
    middle = y[len(y) // 4 : -len(y) // 4]
    assert 0.85 < abs(middle).max() < 1.15


def test_speed_and_pitch():
    x = np.stack([tone(440), tone(880)]).astype("f4")
    fast = T.Speed((1.25, 1.25))(x)
    assert fast.shape == (2, 6400) and fast.dtype == np.float32
    assert abs(pitch(fast[0]) - 550) < 3 and abs(pitch(fast[1]) - 1100) < 3
    for semitones in (-5, 3, 12):
        y = T.PitchShift((semitones, semitones))(tg.from_numpy(x)).numpy()
        assert y.shape == x.shape and y.dtype == np.float32
        for row, f in zip(y, (440, 880), strict=True):
            assert abs(pitch(row) / (f * 2 ** (semitones / 12)) - 1) < 0.01
    for n in (2, 17, 100):
        assert T.PitchShift(3.0)(tone(440, n)).shape == (n,)
    lengths = {T.Speed(0.2)(x).shape[1] for _ in range(20)}
    assert len(lengths) > 10 and 6600 < min(lengths) and max(lengths) < 10100


def test_noise_ratio():
    x = np.stack([tone(440), 0.01 * tone(440), np.zeros(RATE)])
    noise = T.AddNoise((20, 20))(x) - x
    assert noise[0].std() == pytest.approx(0.1 / np.sqrt(2), rel=0.05)
    assert noise[1].std() == pytest.approx(0.001 / np.sqrt(2), rel=0.05)
    assert not noise[2].any()
