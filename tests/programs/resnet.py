"""A residual network trained by momentum: halfway it is saved, and resumed in new objects; how
often the right class is among the best k."""

import io

import numpy as np
import torch
import torch.backends.cudnn as cudnn
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.optim import lr_scheduler
from torch.utils.data import ConcatDataset, DataLoader, Subset, TensorDataset


class BasicBlock(nn.Module):
    def __init__(self, in_planes, planes, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(planes), nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, kernel_size=3, stride=1, padding=1, bias=False)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_planes != planes:
            conv = nn.Conv2d(in_planes, planes, kernel_size=1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(planes))

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True)))
        out += self.shortcut(x)
        return F.relu(out)


class ResNet(nn.Module):
    def __init__(self, rng, classes=6):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.layers = nn.Sequential(*[BasicBlock(8, 8), BasicBlock(8, 16, stride=2)])
        self.linear = nn.Linear(16, classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(m, (nn.BatchNorm2d, nn.GroupNorm)):
                nn.init.constant_(m.weight, 1)
        nn.init.zeros_(self.linear.bias)
        for p in self.parameters():  # NumPy draws the weights, the same for every library
            if p.dim() > 1:
                p.data.copy_(torch.from_numpy(rng.normal(0, p[0].numel() ** -0.5, p.shape)))

    def forward(self, x):
        out = self.layers(F.relu(self.bn1(self.conv1(x))))
        out = F.adaptive_avg_pool2d(F.avg_pool2d(out, 2), (1, 1))
        return self.linear(out.view(out.size(0), -1))


def pictures(count, seed):
    """Noise in which the class is the channel, and the half of the picture, that is brighter."""
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.normal(0, 1, (count, 3, 8, 8))).float()
    y = torch.as_tensor(rng.integers(0, 6, count), dtype=torch.long)
    for picture, label in zip(x, y, strict=True):
        picture[label % 3, int(label) // 3 * 4 :][:4].add_(1.0)
    return TensorDataset(x, y)


def accuracy(output, target, topk=(1,)):
    """Percent of the targets among the k best, for each k."""
    with torch.no_grad():
        _, pred = output.topk(max(topk), 1, True, True)
        correct = pred.t().eq(target.view(1, -1).expand_as(pred.t()))
        hits = [correct[:k].reshape(-1).float().sum(0, keepdim=True) for k in topk]
        return [hit.mul_(100.0 / target.size(0)) for hit in hits]


def made(steps, seed=0):
    """A network, its optimizer and its schedule."""
    net = ResNet(np.random.default_rng(seed))
    others = [p for p in net.parameters() if p.ndim <= 1]
    decayed = {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": 5e-4}
    optimizer = optim.SGD([decayed, {"params": others}], lr=0.05, momentum=0.9, nesterov=True)
    warm = lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=1)
    main = lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    return net, optimizer, lr_scheduler.SequentialLR(optimizer, [warm, main], milestones=[1])


def main(device="cpu", steps=4):
    cudnn.benchmark, device, losses, hits = True, torch.device(device), [], 0
    data, file = (
        ConcatDataset([Subset(pictures(200, 0), range(100)), pictures(92, 1)]),
        io.BytesIO(),
    )
    order = np.random.default_rng(3).permutation(len(data)).tolist()
    loader = DataLoader(data, 32, sampler=order, drop_last=True)
    criterion, (net, optimizer, scheduler) = nn.CrossEntropyLoss(label_smoothing=0.1), made(steps)
    for epoch in range(steps):
        if epoch == steps // 2:
            checkpoint = torch.load(file, map_location=lambda storage, loc: storage)
            net, optimizer, scheduler = made(steps, seed=9)
            for thing in (net, optimizer, scheduler):
                thing.load_state_dict(checkpoint[type(thing).__name__])
        net.to(device).train()
        for inputs, targets in loader:
            outputs = net(inputs.to(device, non_blocking=True))
            loss = criterion(outputs, targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), max_norm=5.0)
            optimizer.step()
            losses.append(loss.item())
            hits += outputs.max(1)[1].eq(targets).sum().item()
        scheduler.step()
        file = io.BytesIO()
        state = {type(x).__name__: x.state_dict() for x in (net, optimizer, scheduler)}
        torch.save({**state, "epoch": epoch, "hits": hits}, file)
        file.seek(0)
    net.eval()
    x, y = next(iter(DataLoader(pictures(60, 2), batch_size=60)))
    with torch.inference_mode():
        top = torch.cat(accuracy(net(x.to(device)), y, topk=(1, 3))).tolist()
    means = {k: v.float().mean().item() for k, v in net.state_dict().items()}
    return {"losses": losses, "hits": hits, "top": top, "means": means}
