"""The estimators of scikit-learn's kind: its own checks, and what people do with estimators."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import tilegrad as tg
from tilegrad import nn
from tilegrad.train import Classifier, Regressor


@parametrize_with_checks([Classifier(), Regressor()])
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_iris_in_a_pipeline():
    model = make_pipeline(StandardScaler(), Classifier((16,), lr=0.01, random_state=0))
    assert cross_val_score(model, *load_iris(return_X_y=True), cv=5).mean() > 0.93


def test_labels_of_any_kind():
    x, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    model = Classifier((16,), lr=0.01, random_state=0).fit(x, names)
    assert list(model.classes_) == sorted(set(names)) and model.score(x, names) > 0.93
    p = model.predict_proba(x)
    np.testing.assert_allclose(p.sum(1), 1.0)
    assert (model.classes_[p.argmax(1)] == model.predict(x)).all()


@pytest.mark.parametrize("search", [GridSearchCV, RandomizedSearchCV])
def test_searches(search):
    pipeline = make_pipeline(StandardScaler(), Classifier(epochs=20, random_state=0))
    choices = {"classifier__lr": [1e-6, 0.02], "classifier__hidden": [(8,), (16, 8)]}
    options = {"n_iter": 3, "random_state": 1} if search is RandomizedSearchCV else {}
    found = search(pipeline, choices, cv=3, **options).fit(*load_iris(return_X_y=True))
    assert found.best_params_["classifier__lr"] == 0.02 and found.best_score_ > 0.9


def test_regression_in_any_unit():
    x, y = load_diabetes(return_X_y=True)
    x = StandardScaler().fit_transform(x)
    options = {"hidden": (32,), "lr": 0.01, "epochs": 30, "random_state": 0}
    model = Regressor(**options).fit(x, y)
    other = Regressor(**options).fit(x, 1e6 * y)
    assert model.score(x, y) > 0.5
    np.testing.assert_allclose(other.predict(x), 1e6 * model.predict(x), rtol=1e-6)
    two = Regressor(**options).fit(x, np.stack([y, -y], 1))
    assert two.predict(x).shape == (len(x), 2)
    assert abs(np.corrcoef(two.predict(x).T)[0, 1] + 1) < 0.05


def test_the_same_bits_in_every_run():
    x, y = load_iris(return_X_y=True)
    state = tg.get_rng_state()
    one, two = (Classifier((8,), dropout=0.2, epochs=5, random_state=3).fit(x, y) for _ in "ab")
    assert (one.predict_proba(x) == two.predict_proba(x)).all()
    assert (tg.get_rng_state() == state).all()  # the user's own stream is where it was
    again = pickle.loads(pickle.dumps(clone(one).fit(x, y)))
    assert (again.predict_proba(x) == one.predict_proba(x)).all()


def test_early_stopping():
    x, y = load_iris(return_X_y=True)
    model = Classifier((64,), lr=0.1, epochs=500, patience=5, validation=0.3, random_state=0)
    model.fit(x, y)
    assert model.n_iter_ == len(model.loss_curve_) < 500 and model.score(x, y) > 0.9


def test_ones_own_network_on_images():
    bunch = load_digits()
    x, y = (bunch.images[:, None] / 16).astype(np.float32), bunch.target

    def network(features, classes):
        assert features == 1
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(128, classes),
        )  # fmt: skip

    model = Classifier(module=network, lr=0.01, epochs=20, random_state=0).fit(x[:1400], y[:1400])
    assert model.score(x[1400:], y[1400:]) > 0.9
    assert model.module_[0].weight.dtype == tg.float32 and not model.module_.training


def test_mistakes():
    x, y = load_iris(return_X_y=True)
    with pytest.raises(NotFittedError):
        Classifier().predict(x)
    for options, message in (
        ({"activation": "rlu"}, "Classifier: activation is 'rlu', expected one of relu, tanh"),
        ({"optimizer": "adm"}, "Classifier: optimizer is 'adm', expected one of sgd, adam"),
        ({"epochs": 0}, "Classifier: epochs is 0, expected an integer above 0"),
        ({"batch_size": 1.5}, "Classifier: batch_size is 1.5, expected an integer above 0"),
        ({"patience": 0}, "Classifier: patience is 0, expected an integer above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            Classifier(**options).fit(x, y)


def test_without_scikit_learn():
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import tilegrad as tg, tilegrad.train\n"
        "try:\n    tilegrad.train.Classifier\n"
        "except tg.errors.PackageError as e:\n    print(e)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Classifier and Regressor are estimators of scikit-learn >= 1.6")


def test_one_hidden_layer_by_its_width():
    x, y = load_iris(return_X_y=True)
    models = [Classifier(hidden, epochs=2, random_state=0).fit(x, y) for hidden in (8, (8,))]
    assert (models[0].predict_proba(x) == models[1].predict_proba(x)).all()
