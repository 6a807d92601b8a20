"""A network that paints in a style (Johnson et al., 2016), trained under the distance of a fixed
network's features and of their Gram matrices."""

import io
import re
from collections import namedtuple

import numpy as np
import torch
from torch.optim import Adam
from torch.utils.data import DataLoader


class ConvLayer(torch.nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size, stride, upsample=1):
        super().__init__()
        self.upsample_layer = torch.nn.Upsample(mode="nearest", scale_factor=upsample)
        self.reflection_pad = torch.nn.ReflectionPad2d(kernel_size // 2)
        self.conv2d = torch.nn.Conv2d(in_channels, out_channels, kernel_size, stride)

    def forward(self, x):
        return self.conv2d(self.reflection_pad(self.upsample_layer(x)))


class ResidualBlock(torch.nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = ConvLayer(channels, channels, kernel_size=3, stride=1)
        self.in1 = torch.nn.InstanceNorm2d(channels, affine=True)

    def forward(self, x):
        return torch.relu(self.in1(self.conv1(x))) + x


class TransformerNet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = ConvLayer(3, 8, kernel_size=9, stride=1)
        self.in1 = torch.nn.InstanceNorm2d(8, affine=True)
        self.conv2 = ConvLayer(8, 12, kernel_size=3, stride=2)
        self.in2 = torch.nn.InstanceNorm2d(12, affine=True, track_running_stats=False)
        self.res1 = ResidualBlock(12)
        self.deconv1 = ConvLayer(12, 8, kernel_size=3, stride=1, upsample=2)
        self.deconv2 = ConvLayer(8, 3, kernel_size=9, stride=1)
        self.relu = torch.nn.ReLU()

    def forward(self, X):
        y = self.relu(self.in2(self.conv2(self.relu(self.in1(self.conv1(X))))))
        return self.deconv2(self.relu(self.deconv1(self.res1(y))))


def seeded(model, seed):
    rng = np.random.default_rng(seed)  # the same weights for every library
    for name, p in model.named_parameters():
        scale = p[0].numel() ** -0.5 if p.dim() > 1 else 0.1
        drawn = rng.normal(1.0 if re.search(r"in\d+\.weight", name) else 0.0, scale, p.size())
        p.data.copy_(torch.from_numpy(drawn))
    return model


class Vgg(torch.nn.Module):
    def __init__(self, requires_grad=False):
        super().__init__()
        layers = [torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(inplace=True)]
        layers += [torch.nn.MaxPool2d(2, stride=2), torch.nn.Conv2d(8, 16, 3), torch.nn.ReLU()]
        pretrained = seeded(torch.nn.Sequential(*layers), 1)
        self.slice1, self.slice2 = pretrained[:2], torch.nn.Sequential()
        for x in range(2, 5):
            self.slice2.add_module(str(x), pretrained[x])
        for param in self.parameters():
            param.requires_grad = requires_grad

    def forward(self, X):
        h_relu1 = self.slice1(X)
        return namedtuple("VggOutputs", ["relu1", "relu2"])(h_relu1, self.slice2(h_relu1))


def gram_matrix(y):
    (_, ch, h, w), features = y.size(), y.flatten(2)
    return features.bmm(features.transpose(1, 2)) / (ch * h * w)


def normalize_batch(batch):
    mean, std = batch.new_tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
    return (batch.div_(255.0) - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)


def main(device="cpu", steps=3, content_weight=1e2, style_weight=1e4):
    device, losses, file = torch.device(device), [], io.BytesIO()
    rng, (y, x) = np.random.default_rng(0), np.mgrid[:16, :16]
    waves = np.sin(x * rng.uniform(0, 1, (24, 3, 1, 1)) + y * rng.uniform(0, 1, (24, 3, 1, 1)))
    dataset = [(torch.from_numpy(w).float().mul(100).add(128), 0) for w in waves]
    style = torch.tensor(rng.uniform(0, 255, (3, 16, 16)), dtype=torch.float32).to(device)
    transformer = seeded(TransformerNet(), 0).to(device)
    optimizer, mse_loss = Adam(transformer.parameters(), 0.02), torch.nn.MSELoss()
    vgg = Vgg(requires_grad=False).to(device)
    gram_style = [gram_matrix(y) for y in vgg(normalize_batch(style.repeat(4, 1, 1, 1)))]
    for _ in range(steps):
        transformer.train()
        for x, _ in DataLoader(dataset, batch_size=4):
            optimizer.zero_grad()
            features_y = vgg(normalize_batch(transformer(x.to(device))))
            features_x = vgg(normalize_batch(x.to(device)))
            content_loss = content_weight * mse_loss(features_y.relu2, features_x.relu2)
            style_loss = 0.0
            for ft_y, gm_s in zip(features_y, gram_style, strict=True):
                style_loss += mse_loss(gram_matrix(ft_y), gm_s[: len(x), :, :])
            style_loss *= style_weight
            (content_loss + style_loss).backward()
            optimizer.step()
            losses.append((content_loss + style_loss).item())
    torch.save(transformer.eval().cpu().state_dict(), file)
    file.seek(0)
    with torch.no_grad():
        style_model, state_dict = TransformerNet(), torch.load(file)
        for k in [k for k in state_dict if re.search(r"in\d+\.running_(mean|var)$", k)]:
            del state_dict[k]
        style_model.load_state_dict(state_dict)
        output = style_model.to(device)(style.unsqueeze(0)).cpu()
    img = output[0].clone().clamp(0, 255).numpy().transpose(1, 2, 0)
    return {"losses": losses, "painted": img.mean((0, 1)).tolist()}
