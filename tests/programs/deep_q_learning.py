"""Q-learning from a replay memory: a network that acts, a target network that follows it, the
smooth L1 loss and clipped gradients, on a walk in one dimension."""

import math
import random
from collections import deque, namedtuple

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim

Transition = namedtuple("Transition", ("state", "action", "next_state", "reward"))


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


class ReplayMemory:
    def __init__(self, capacity):
        self.memory = deque(maxlen=capacity)

    def push(self, *args):
        self.memory.append(Transition(*args))

    def sample(self, batch_size):
        return random.sample(self.memory, batch_size)


class DQN(nn.Module):
    def __init__(self, n_observations, n_actions):
        super().__init__()
        self.layer1, self.layer2 = nn.Linear(n_observations, 16), nn.Linear(16, n_actions)

    def forward(self, x):
        return self.layer2(F.relu(self.layer1(x)))


def seeded(model, seed):
    """The model with weights that NumPy draws, the same for every library."""
    rng, state = np.random.default_rng(seed), model.state_dict()
    for name, p in model.named_parameters():
        state[name] = torch.from_numpy(rng.normal(0, 0.4, tuple(p.shape)).astype(np.float32))
    model.load_state_dict(state)
    return model


def select_action(policy_net, state, steps_done, device):
    threshold = 0.05 + (0.9 - 0.05) * math.exp(-1.0 * steps_done / 100)
    if random.random() > threshold:
        with torch.no_grad():
            return policy_net(state).max(1)[1].view(1, 1)
    return torch.tensor([[random.randrange(2)]], device=device, dtype=torch.long)


def optimize_model(policy_net, target_net, memory, optimizer, device, batch_size=32, gamma=0.95):
    if len(memory.memory) < batch_size:
        return None
    batch = Transition(*zip(*memory.sample(batch_size), strict=True))
    going = tuple(s is not None for s in batch.next_state)
    non_final_mask = torch.tensor(going, device=device, dtype=torch.bool)
    non_final_next_states = torch.cat([s for s in batch.next_state if s is not None])
    state_batch, action_batch = torch.cat(batch.state), torch.cat(batch.action)
    state_action_values = policy_net(state_batch).gather(1, action_batch)
    next_state_values = torch.zeros(batch_size, device=device)
    with torch.no_grad():
        next_state_values[non_final_mask] = target_net(non_final_next_states).max(1).values
    expected = (next_state_values * gamma) + torch.cat(batch.reward)
    criterion = nn.SmoothL1Loss()
    loss = criterion(state_action_values, expected.unsqueeze(1))
    assert abs(F.smooth_l1_loss(state_action_values, expected[:, None]) - loss).item() < 1e-6
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_value_(policy_net.parameters(), 100)
    for param in policy_net.parameters():
        param.grad.data.clamp_(-1, 1)
    optimizer.step()
    return loss.item()


def main(device="cpu", steps=300, tau=0.05):
    device = torch.device(device)
    random.seed(0)
    env, memory, losses = Walk(), ReplayMemory(1000), []
    policy_net, target_net = seeded(DQN(4, 2), 1).to(device), DQN(4, 2).to(device)
    target_net.load_state_dict(policy_net.state_dict())
    target_net.eval()
    optimizer = optim.AdamW(policy_net.parameters(), lr=1e-2, amsgrad=True)
    state = torch.tensor(env.reset(), dtype=torch.float32, device=device).unsqueeze(0)
    for step in range(steps):
        action = select_action(policy_net, state, step, device)
        observation, reward, done, _ = env.step(action.item())
        reward = torch.tensor([reward], device=device)
        next_state = None if done else torch.from_numpy(observation).float().unsqueeze(0).to(device)
        memory.push(state, action, next_state, reward)
        state = torch.from_numpy(env.reset()).float().unsqueeze(0) if done else next_state
        loss = optimize_model(policy_net, target_net, memory, optimizer, device)
        losses += [] if loss is None else [loss]
        target_state, policy_state = target_net.state_dict(), policy_net.state_dict()
        for key in policy_state:
            target_state[key] = policy_state[key] * tau + target_state[key] * (1 - tau)
        target_net.load_state_dict(target_state)
    places = torch.stack([torch.from_numpy(env.reset(k)).float() for k in range(1, 6)])
    with torch.no_grad():
        values = policy_net(places.to(device))
    return {"loss": losses, "values": values.tolist(), "actions": values.argmax(dim=1).tolist()}
