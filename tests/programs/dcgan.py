"""Adversarial networks: the convolutional pair of Radford et al. (2016) with two optimizers, then a
critic under a gradient penalty (Gulrajani et al., 2017), which differentiates a gradient."""

import numpy as np
import torch
import torch.backends.cudnn as cudnn
import torch.nn as nn
import torch.optim as optim
import torch.utils.data


def weights_init(m, rng=None):
    """Small normal weights; of rng, the same for every library."""
    classname = m.__class__.__name__
    if classname.find("Conv") != -1:
        nn.init.normal_(m.weight.data, 0.0, 0.02)
    elif classname.find("BatchNorm") != -1:
        nn.init.normal_(m.weight.data, 1.0, 0.02)
        nn.init.constant_(m.bias.data, 0)
    if rng is not None and hasattr(m, "weight"):
        mean = 1.0 if isinstance(m, nn.BatchNorm2d) else 0.0
        m.weight.data.copy_(torch.from_numpy(rng.normal(mean, 0.05, m.weight.size())))


class Generator(nn.Module):
    def __init__(self, nz, ngf, nc=1):
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(nz, ngf * 2, 4, 1, 0, bias=False), nn.BatchNorm2d(ngf * 2),
            nn.ReLU(True), nn.ConvTranspose2d(ngf * 2, ngf, 4, 2, 1, bias=False),
            nn.BatchNorm2d(ngf), nn.ReLU(True), nn.ConvTranspose2d(ngf, nc, 4, 2, 1, bias=False),
            nn.Tanh(),
        )  # fmt: skip

    def forward(self, input):
        return self.main(input)


class Discriminator(nn.Module):
    def __init__(self, ndf, nc=1, critic=False):
        super().__init__()
        norm = nn.Identity() if critic else nn.BatchNorm2d(ndf * 2)
        self.main = nn.Sequential(
            nn.Conv2d(nc, ndf, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(ndf, ndf * 2, 4, 2, 1, bias=False), norm, nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(ndf * 2, 1, 4, 1, 0, bias=False),
        )  # fmt: skip
        self.main.add_module("end", nn.Identity() if critic else nn.Sigmoid())

    def forward(self, input):
        return self.main(input).view(-1, 1).squeeze(1)


def gradient_penalty(netD, real, fake, alpha):
    between = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
    out = netD(between)
    gradients = torch.autograd.grad(
        outputs=out, inputs=between, grad_outputs=torch.ones(out.size(), device=real.device),
        create_graph=True, retain_graph=True, only_inputs=True,
    )[0]  # fmt: skip
    gradients = gradients.view(gradients.size(0), -1)
    return ((gradients.norm(2, dim=1) - 1) ** 2).mean()


def main(device="cpu", steps=12, nz=8, ngf=8, ndf=8):
    torch.manual_seed(1), torch.cuda.manual_seed_all(1)
    cudnn.benchmark, penalties = True, []
    device = torch.device("cuda:0" if torch.cuda.is_available() and device != "cpu" else "cpu")
    rng = np.random.default_rng(0)
    rings = np.hypot(*np.mgrid[-7.5:8, -7.5:8]) - rng.uniform(3, 6, (16 * steps, 1, 1, 1))
    dataset = torch.utils.data.TensorDataset(torch.tensor(np.exp(-(rings**2)) * 2 - 1).float())
    dataloader = torch.utils.data.DataLoader(dataset, batch_size=16, drop_last=True)
    netG, netD = Generator(nz, ngf).to(device), Discriminator(ndf).to(device)
    netG.apply(weights_init), netD.apply(weights_init)
    spread = [abs(m.weight.std().item() - 0.02) < 0.01 for m in netG.main if hasattr(m, "weight")]
    for net in (netG, netD, critic := Discriminator(ndf, critic=True)):
        net.apply(lambda m: weights_init(m, rng))
    print(netG, netD)
    criterion, real_label, fake_label = nn.BCELoss(), 1.0, 0.0
    optimizerD = optim.Adam(netD.parameters(), lr=0.002, betas=(0.5, 0.999))
    optimizerG = optim.Adam(netG.parameters(), lr=0.002, betas=(0.5, 0.999))
    D_losses, G_losses, means = [], [], []
    for _, data in enumerate(dataloader, 0):
        netD.zero_grad()
        real_cpu = data[0].to(device)
        b_size = real_cpu.size(0)
        label = torch.full((b_size,), real_label, dtype=torch.float, device=device)
        output = netD(real_cpu).view(-1)
        errD_real = criterion(output, label)
        errD_real.backward()
        noise = torch.from_numpy(rng.standard_normal((b_size, nz, 1, 1), "float32")).to(device)
        fake = netG(noise)
        label.fill_(fake_label)
        D_x, output = output.mean().item(), netD(fake.detach())
        errD_fake = criterion(output, label)
        errD_fake.backward()
        optimizerD.step()
        netG.zero_grad()
        label.fill_(real_label)
        output = netD(fake)
        errG = criterion(output, label)
        errG.backward()
        optimizerG.step()
        D_losses.append((errD_real + errD_fake).item()), G_losses.append(errG.item())
        means.append((D_x, output.mean().item()))
    optimizer = optim.RMSprop(critic.parameters(), lr=0.001)
    for (real,) in dataloader:
        fake = netG(torch.from_numpy(rng.standard_normal((16, nz, 1, 1), "float32"))).detach()
        alpha = torch.from_numpy(rng.random((16, 1, 1, 1), "float32")).expand_as(real)
        penalty = gradient_penalty(critic, real, fake, alpha)
        loss = critic(fake).mean() - critic(real).mean() + 10.0 * penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        penalties.append(loss.item())
    with torch.no_grad():
        shown = netG.eval()(torch.randn(64, nz, 1, 1, device=device)).detach().cpu()
    results = {"D": D_losses, "G": G_losses, "means": means, "losses": penalties}
    return {**results, "range": [*spread, shown.abs().max().item() <= 1.0]}
