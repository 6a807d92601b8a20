"""A Gaussian policy for a bandit with two continuous arms, improved by clipped ratios (PPO), with
Normal, Independent and kl_divergence."""

import numpy as np
import torch
from torch import nn, optim
from torch.distributions import Independent, Normal, kl_divergence


def main(device="cpu", steps=80, batch=64):
    mean = nn.Parameter(torch.zeros(2, device=device))
    log_std = nn.Parameter(torch.full((2,), -0.5, device=device))
    optimizer, rng = optim.Adam([mean, log_std], lr=2e-2), np.random.default_rng(5)
    goal, losses = torch.tensor([0.5, -0.3], device=device), []
    for _ in range(steps):
        old = Independent(Normal(mean.detach(), log_std.detach().exp()), 1)
        noise = torch.from_numpy(rng.standard_normal((batch, 2)).astype(np.float32)).to(device)
        actions = old.mean + old.stddev * noise
        reward = -(actions - goal).pow(2).sum(-1)
        advantage = (reward - reward.mean()) / (reward.std() + 1e-8)
        new = Independent(Normal(mean, log_std.exp()), 1)
        ratio = torch.exp(new.log_prob(actions) - old.log_prob(actions))
        clipped = torch.clamp(ratio, 1 - 0.2, 1 + 0.2) * advantage
        loss = -torch.min(ratio * advantage, clipped).mean() - 0.01 * new.entropy().mean()
        loss = loss + kl_divergence(old.base_dist, new.base_dist).sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([mean, log_std], max_norm=0.5)
        optimizer.step()
        losses.append(-reward.mean().item())
    torch.manual_seed(0)
    drawn, policy = new.rsample((4000,)), new.base_dist
    near = (drawn.mean(0) - policy.loc).abs().max() < 0.1 and drawn.requires_grad
    far = (drawn.std(0) / policy.scale - 1).abs().max().item()
    return {
        "losses": losses,
        "policy": [*mean.tolist(), *log_std.tolist()],
        "draws follow the policy": bool(near) and far < 0.1,
    }
