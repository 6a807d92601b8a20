"""Policy gradients and an actor-critic with Categorical on a walk in one dimension. NumPy draws the
actions of the numbers compared, after the library has drawn its own."""

from collections import namedtuple

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.distributions import Categorical

SavedAction = namedtuple("SavedAction", ["log_prob", "value"])
EPS = np.finfo(np.float32).eps.item()


class Walk:
    """Seven places in a row; the walker starts near the middle and is paid at the right end."""

    def reset(self, start=2):
        self.place, self.time = start, 0
        return self.observe()

    def observe(self):
        return np.array([self.place / 6, 1.0, np.cos(self.place), np.sin(self.place)])

    def step(self, action):
        self.place, self.time = self.place + (1 if action == 1 else -1), self.time + 1
        done = self.place in (0, 6) or self.time == 20
        return self.observe(), float(self.place == 6) - 0.05, done, {}


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine1, self.dropout = nn.Linear(4, 16), nn.Dropout(p=0.0)
        self.action_head, self.value_head = nn.Linear(16, 2), nn.Linear(16, 1)
        self.saved_actions, self.rewards = [], []

    def forward(self, x):
        x = F.relu(self.dropout(self.affine1(x)))
        return F.softmax(self.action_head(x), dim=-1), self.value_head(x)


def seeded(model, seed):
    """The model with weights that NumPy draws, the same for every library."""
    rng, state = np.random.default_rng(seed), model.state_dict()
    for name, p in model.named_parameters():
        state[name] = torch.from_numpy(rng.normal(0, 0.4, tuple(p.shape)).astype(np.float32))
    model.load_state_dict(state)
    return model


def episode(model, env, device, forced):
    """One walk; forced: uniform numbers that stand for those of the library's own stream."""
    state, done = env.reset(), False
    while not done:
        probs, value = model(torch.from_numpy(state).float().to(device))
        m = Categorical(probs)
        assert m.sample().item() in (0, 1)
        action = torch.tensor(int(forced.random() < probs[1].item()), device=device)
        model.saved_actions.append(SavedAction(m.log_prob(action), value))
        state, reward, done, _ = env.step(action.item())
        model.rewards.append(reward)
    return sum(model.rewards)


def finish_episode(model, optimizer, critic, gamma=0.99):
    R, returns = 0, []
    for r in model.rewards[::-1]:
        R = r + gamma * R
        returns.insert(0, R)
    returns = torch.tensor(returns)
    returns = (returns - returns.mean()) / (returns.std() + EPS) if len(returns) > 1 else returns
    policy_losses, value_losses = [], []
    for (log_prob, value), R in zip(model.saved_actions, returns, strict=True):
        policy_losses.append((-log_prob * (R - value.item() if critic else R)).unsqueeze(0))
        value_losses.append(F.smooth_l1_loss(value, torch.tensor([R])))
    optimizer.zero_grad()
    loss = torch.cat(policy_losses).sum()
    if critic:
        loss = loss + torch.stack(value_losses).sum()
    loss.backward()
    optimizer.step()
    del model.rewards[:]
    del model.saved_actions[:]
    return loss.item()


def policy_gradient(device, episodes, critic, forced):
    model = seeded(Policy(), 1).to(device)
    optimizer = optim.Adam(model.parameters(), lr=2e-2)
    env, losses, rewards = Walk(), [], []
    for _ in range(episodes):
        rewards.append(episode(model, env, device, forced))
        losses.append(finish_episode(model, optimizer, critic))
    return losses, rewards


def main(device="cpu", steps=40):
    results = {}
    for critic in (False, True):
        losses, rewards = policy_gradient(device, steps, critic, np.random.default_rng(0))
        results["actor critic" if critic else "reinforce"] = {"loss": losses, "rewards": rewards}
    torch.manual_seed(543)
    probs = torch.tensor([0.1, 0.0, 0.6, 0.3], device=device)
    counts = torch.bincount(Categorical(probs).sample((4000,)), minlength=4)
    far = (counts / 4000 - probs).abs().max().item()
    return {**results, "draws follow the probabilities": far < 0.04 and counts[1].item() == 0}
