"""A network applied to both images of a pair: the probability that they are of one class, and
distances learned with contrastive, triplet and cosine losses."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, Dataset


class Pairs(Dataset):
    """Pairs of noisy shapes, of one class at even indices and of two at odd ones; a positive and a
    negative for each."""

    def __init__(self, size, seed):
        rng = np.random.default_rng(seed)
        targets = torch.LongTensor(rng.integers(0, 3, 60))
        shapes = np.random.default_rng(9).random((3, 8, 8)) > 0.5
        noisy = shapes[targets.numpy()] + rng.normal(0, 0.4, (60, 8, 8))
        self.data, labels = torch.FloatTensor(noisy).unsqueeze(1).clone(), np.array(targets.clone())
        self.grouped = {i: np.where(labels == i)[0] for i in range(3)}
        self.chosen = rng.integers(0, 1000, (size, 4)).tolist()

    def __len__(self):
        return len(self.chosen)

    def __getitem__(self, index):
        kind, a, b, c = self.chosen[index]
        same, other = self.grouped[kind % 3], self.grouped[(kind + 1 + c % 2) % 3]
        anchor, positive = same[a % len(same)], same[b % len(same)]
        negative = other[c % len(other)]
        second, same = (positive, 1) if index % 2 == 0 else (negative, 0)
        target = torch.tensor(same, dtype=torch.float)
        images = [self.data[i].clone().float() for i in (anchor, second, positive, negative)]
        return *images, target


class SiameseNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        first = nn.Conv2d(1, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
        features = nn.Sequential(
            first, nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3),
            nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(1, 1),
        )  # fmt: skip
        self.features = torch.nn.Sequential(*(list(features.children())[:-1]))
        self.fc = nn.Sequential(nn.Linear(16, 16), nn.ReLU(inplace=True), nn.Linear(16, 1))
        self.sigmoid, self.rng = nn.Sigmoid(), np.random.default_rng(4)  # the same weights always
        self.features.apply(self.init_weights)
        self.fc.apply(self.init_weights)

    def init_weights(self, m):
        if isinstance(m, (nn.Linear, nn.Conv2d)):
            torch.nn.init.xavier_uniform_(m.weight)
            drawn = self.rng.uniform(-0.5, 0.5, m.weight.shape)
            m.weight.data = torch.from_numpy(drawn.astype(np.float32))
            if m.bias is not None:
                m.bias.data.fill_(0.01)

    def forward_once(self, x):
        output = self.features(x)
        return output.view(output.size()[0], -1)

    def forward(self, input1, input2):
        output1, output2 = self.forward_once(input1), self.forward_once(input2)
        return self.sigmoid(self.fc(torch.cat((output1, output2), 1)))


def contrastive_loss(output1, output2, label, margin=1.0):
    distance = F.pairwise_distance(output1, output2, keepdim=True)
    far = torch.pow(torch.clamp(margin - distance, min=0.0), 2)
    return torch.mean(label * torch.pow(distance, 2) + (1 - label) * far)


def objectives(model, images, target):
    """The loss of each objective, by name."""
    e1, e2, p, n = (model.forward_once(x) for x in images)
    yield "bce", nn.BCELoss()(model(*images[:2]).squeeze(), target)
    yield "contrastive", contrastive_loss(e1, e2, target[:, None])
    yield "triplet", nn.TripletMarginLoss(margin=1.0, p=2)(e1, p, n)
    yield "cosine", nn.CosineEmbeddingLoss(margin=0.2)(e1, e2, target * 2 - 1)
    norms = [F.normalize(x, p=2, dim=1) for x in (e1, p, n)]
    near, far = F.pairwise_distance(*norms[:2]), F.pairwise_distance(norms[0], norms[2])
    yield "ranking", nn.MarginRankingLoss(margin=0.1)(far, near, torch.ones_like(near))


def test(model, device, test_loader):
    model.eval()
    test_loss, correct, criterion = 0, 0, nn.BCELoss()
    with torch.no_grad():
        for *images, targets in test_loader:
            outputs = model(images[0].to(device), images[1].to(device)).squeeze()
            test_loss += criterion(outputs, targets.to(device)).sum().item()
            pred = torch.where(outputs > 0.5, 1, 0)
            correct += pred.eq(targets.view_as(pred)).sum().item()
    return test_loss / len(test_loader.dataset), correct / len(test_loader.dataset)


def main(device="cpu", steps=4, batch_size=16):
    train_loader = DataLoader(Pairs(160, 0), batch_size=batch_size)
    test_loader = torch.utils.data.DataLoader(Pairs(64, 1), **{"batch_size": 64})
    model = SiameseNetwork().to(device)
    optimizer = optim.Adadelta(model.parameters(), lr=1.0)
    scheduler, losses, parts = StepLR(optimizer, step_size=1, gamma=0.7), [], {}
    for epoch in range(1, steps + 1):
        model.train()
        for *images, targets in train_loader:
            images, targets = [x.to(device) for x in images], targets.to(device)
            optimizer.zero_grad()
            found = dict(objectives(model, images, targets))
            loss = sum(found.values())
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        parts[f"epoch {epoch}"] = [part.item() for part in found.values()]
        tested = test(model, device, test_loader)
        scheduler.step()
    return {"losses": losses, **parts, "tested": tested, "lr": scheduler.get_last_lr()}
