"""A small GPT: scaled_dot_product_attention, tied weights, two groups of parameters, a warm-up and
a cosine written into the groups, gradients gathered over micro-steps, positions cropped."""

import inspect
import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn as nn
from torch.nn import functional as F


class LayerNorm(nn.Module):
    def __init__(self, ndim, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(ndim))
        self.bias = nn.Parameter(torch.zeros(ndim)) if bias else None

    def forward(self, x):
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        n, bias = config.n_embd, config.bias
        self.ln_1, self.ln_2 = LayerNorm(n, bias=bias), LayerNorm(n, bias=bias)
        self.c_attn, self.out_c_proj = nn.Linear(n, 3 * n, bias=bias), nn.Linear(n, n, bias=bias)
        self.c_fc, self.c_proj = nn.Linear(n, 4 * n, bias=bias), nn.Linear(4 * n, n, bias=bias)
        self.gelu, self.drop = nn.GELU(), nn.Dropout(config.dropout)
        self.n_head, self.dropout = config.n_head, config.dropout

    def attention(self, x):
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(C, dim=2)
        q, k, v = (t.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for t in (q, k, v))
        p = self.dropout if self.training else 0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=None, dropout_p=p, is_causal=True)
        return self.drop(self.out_c_proj(y.transpose(1, 2).contiguous().view(B, T, C)))

    def forward(self, x):
        x = x + self.attention(self.ln_1(x))
        return x + self.drop(self.c_proj(self.gelu(self.c_fc(self.ln_2(x)))))


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.transformer = nn.ModuleDict({
            "wte": nn.Embedding(config.vocab_size, config.n_embd),
            "wpe": nn.Embedding(config.block_size, config.n_embd),
            "drop": nn.Dropout(config.dropout),
            "h": nn.ModuleList([Block(config) for _ in range(2)]),
            "ln_f": LayerNorm(config.n_embd, bias=config.bias),
        })  # fmt: skip
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.transformer.wte.weight = self.lm_head.weight
        rng = np.random.default_rng(2)  # the same weights for every library
        with torch.no_grad():
            for pn, p in self.named_parameters():
                if p.dim() >= 2:
                    std = 0.05 if pn.endswith("c_proj.weight") else 0.1
                    p.copy_(torch.from_numpy(rng.normal(0, std, p.shape)))

    def forward(self, idx, targets=None):
        pos = torch.arange(0, idx.size(1), dtype=torch.long, device=idx.device)
        x = self.transformer.drop(self.transformer.wte(idx) + self.transformer.wpe(pos))
        for block in self.transformer.h:
            x = block(x)
        x = self.transformer.ln_f(x)
        logits = self.lm_head(x if targets is not None else x[:, [-1], :])
        if targets is not None:
            flat = logits.view(-1, logits.size(-1))
            targets = F.cross_entropy(flat, targets.view(-1), ignore_index=-1)
        return logits, targets

    def configure_optimizers(self, weight_decay, learning_rate, betas, device_type):
        params = [p for p in self.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in params if p.dim() >= 2], "weight_decay": weight_decay},
            {"params": [p for p in params if p.dim() < 2], "weight_decay": 0.0},
        ]
        fused = "fused" in inspect.signature(torch.optim.AdamW).parameters
        extra = {"fused": True} if fused and device_type == "cuda" else {}
        return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, **extra)

    @torch.no_grad()
    def generate(self, idx, max_new_tokens, temperature=1.0, top_k=None):
        for _ in range(max_new_tokens):
            logits = self(idx[:, -self.config.block_size :])[0][:, -1, :] / temperature
            v, _ = torch.topk(logits, min(top_k, logits.size(-1)))
            logits[logits < v[:, [-1]]] = -float("Inf")
            probs = F.softmax(logits, dim=-1)
            idx = torch.cat((idx, torch.multinomial(probs, num_samples=1)), dim=1)
        return idx


def main(device="cpu", steps=60, length=12, micro_steps=2):
    sizes = {"block_size": 16, "vocab_size": 8, "n_head": 2, "n_embd": 16}
    model = GPT(SimpleNamespace(**sizes, dropout=0.0, bias=False)).to(device)
    model.config.block_size = length
    model.transformer.wpe.weight = nn.Parameter(model.transformer.wpe.weight[:length])
    optimizer = model.configure_optimizers(0.1, 1e-2, (0.9, 0.99), device)
    rng, losses = np.random.default_rng(0), []
    text = np.tile(np.array([0, 1, 2, 3, 1, 2, 4, 5, 6, 7]), 60).astype(np.uint16)

    for step in range(steps):
        decay = 0.5 * (1.0 + math.cos(math.pi * max(0, step - 10) / (steps - 10)))
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (step + 1) / 10 if step < 10 else 1e-3 + decay * 9e-3
        for _ in range(micro_steps):
            ix = rng.integers(0, len(text) - length, 16)
            xy = [torch.from_numpy(text[i : i + length + 1].astype(np.int64)) for i in ix]
            x, y = torch.stack([r[:-1] for r in xy]), torch.stack([r[1:] for r in xy])
            logits, loss = model(x.to(device), y.to(device))
            (loss / micro_steps).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
    start = torch.tensor([0, 1], dtype=torch.long, device=device)[None, ...]
    drawn = model.eval().generate(start, 60, temperature=0.8, top_k=3)[0].tolist()
    right = sum(pair in set(pairwise(text.tolist())) for pair in pairwise(drawn))
    return {"losses": losses, "logits": logits[0].tolist(), "mostly right": right > 45}
