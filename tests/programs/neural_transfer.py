"""One picture painted by LBFGS (Gatys et al., 2016): layers that measure content and style are set
between those of a fixed network, and the picture itself is what learns."""

import copy

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim


def gram_matrix(input):
    a, b, c, d = input.size()
    features = input.view(a * b, c * d)
    return torch.mm(features, features.t()).div(a * b * c * d)


class ContentLoss(nn.Module):
    def __init__(self, target):
        super().__init__()
        self.target = target.detach()

    def forward(self, input):
        self.loss = F.mse_loss(input, self.target)
        return input


class StyleLoss(nn.Module):
    def __init__(self, target_feature):
        super().__init__()
        self.target = gram_matrix(target_feature).detach()

    def forward(self, input):
        self.loss = F.mse_loss(gram_matrix(input), self.target)
        return input


class Normalization(nn.Module):
    def __init__(self, mean, std):
        super().__init__()
        self.mean, self.std = mean.clone().detach().view(-1, 1, 1), std.view(-1, 1, 1)

    def forward(self, img):
        return (img - self.mean) / self.std


def features(rng):
    """The first layers of a network for pictures; NumPy draws the weights, the same everywhere."""
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True)]
    layers += [nn.MaxPool2d(kernel_size=2, stride=2, padding=0), nn.Conv2d(8, 12, 3), nn.ReLU()]
    cnn = nn.Sequential(*layers, nn.Flatten())
    for layer in cnn.children():
        if isinstance(layer, nn.Conv2d):
            scale = layer.weight[0].numel() ** -0.5
            layer.weight.data = torch.from_numpy(rng.normal(0, scale, layer.weight.size())).float()
            layer.bias.data.zero_()
    return cnn


def get_style_model_and_losses(cnn, mean, std, style_img, content_img, content_layers=("conv_2",)):
    content_losses, style_losses, i = [], [], 0
    model = nn.Sequential(Normalization(mean, std))
    for layer in copy.deepcopy(cnn).children():
        if isinstance(layer, nn.Conv2d):
            i, name = i + 1, f"conv_{i + 1}"
        elif isinstance(layer, nn.ReLU):
            name, layer = f"relu_{i}", nn.ReLU(inplace=False)
        elif isinstance(layer, nn.MaxPool2d):
            name = f"pool_{i}"
        else:
            name = f"{layer.__class__.__name__}_{i}"
        model.add_module(name, layer)
        if name in content_layers:
            content_losses.append(ContentLoss(model(content_img).detach()))
            model.add_module(f"content_loss_{i}", content_losses[-1])
        if name.startswith("conv"):
            style_losses.append(StyleLoss(model(style_img).detach()))
            model.add_module(f"style_loss_{i}", style_losses[-1])
    for i in range(len(model) - 1, -1, -1):
        if isinstance(model[i], ContentLoss) or isinstance(model[i], StyleLoss):
            break
    return model[: (i + 1)], style_losses, content_losses


def main(device="cpu", steps=3, style_weight=1e4, content_weight=1):
    device = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else device)
    torch.set_default_device(device)
    rng, trace = np.random.default_rng(0), []
    pictures = torch.from_numpy(rng.random((2, 3, 12, 12))).to(device, torch.float)
    style_img, content_img = pictures[:1], F.avg_pool2d(pictures[1:], 3, 1, padding=1)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    cnn = features(rng).to(device).eval()
    found = get_style_model_and_losses(cnn, mean, std, style_img, content_img)
    model, style_losses, content_losses = found
    input_img = content_img.clone()
    input_img.requires_grad_(True)
    model.eval()
    model.requires_grad_(False)
    optimizer = optim.LBFGS([input_img], max_iter=4)
    while len(trace) < steps * 4:

        def closure():
            with torch.no_grad():
                input_img.clamp_(0, 1)
            optimizer.zero_grad()
            model(input_img)
            style_score = sum(sl.loss for sl in style_losses) * style_weight
            content_score = sum(cl.loss for cl in content_losses) * content_weight
            loss = style_score + content_score
            loss.backward()
            trace.append(loss.item())
            return loss

        optimizer.step(closure)
    with torch.no_grad():
        input_img.clamp_(0, 1)
    names = [name for name, _ in model.named_children()]
    colours = input_img.squeeze(0).mean((1, 2)).tolist()
    return {"losses": trace, "layers": names, "colours": colours, "device": device.type}
