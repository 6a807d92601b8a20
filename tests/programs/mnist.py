"""A classifier of digits the way the first tutorial of every library has it: two convolutions,
dropout, Adadelta with a rate that falls each epoch, a report, the weights in a file."""

import argparse
import os
import tempfile

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import Dataset


class Net(nn.Module):
    def __init__(self, drop):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, 1)
        self.conv2 = nn.Conv2d(8, 16, 3, 1)
        self.dropout1 = nn.Dropout(drop)
        self.dropout2 = nn.Dropout2d(drop)
        self.fc1 = nn.Linear(256, 32)
        self.fc2 = nn.Linear(32, 4)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.relu(self.dropout2(self.conv2(x)))
        x = torch.flatten(self.dropout1(F.max_pool2d(x, 2)), 1)
        x = F.dropout(F.relu(self.fc1(x)), p=self.dropout1.p, training=self.training)
        return F.log_softmax(self.fc2(x), dim=1)


class Bars(Dataset):
    """Noisy pictures of a bar; the class is its direction."""

    def __init__(self, count, seed, transform=None):
        rng, self.transform = np.random.default_rng(seed), transform
        self.targets = torch.from_numpy(rng.integers(0, 4, count))
        self.data = rng.normal(0, 0.4, (count, 12, 12)).astype(np.float32)
        flat = np.zeros((12, 12))
        flat[5] = 1
        for picture, target in zip(self.data, self.targets, strict=True):
            picture += [flat, flat.T, np.eye(12), np.eye(12)[::-1]][target]

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        img, target = torch.from_numpy(self.data[index]).unsqueeze(0), int(self.targets[index])
        return (img if self.transform is None else self.transform(img)), target


def seeded(model, seed):
    """The model with weights that NumPy draws, the same for every library."""
    rng, state = np.random.default_rng(seed), {}
    for name, p in model.named_parameters():
        drawn = rng.normal(0, p[0].numel() ** -0.5 if p.dim() > 1 else 0.1, tuple(p.shape))
        state[name] = torch.tensor(drawn, dtype=torch.float32)
    model.load_state_dict(state)
    return model


def train(args, model, device, train_loader, optimizer, epoch):
    model.train()
    losses = []
    for batch_idx, (data, target) in enumerate(train_loader):
        data, target = data.to(device), target.to(device)
        optimizer.zero_grad()
        output = model(data)
        loss = F.nll_loss(output, target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if batch_idx % args.log_interval == 0:
            done, count = batch_idx * len(data), len(train_loader.dataset)
            print(f"epoch {epoch} [{done}/{count}], loss: {loss.item():.6f} {loss:.3f}")
    return losses


def test(model, device, test_loader):
    model.eval()
    test_loss, correct = 0, 0
    with torch.no_grad():
        for data, target in test_loader:
            data, target = data.to(device), target.to(device)
            output = model(data)
            test_loss += F.nll_loss(output, target, reduction="sum").item()
            pred = output.argmax(dim=1, keepdim=True)
            correct += pred.eq(target.view_as(pred)).sum().item()
    return test_loss / len(test_loader.dataset), correct


def main(device="cpu", steps=4, drop=0.0, seed=1, lr=1.0, gamma=0.7):
    args = argparse.Namespace(batch_size=32, log_interval=3, no_cuda=False)
    use_cuda = not args.no_cuda and torch.cuda.is_available() and device != "cpu"
    device = torch.device("cuda" if use_cuda else "cpu")
    torch.manual_seed(seed)
    train_kwargs, test_kwargs = {"batch_size": args.batch_size}, {"batch_size": 100}
    if use_cuda:
        train_kwargs.update({"num_workers": 1, "pin_memory": True})
    train_set = Bars(256, 0, transform=lambda x: (x - 0.08) / 0.5)
    train_loader = torch.utils.data.DataLoader(train_set, shuffle=drop > 0, **train_kwargs)
    test_loader = torch.utils.data.DataLoader(Bars(100, 1, train_set.transform), **test_kwargs)
    model = seeded(Net(drop).to(device), 0)
    optimizer = optim.Adadelta(model.parameters(), lr=lr)
    scheduler = StepLR(optimizer, step_size=1, gamma=gamma)
    losses, reports = [], []
    for epoch in range(1, steps + 1):
        losses += train(args, model, device, train_loader, optimizer, epoch)
        reports.append(test(model, device, test_loader))
        scheduler.step()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "cnn.pt")
        torch.save(model.state_dict(), path)
        again = Net(drop)
        again.load_state_dict(torch.load(path, map_location=device, weights_only=True))
    same = test(again.to(device), device, test_loader) == reports[-1]
    return {"losses": losses, "reports": reports, "lr": scheduler.get_last_lr(), "same": same}
