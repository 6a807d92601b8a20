"""Super-resolution by sub-pixel convolution (Shi et al., 2016): orthogonal weights, the peak
signal-to-noise ratio against interpolation, and a residual network trained on absolute errors."""

from math import log10

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.nn.init as init
import torch.optim as optim
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self, upscale_factor):
        super().__init__()
        self.relu, self.conv1 = nn.ReLU(True), nn.Conv2d(1, 16, (5, 5), (1, 1), (2, 2))
        self.conv2 = nn.Conv2d(16, 8, (3, 3), (1, 1), (1, 1))
        self.conv3 = nn.Conv2d(8, upscale_factor**2, (3, 3), (1, 1), (1, 1))
        self.pixel_shuffle = nn.PixelShuffle(upscale_factor)
        self._initialize_weights()

    def forward(self, x):
        x = self.relu(self.conv2(self.relu(self.conv1(x))))
        return self.pixel_shuffle(self.conv3(x))

    def _initialize_weights(self):
        init.orthogonal_(self.conv1.weight, init.calculate_gain("relu"))
        init.orthogonal_(self.conv2.weight, init.calculate_gain("relu"))
        init.orthogonal_(self.conv3.weight)


class ResBlock(nn.Sequential):
    def __init__(self, features):
        layers = [nn.Conv2d(features, features, 3, padding=3 // 2), nn.PReLU()]
        super().__init__(*layers, nn.Conv2d(features, features, 3, padding="same"))

    def forward(self, x):
        res = super().forward(x).mul(0.1)
        res += x
        return res


class EDSR(nn.Module):
    def __init__(self, scale, features=8):
        super().__init__()
        self.head = nn.Conv2d(1, features, kernel_size=3, padding=1, padding_mode="replicate")
        self.body = nn.Sequential(*[ResBlock(features) for _ in range(2)])
        up = [nn.Conv2d(features, features * scale**2, 3, 1, 1), nn.PixelShuffle(scale)]
        self.tail = nn.Sequential(*up, nn.LeakyReLU(0.2, True), nn.Conv2d(features, 1, 3, 1, 1))
        self.up = nn.Upsample(scale_factor=scale, mode="bilinear", align_corners=False)

    def forward(self, x):
        y = self.head(x)
        y = self.up(x) + self.tail(torch.add(y, self.body(y)))
        return y if self.training else torch.clamp(y, 0.0, 1.0)


def waves(count, scale, seed):
    """Pictures at a lower resolution, and the crossing waves that they were."""
    rng, (y, x) = np.random.default_rng(seed), np.mgrid[:16, :16]
    angle, width = rng.uniform(0, 3, (2, count, 1, 1, 1))
    whole = 0.5 + 0.5 * np.sin((x * np.cos(angle) + y * np.sin(angle)) * (0.4 + width / 3))
    target = torch.from_numpy(whole).float()
    less = {"scale_factor": 1 / scale, "mode": "bicubic", "align_corners": False}
    return TensorDataset(F.interpolate(target, **less), target)


def orthogonal(conv):
    """Whether the rows of the weight are orthogonal, at the gain that was asked for."""
    rows = conv.weight.detach().flatten(1)
    gram = rows.mm(rows.t()) / (1.0 if conv.in_channels == 8 else 2.0)
    return torch.dist(gram, torch.eye(len(gram))).item() < 1e-3


def seeded(model, seed):
    """The model with weights that NumPy draws, the same for every library."""
    rng = np.random.default_rng(seed)
    for p in model.parameters():
        p.data = torch.from_numpy(rng.normal(0, 0.1, p.size()).astype("float32"))
    return model


def main(device="cpu", steps=5, scale=2):
    device, results, _ = torch.device(device), {}, torch.manual_seed(123)
    train_set, test_set = waves(64, scale, 0), waves(10, scale, 1)
    train_loader = DataLoader(dataset=train_set, num_workers=0, batch_size=16, shuffle=False)
    test_loader = DataLoader(dataset=test_set, batch_size=5, shuffle=False)
    drawn = Net(upscale_factor=scale)
    results["orthogonal"] = [orthogonal(c) for c in (drawn.conv1, drawn.conv2, drawn.conv3)]
    for model, criterion in ((drawn, nn.MSELoss()), (EDSR(scale), nn.L1Loss())):
        model = seeded(model, 0).to(device)
        last = model.conv3 if isinstance(model, Net) else model.tail
        rest = [p for n, p in model.named_parameters() if n.split(".")[0] not in ("conv3", "tail")]
        groups = [{"params": rest}, {"params": last.parameters(), "lr": 0.005}]
        optimizer = optim.Adam(groups, lr=0.01, betas=(0.9, 0.99), eps=1e-8)
        scheduler = optim.lr_scheduler.MultiStepLR(optimizer, milestones=[2, 4], gamma=0.5)
        losses, avg_psnr, floor = [], 0, 0
        for _ in range(steps):
            model.train()
            for batch in train_loader:
                input, target = batch[0].to(device), batch[1].to(device)
                optimizer.zero_grad()
                loss = criterion(model(input), target)
                losses.append(loss.item())
                loss.backward()
                optimizer.step()
            scheduler.step()
        model.eval()
        with torch.no_grad():
            for input, target in test_loader:
                mse = F.mse_loss(model(input), target).item()
                avg_psnr += 10 * log10(1 / mse) / len(test_loader)
                plain = F.interpolate(input, size=target.shape[-2:], mode="nearest")
                floor -= 10 * torch.log10(F.mse_loss(plain, target)).item() / len(test_loader)
        out = model(test_set[0][0].unsqueeze(0)).squeeze(0).cpu().detach().numpy().clip(0, 1)
        found = {"psnr": avg_psnr, "plain": floor, "mean": float(out.mean())}
        results[type(model).__name__] = {**found, "trace": losses}
    return {**results, "losses": losses}
