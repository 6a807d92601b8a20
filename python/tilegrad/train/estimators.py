"""Networks as scikit-learn's estimators: for pipelines, grid searches and cross-validation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import nn, optim
from ..errors import PackageError
from ..errors import ValueError as TgValueError
from ..generator import default_generator
from ..grad_mode import no_grad
from ..nn import functional as F
from ..ops import cat
from ..tensor import from_numpy
from .trainer import Trainer

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
except ImportError as e:
    raise PackageError(
        "Classifier and Regressor are estimators of scikit-learn >= 1.6: "
        f"pip install scikit-learn ({e})"
    ) from None

OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "sgd": lambda parameters, **kw: optim.SGD(parameters, momentum=0.9, **kw),
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "rmsprop": optim.RMSprop,
}
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "gelu": nn.GELU, "silu": nn.SiLU,
    "elu": nn.ELU, "identity": nn.Identity,
}  # fmt: skip


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The random streams begin at seed inside, and go on as before behind."""
    before = default_generator.get_state()
    default_generator.manual_seed(seed)
    try:
        yield
    finally:
        default_generator.set_state(before)


class _Network(BaseEstimator):
    """What both estimators share: the network, the loop, and the checks."""

    def __init__(
        self,
        hidden: int | tuple[int, ...] = (100,),
        *,
        activation: str = "relu",
        dropout: float = 0.0,
        module: Callable[[int, int], nn.Module] | None = None,
        optimizer: str = "adam",
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        batch_size: int = 64,
        epochs: int = 100,
        patience: int | None = None,
        validation: float = 0.1,
        random_state: Any = None,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.dropout = dropout
        self.module = module
        self.optimizer = optimizer
        self.lr = lr
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.patience = patience
        self.validation = validation
        self.random_state = random_state

    def _fit(self, x: np.ndarray, y: np.ndarray, outputs: int, loss: Any) -> None:
        """Trains a new network with that many outputs on the samples x and the targets y."""
        self._check_parameters()
        samples = from_numpy(np.ascontiguousarray(x)), from_numpy(y)
        with _seeded(int(check_random_state(self.random_state).randint(2**31 - 1))):
            network = self._build(x.shape[1], outputs).to(samples[0].dtype)
            optimizer = OPTIMIZERS[self.optimizer](
                network.parameters(), lr=self.lr, weight_decay=self.weight_decay
            )
            history = Trainer(network, loss, optimizer, progress=False).fit(
                samples,
                self.epochs,
                validation=None if self.patience is None else self.validation,
                batch_size=self.batch_size,
                patience=self.patience,
            )
        self.module_ = network.eval()
        self.loss_curve_ = [row["loss"] for row in history]
        self.n_iter_ = len(history)

    def _check_parameters(self) -> None:
        for name, choices in (("activation", ACTIVATIONS), ("optimizer", OPTIMIZERS)):
            if getattr(self, name) not in choices:
                raise TgValueError(
                    f"{type(self).__name__}: {name} is {getattr(self, name)!r}, expected one of "
                    f"{', '.join(choices)}"
                )
        for name in ("batch_size", "epochs") + ("patience",) * (self.patience is not None):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise TgValueError(
                    f"{type(self).__name__}: {name} is {value!r}, expected an integer above 0"
                )

    def _build(self, inputs: int, outputs: int) -> nn.Module:
        if self.module is not None:
            return self.module(inputs, outputs)
        layers: list[nn.Module] = []
        for width in np.atleast_1d(self.hidden).tolist():
            layers += [nn.Linear(inputs, int(width)), ACTIVATIONS[self.activation]()]
            if self.dropout:
                layers.append(nn.Dropout(self.dropout))
            inputs = int(width)
        return nn.Sequential(*layers, nn.Linear(inputs, outputs))

    def _outputs(self, x: Any) -> np.ndarray:
        """The outputs of the network for the samples x."""
        check_is_fitted(self)
        x = validate_data(self, x, dtype=[np.float32, np.float64], reset=False, **self._shapes())
        with no_grad():
            pieces = from_numpy(np.ascontiguousarray(x)).split(1024)
            return cat([self.module_(piece) for piece in pieces]).numpy()

    def _shapes(self) -> dict[str, bool]:
        return {"allow_nd": self.module is not None}


class Classifier(ClassifierMixin, _Network):
    """A network that tells classes apart, as an estimator of scikit-learn.

    hidden: the widths of the hidden layers, or that of one; activation: "relu", "tanh", "sigmoid",
    "gelu", "silu", "elu" or "identity"; dropout: the probability behind each of them. module: a
    function of the number of features and the number of outputs that makes the network instead (it
    may be a class); with it samples may have any shape. optimizer: "adam", "adamw", "rmsprop" or
    "sgd" (momentum 0.9). patience: training ends after so many epochs without a lower loss of the
    part ``validation`` of the samples, and the best weights are restored. random_state: an int
    for the same bits in every run.

    ``fit(X, y)``: X (samples, features) of float32, or float64 in which then all is computed; y
    (samples,) of any labels. ``predict(X)`` gives labels, ``predict_proba(X)`` (samples, classes).
    After it: ``classes_``, ``module_`` (the network), ``loss_curve_`` (mean loss of each epoch),
    ``n_iter_`` (epochs done), ``n_features_in_``. Raises ValueError for what scikit-learn forbids.

    The loss is cross-entropy (Bridle 1990).

    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from tilegrad.train import Classifier
    >>> model = make_pipeline(StandardScaler(), Classifier((16,), lr=0.01, random_state=0))
    >>> bool(cross_val_score(model, *load_iris(return_X_y=True), cv=3).mean() > 0.9)
    True
    """

    def fit(self, X: Any, y: Any) -> Classifier:
        """Trains a new network on samples X with labels y; returns the estimator."""
        X, y = validate_data(self, X, y, dtype=[np.float32, np.float64], **self._shapes())
        check_classification_targets(y)
        self.classes_, labels = np.unique(column_or_1d(y, warn=True), return_inverse=True)
        self._fit(X, labels.astype(np.int64), len(self.classes_), F.cross_entropy)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, (samples, classes), in the order of ``classes_``."""
        out = self._outputs(X)
        return F.softmax(from_numpy(out), dim=1).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """The most probable label of each sample."""
        best = self._outputs(X).argmax(1)
        return self.classes_[best]


class Regressor(RegressorMixin, _Network):
    """A network that predicts numbers, as an estimator of scikit-learn.

    Parameters and attributes are those of :class:`Classifier`, without the classes. ``fit(X, y)``:
    y (samples,) or (samples, targets); it is standardised inside, so that its unit does not matter.
    The loss is the mean squared error of the standardised targets. ``predict(X)`` has the shape and
    unit of y.

    >>> import numpy as np
    >>> from tilegrad.train import Regressor
    >>> x = np.linspace(-2, 2, 200)[:, None]
    >>> model = Regressor((32, 32), activation="tanh", lr=0.01, random_state=0)
    >>> bool(model.fit(x, 100 * np.sin(2 * x[:, 0])).score(x, 100 * np.sin(2 * x[:, 0])) > 0.95)
    True
    """

    def fit(self, X: Any, y: Any) -> Regressor:
        """Trains a new network on samples X with targets y; returns the estimator."""
        X, y = validate_data(
            self, X, y, dtype=[np.float32, np.float64], multi_output=True, y_numeric=True,
            **self._shapes(),
        )  # fmt: skip
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self._mean = y.mean(0)
        self._scale = np.where(y.std(0) > 0, y.std(0), 1.0)
        targets = ((y - self._mean) / self._scale).astype(X.dtype).reshape(len(y), -1)
        self._one_target = y.ndim == 1
        self._fit(X, targets, targets.shape[1], F.mse_loss)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The prediction for each sample, (samples,) or (samples, targets) as y was."""
        out = self._outputs(X)
        return (out[:, 0] if self._one_target else out) * self._scale + self._mean

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
