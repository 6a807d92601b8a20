"""Two variational autoencoders: a linear one on grey values, with the constant of the continuous
Bernoulli distribution (Loaiza-Ganem and Cunningham, 2019), and a convolutional one."""

import numpy as np
import torch
import torch.utils.data
from torch import nn, optim
from torch.nn import functional as F


class VAE(nn.Module):
    def __init__(self, noise=None):
        super().__init__()
        self.fc1, self.noise = nn.Linear(64, 40), noise
        self.fc21, self.fc22 = nn.Linear(40, 4), nn.Linear(40, 4)
        self.fc3, self.fc4 = nn.Linear(4, 40), nn.Linear(40, 64)

    def encode(self, x):
        h1 = F.relu(self.fc1(x.view(-1, 64)))
        return self.fc21(h1), self.fc22(h1)

    def reparameterize(self, mu, logvar):
        std = logvar.mul(0.5).exp_()
        if self.noise is None:
            eps = torch.randn_like(std)
        else:  # drawn by NumPy, the same for every library
            eps = torch.from_numpy(self.noise.standard_normal(std.shape)).to(std.device, std.dtype)
        return eps.mul(std).add_(mu)

    def decode(self, z):
        h3 = F.relu(self.fc3(z))
        return torch.clamp(torch.sigmoid(self.fc4(h3)), min=1e-4, max=1.0 - 1e-4)

    def forward(self, x):
        mu, logvar = self.encode(x)
        return self.decode(self.reparameterize(mu, logvar)), mu, logvar


class ConvVAE(VAE):
    def __init__(self, noise=None, hidden_dims=(8, 16)):
        super().__init__(noise)
        del self.fc1, self.fc21, self.fc22, self.fc3, self.fc4
        modules, channels = [], 1
        for h_dim in hidden_dims:
            conv = nn.Conv2d(channels, h_dim, kernel_size=3, stride=2, padding=1, bias=False)
            modules.append(nn.Sequential(conv, nn.BatchNorm2d(h_dim), nn.LeakyReLU()))
            channels = h_dim
        self.encoder = nn.Sequential(*modules, nn.Flatten(), nn.Linear(64, 8))
        self.decoder_input = nn.Sequential(nn.Linear(4, 64), nn.Unflatten(1, (16, 2, 2)))
        up = {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1}
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(16, 8, bias=False, **up), nn.BatchNorm2d(8), nn.ELU(),
            nn.ConvTranspose2d(8, 1, **up), nn.Sigmoid(),
        )  # fmt: skip

    def encode(self, x):
        return torch.chunk(self.encoder(x), 2, dim=1)

    def decode(self, z):
        return self.decoder(self.decoder_input(z))


def log_norm(lam, low=0.49, high=0.51):
    """The logarithm of the constant; around one half its series."""
    outside = torch.max(torch.le(lam, low), torch.gt(lam, high))
    cut = torch.where(outside, lam, low * torch.ones_like(lam))
    atanh = 0.5 * (torch.log(2.0 - 2.0 * cut) - torch.log(2.0 * cut))
    whole = torch.log(torch.abs(2.0 * atanh)) - torch.log(torch.abs(1 - 2.0 * cut))
    series = torch.log(torch.tensor(2.0)) + 4.0 / 3.0 * torch.pow(lam - 0.5, 2)
    return torch.where(outside, whole, series + 104.0 / 45.0 * torch.pow(lam - 0.5, 4))


def loss_function(model, recon_x, x, mu, logvar):
    KLD = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    if isinstance(model, ConvVAE):
        return F.mse_loss(recon_x, x, reduction="sum") + 0.1 * KLD
    BCE = F.binary_cross_entropy(recon_x, x.view(-1, 64), reduction="sum")
    return BCE - torch.sum(log_norm(recon_x)) + KLD


def blots(count, seed):
    """Pictures of one soft blot each, at a place of its own."""
    rng, (y, x) = np.random.default_rng(seed), np.mgrid[:8, :8]
    at = rng.uniform(1, 6, (2, count, 1, 1, 1))
    blot = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 4)
    return torch.utils.data.TensorDataset(torch.tensor(blot, dtype=torch.float), torch.zeros(count))


def main(device="cpu", steps=6, seed=1):
    torch.manual_seed(seed)
    device, results = torch.device(device), {}
    kwargs = {"batch_size": 32, "pin_memory": torch.cuda.is_available()}
    loader = torch.utils.data.DataLoader(blots(128, 0), **kwargs)
    for kind in (VAE, ConvVAE):
        model, rng, losses = kind(np.random.default_rng(1)), np.random.default_rng(0), []
        for name, p in model.named_parameters():
            scale = p[0].numel() ** -0.5 if p.dim() > 1 else 0.1
            mean = 1.0 if "1.weight" in name and p.dim() == 1 else 0.0
            p.data = torch.from_numpy(rng.normal(mean, scale, p.shape)).to(p.data)
        optimizer = optim.Adam(model.to(device).parameters(), lr=1e-2)
        for _ in range(steps):
            model.train()
            for data, _ in loader:
                data = data.to(device)
                optimizer.zero_grad()
                recon_batch, mu, logvar = model(data)
                loss = loss_function(model, recon_batch, data, mu, logvar)
                loss.backward()
                losses.append(loss.item() / len(data))
                optimizer.step()
        model.eval()
        with torch.no_grad():
            recon_batch, n = model(data)[0], min(data.size(0), 8)
            comparison = torch.cat([data[:n], recon_batch.view(32, 1, 8, 8)[:n]])
            model.noise = None
            sample = model.decode(torch.randn(64, 4).to(device)).cpu().view(64, 1, 8, 8)
            spread = [model(data)[0].sub(recon_batch).std().item() > 0, sample.max().item() <= 1.0]
        means = comparison.mean(dim=(1, 2, 3)).tolist()
        results[kind.__name__] = {"means": means, "bounds": spread, "trace": losses}
    return {**results, "losses": losses}
