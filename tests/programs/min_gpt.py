"""A small GPT that learns to sort: attention by a mask kept as a buffer, weights decayed by the
kind of their module, generation from the likeliest k."""

import math

import numpy as np
import torch
import torch.nn as nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class Block(nn.Module):
    def __init__(self, size, heads, length, dropout):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(size), nn.LayerNorm(size)
        self.c_attn, self.c_proj = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.mlp_fc, self.mlp_proj = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)
        mask = torch.tril(torch.ones(length, length)).view(1, 1, length, length)
        self.register_buffer("bias", mask)
        self.drop, self.heads = nn.Dropout(dropout), heads

    def attention(self, x):
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(C, dim=2)
        q, k, v = (t.view(B, T, self.heads, C // self.heads).transpose(1, 2) for t in (q, k, v))
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = att.masked_fill(self.bias[:, :, :T, :T] == 0, float("-inf"))
        y = self.drop(F.softmax(att, dim=-1)) @ v
        return self.drop(self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C)))

    def mlp(self, x):
        x = self.mlp_fc(x)
        inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))
        return self.drop(self.mlp_proj(0.5 * x * (1.0 + torch.tanh(inner))))

    def forward(self, x):
        x = x + self.attention(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self, words, length, size=24, heads=3, layers=2, dropout=0.0):
        super().__init__()
        self.length = length
        self.tok_emb = nn.Embedding(words, size)
        self.pos_emb = nn.Parameter(torch.zeros(1, length, size))
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*[Block(size, heads, length, dropout) for _ in range(layers)])
        self.ln_f, self.head = nn.LayerNorm(size), nn.Linear(size, words, bias=False)
        self.rng = np.random.default_rng(1)  # the same weights for every library
        self.apply(self._init_weights)

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            drawn = self.rng.normal(0.0, 0.1, module.weight.size())
            module.weight.data.normal_(mean=0.0, std=0.02)
            module.weight.data.copy_(torch.from_numpy(drawn))
            if getattr(module, "bias", None) is not None:
                module.bias.data.zero_()
        elif isinstance(module, nn.LayerNorm):
            module.bias.data.zero_()
            module.weight.data.fill_(1.0)

    def configure_optimizers(self, weight_decay, learning_rate, betas):
        linear = [(mn, m) for mn, m in self.named_modules() if isinstance(m, (torch.nn.Linear,))]
        decay = {f"{mn}.{pn}" for mn, m in linear for pn, p in m.named_parameters() if p.dim() > 1}
        params = dict(self.named_parameters())
        groups = [
            {"params": [params[pn] for pn in sorted(decay)], "weight_decay": weight_decay},
            {"params": [params[pn] for pn in sorted(params.keys() - decay)], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=learning_rate, betas=betas)

    def forward(self, idx, targets=None):
        x = self.drop(self.tok_emb(idx) + self.pos_emb[:, : idx.size(1), :])
        logits = self.head(self.ln_f(self.blocks(x)))
        if targets is not None:
            flat = logits.view(-1, logits.size(-1))
            targets = F.cross_entropy(flat, targets.view(-1), ignore_index=-1)
        return logits, targets

    @torch.no_grad()
    def generate(self, idx, max_new_tokens, temperature=1.0, do_sample=False, top_k=None):
        for _ in range(max_new_tokens):
            logits = self(idx[:, -self.length :])[0][:, -1, :] / temperature
            if top_k is not None:
                v, _ = torch.topk(logits, top_k)
                logits[logits < v[:, [-1]]] = -float("Inf")
            probs = F.softmax(logits, dim=-1)
            drawn = torch.multinomial(probs, num_samples=1)
            drawn = drawn if do_sample else torch.topk(probs, k=1, dim=-1)[1]
            idx = torch.cat((idx, drawn), dim=1)
        return idx


def sorting(count, length, words, seed):
    """Digits followed by the same digits in order; the loss counts the second part alone."""
    rows = np.random.default_rng(seed).integers(0, words, (count, length))
    both = torch.cat((torch.from_numpy(rows), torch.sort(torch.from_numpy(rows))[0]), dim=1)
    x, y = both[:, :-1].clone(), both[:, 1:].clone()
    y[:, : length - 1] = -1
    return x, y


def main(device="cpu", steps=45, length=4, words=4):
    model = GPT(words, 2 * length - 1).to(device)
    loader = DataLoader(TensorDataset(*sorting(steps * 32, length, words, 0)), batch_size=32)
    optimizer, losses = model.configure_optimizers(0.1, 3e-3, (0.9, 0.95)), []
    for batch in loader:
        x, y = [t.to(device) for t in batch]
        _, loss = model(x, y)
        model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    rows = sorting(40, length, words, 1)[0][:, :length].to(device)
    drawn = model.eval().generate(rows, length, do_sample=True, top_k=2)[:, length:]
    right = (drawn == rows.sort(dim=1).values).all(1).float().mean().item()
    likeliest = model.generate(rows[:5], length).tolist()
    return {"losses": losses, "likeliest": likeliest, "mostly right": right > 0.5}
