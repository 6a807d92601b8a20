"""A word-level language model of Transformer encoder layers behind sinusoidal positions and a
causal mask; a subclass of nn.Transformer; Adam under a warm-up."""

import math

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


class PositionalEncoding(nn.Module):
    def __init__(self, d_model, dropout=0.0, max_len=100):
        super().__init__()
        self.dropout = nn.Dropout(p=dropout)
        pe = torch.zeros(max_len, d_model)
        position = torch.arange(0, max_len, dtype=torch.float).unsqueeze(1)
        rate = torch.exp(torch.arange(0, d_model, 2).float() * (-math.log(10000.0) / d_model))
        pe[:, 0::2] = torch.sin(position * rate)
        pe[:, 1::2] = torch.cos(position * rate)
        self.register_buffer("pe", pe.unsqueeze(0).transpose(0, 1))

    def forward(self, x):
        return self.dropout(x + self.pe[: x.size(0), :])


class TransformerModel(nn.Transformer):
    def __init__(self, words, size, heads, hidden, layers, dropout=0.0):
        super().__init__(
            d_model=size,
            nhead=heads,
            dim_feedforward=hidden,
            num_encoder_layers=layers,
            num_decoder_layers=1,
            dropout=dropout,
        )
        self.src_mask, self.size = None, size
        self.pos_encoder = PositionalEncoding(size, dropout)
        self.input_emb = nn.Embedding(words, size)
        self.decoder = nn.Linear(size, words)

    def _mask(self, n):
        mask = (torch.triu(torch.ones(n, n)) == 1).transpose(0, 1)
        mask = mask.float().masked_fill(mask == 0, float("-inf"))
        return mask.masked_fill(mask == 1, 0.0)

    def forward(self, src):
        if self.src_mask is None or self.src_mask.size(0) != len(src):
            self.src_mask = self._mask(len(src)).to(src.device)
        src = self.pos_encoder(self.input_emb(src) * math.sqrt(self.size))
        output = self.decoder(self.encoder(src, mask=self.src_mask))
        return F.log_softmax(output, dim=-1).view(-1, output.size(-1))


def seeded(model, seed):
    """The model with weights that NumPy draws, the same for every library."""
    rng, state = np.random.default_rng(seed), model.state_dict()
    for name, p in model.named_parameters():
        a = rng.normal(0, 0.2, tuple(p.shape)) + ("norm" in name and "weight" in name)
        state[name] = torch.from_numpy(a.astype(np.float32))
    model.load_state_dict(state)
    return model


def periodic(words, count, length, seed):
    """Rows of numbers that rise by a step of their own: (length, count)."""
    rng = np.random.default_rng(seed)
    start, step = rng.integers(0, words, count), rng.integers(1, 4, count)
    return torch.from_numpy((start + np.arange(length)[:, None] * step) % words)


def continued(model, rows, words, device):
    """The rows with words that the model adds, one at a time: the likeliest, or drawn."""
    model.eval()
    input, drawn = rows.to(device), rows.to(device)
    with torch.no_grad():
        for _ in range(words):
            log_p = model(input)[-rows.size(1) :]
            input = torch.cat([input, log_p.argmax(dim=-1).unsqueeze(0)], 0)
            weights = model(drawn)[-rows.size(1) :].div(0.5).exp().cpu()
            index = torch.multinomial(weights, 1).squeeze(1)
            word_tensor = torch.Tensor([[i.item() for i in index]]).long().to(device)
            drawn = torch.cat([drawn, word_tensor], 0)
    return input.tolist(), drawn


def main(device="cpu", steps=60, words=11):
    device = torch.device(device)
    torch.manual_seed(1)
    model = seeded(TransformerModel(words, 16, 2, 32, 2), 5).to(device)
    rows = periodic(words, 32, 12, 0).to(device)
    optimizer = torch.optim.Adam(
        [p for n, p in model.named_parameters() if not n.startswith("decoder.layers")], lr=0.01
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: min(1.0, (n + 1) / 10))
    criterion, losses = nn.NLLLoss(), []
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        output = model(rows[:-1])
        loss = criterion(output, rows[1:].reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    text, drawn = continued(model, rows[:6, :8], 6, device)
    right = drawn[6:].eq(rows[6:, :8]).float().mean().item()
    return {"losses": losses, "text": text, "mostly right": right > 0.7}
