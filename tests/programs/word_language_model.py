"""A word-level language model: a recurrent network whose state is carried from batch to batch,
plain gradient descent with clipping and a rate that falls, text drawn from the trained model."""

import math
from itertools import pairwise

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

NOUNS = ["cat", "dog", "bird", "tree"]
WORDS = ["the", "a", *NOUNS, "sees", "hears", "finds", "and", "then", ".", "<eos>"]


def tokens(sentences, seed):
    """Sentences of a small grammar as one row of word numbers."""
    rng, word2idx, rows = np.random.default_rng(seed), {w: i for i, w in enumerate(WORDS)}, []
    for _ in range(sentences):
        subject, object = (f"{rng.choice(['the', 'a'])} {rng.choice(NOUNS)}" for _ in range(2))
        end = "and then . <eos>" if rng.random() < 0.5 else ". <eos>"
        line = f"{subject} {rng.choice(WORDS[6:9])} {object} {end}"
        rows.append(torch.tensor([word2idx[w] for w in line.split()]).type(torch.int64))
    return torch.cat(rows)


class RNNModel(nn.Module):
    def __init__(self, kind, words, size, layers, dropout=0.0, tied=False):
        super().__init__()
        self.words, self.kind, self.size, self.layers = words, kind, size, layers
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.Embedding(words, size)
        if kind in ["LSTM", "GRU"]:
            self.rnn = getattr(nn, kind)(size, size, layers, dropout=dropout)
        else:
            self.rnn = nn.RNN(size, size, layers, nonlinearity="tanh", dropout=dropout)
        self.decoder = nn.Linear(size, words)
        if tied:
            self.decoder.weight = self.encoder.weight
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)

    def forward(self, input, hidden):
        self.rnn.flatten_parameters()
        output, hidden = self.rnn(self.drop(self.encoder(input)), hidden)
        return F.log_softmax(self.decoder(self.drop(output)).view(-1, self.words), dim=1), hidden

    def init_hidden(self, batch):
        weight, shape = next(self.parameters()), (self.layers, batch, self.size)
        pair = weight.new_zeros(*shape), weight.new_zeros(shape)
        return pair if self.kind == "LSTM" else pair[0]


def seeded(model, seed):
    """The model with weights that NumPy draws, the same for every library."""
    rng, state = np.random.default_rng(seed), model.state_dict()
    for name, p in model.named_parameters():
        state[name] = torch.from_numpy(rng.normal(0, 0.2, tuple(p.shape)).astype(np.float32))
    model.load_state_dict(state)
    return model


def batchify(data, batch, device):
    rows = data.size(0) // batch
    return data.narrow(0, 0, rows * batch).view(batch, -1).t().contiguous().to(device)


def repackage_hidden(h):
    """The state cut from the steps that made it."""
    return h.detach() if isinstance(h, torch.Tensor) else tuple(repackage_hidden(v) for v in h)


def run(model, source, lr=None, bptt=8, clip=0.25):
    """The losses of one pass; with lr, every batch is a step of training."""
    criterion, losses, hidden = nn.NLLLoss(), [], model.init_hidden(source.size(1))
    model.train(lr is not None)
    for i in range(0, source.size(0) - 1, bptt):
        length = min(bptt, len(source) - 1 - i)
        model.zero_grad()
        hidden = repackage_hidden(hidden)
        output, hidden = model(source[i : i + length], hidden)
        loss = criterion(output, source[i + 1 : i + 1 + length].view(-1))
        if lr is not None:
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            for p in model.parameters():
                p.data.add_(p.grad, alpha=-lr)
        losses.append(loss.item())
    return losses


def generate(model, device, words=300, temperature=0.8):
    hidden, text = model.eval().init_hidden(1), []
    input = torch.randint(len(WORDS), (1, 1), dtype=torch.long).to(device)
    with torch.no_grad():
        for _ in range(words):
            output, hidden = model(input, hidden)
            weights = output.squeeze().div(temperature).exp().cpu()
            index = torch.multinomial(weights, 1)[0]
            input.fill_(index)
            text.append(WORDS[index])
    return text


def main(device="cpu", steps=6, kinds=("LSTM", "GRU", "RNN_TANH")):
    device, results = torch.device(device), {}
    source, heldout = (batchify(tokens(n, n), 8, device) for n in (120, 60))
    for kind in kinds:
        model = seeded(RNNModel(kind, len(WORDS), 16, 2, tied=kind != "GRU"), 3).to(device)
        lr, best, losses = 2.0, None, []
        for _ in range(steps):
            losses += run(model, source, lr)
            with torch.no_grad():
                loss = np.mean(run(model, heldout)).item()
            lr, best = (lr, loss) if not best or loss < best else (lr / 4.0, best)
        results[kind] = {"losses": losses, "perplexity": math.exp(best)}
    results["losses"] = losses
    torch.manual_seed(1111)
    text = generate(model, device)
    nouns = [b in NOUNS for a, b in pairwise(text) if a in ("the", "a")]
    results["mostly grammatical"] = sum(nouns) > 0.7 * len(nouns) > 20
    return results
