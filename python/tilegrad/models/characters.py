"""Models of text, one character after the other."""

from __future__ import annotations

from typing import Any

from .. import nn, ops
from ..errors import ShapeError
from ..grad_mode import no_grad
from ..tensor import Tensor


class CharacterModel(nn.Module):
    """Base of both models: characters (N, T) int64 to the logits (N, T, vocabulary) of the next."""

    context: int

    @no_grad()
    def sample(
        self, begin: Tensor, count: int, temperature: float = 1.0, generator: Any = None
    ) -> Tensor:
        """begin (T,) int64, T at least 1, and count characters more, drawn from the distribution
        with the logits divided by temperature. Each sees the last ``context`` characters.

        Raises ShapeError.
        """
        if begin.ndim != 1 or not len(begin):
            raise ShapeError(f"sample: begin expects (T,) with T at least 1, got {begin.shape}")
        training = self.training
        self.eval()
        text = begin
        try:
            for _ in range(count):
                logits = self(ops.unsqueeze(text[-self.context :], 0))[0, -1]
                odds = ops.softmax(logits / temperature, -1)
                text = ops.cat([text, ops.multinomial(odds, 1, generator=generator)])
        finally:
            self.train(training)
        return text


class CharLSTM(CharacterModel):
    """An LSTM over embedded characters, and a linear layer.

    Characters (N, T) int64 below vocabulary; result: logits (N, T, vocabulary). 96 characters give
    288,864 parameters. Sources: Hochreiter and Schmidhuber, 1997; for text Graves, Generating
    sequences with recurrent neural networks, 2013.

    >>> import tilegrad as tg
    >>> model = tg.models.CharLSTM(5, width=8)
    >>> model(tg.zeros(2, 7, dtype=tg.int64)).shape, model.sample(tg.tensor([0]), 4).shape
    ((2, 7, 5), (5,))
    """

    def __init__(
        self, vocabulary: int, width: int = 128, layers: int = 2, dropout: float = 0.0,
        context: int = 64,
    ) -> None:  # fmt: skip
        super().__init__()
        self.context = context
        self.embedding = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True, dropout=dropout)
        self.output = nn.Linear(width, vocabulary)

    def forward(self, input: Tensor) -> Tensor:
        return self.output(self.lstm(self.embedding(input))[0])


class CharTransformer(CharacterModel):
    """A transformer that sees only what came before, with layer norm in front of each branch.

    Characters (N, T) int64 below vocabulary, T at most context; result: logits (N, T, vocabulary).
    96 characters give 437,856 parameters. Sources: Vaswani et al., Attention is all you need, 2017;
    for characters Al-Rfou et al., Character-level language modeling with deeper self-attention,
    2018.

    >>> import tilegrad as tg
    >>> model = tg.models.CharTransformer(5, width=8, layers=1, heads=2, context=8)
    >>> model(tg.zeros(2, 7, dtype=tg.int64)).shape, model.sample(tg.tensor([0]), 9).shape
    ((2, 7, 5), (10,))
    """

    def __init__(
        self, vocabulary: int, width: int = 128, layers: int = 2, heads: int = 4,
        dropout: float = 0.0, context: int = 128,
    ) -> None:  # fmt: skip
        super().__init__()
        self.context = context
        self.embedding = nn.Embedding(vocabulary, width)
        self.positions = nn.LearnedPositions(width, context)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, vocabulary)
        hidden = nn.Transformer.generate_square_subsequent_mask(context)
        self.register_buffer("hidden", hidden, persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        t = input.shape[1]
        x = self.positions(self.embedding(input))
        for layer in self.layers:
            x = layer(x, self.hidden[:t, :t], is_causal=True)
        return self.output(self.norm(x))
