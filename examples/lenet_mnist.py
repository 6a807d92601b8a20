"""LeNet-5 on MNIST: ``python examples/lenet_mnist.py FOLDER`` (the four IDX files, gz or not)."""

import sys

import tilegrad as tg
import tilegrad.nn as nn
import tilegrad.nn.functional as F
from tilegrad.data import MNIST
from tilegrad.utils.data import DataLoader


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc3(F.relu(self.fc2(x)))


def main(folder, epochs=3):
    tg.manual_seed(0)
    train = DataLoader(MNIST(folder), batch_size=64, shuffle=True)
    test = DataLoader(MNIST(folder, train=False), batch_size=500)
    model = LeNet()
    optimizer = tg.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(epochs):
        for x, y in train:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        with tg.no_grad():
            right = sum(int((model(x).argmax(1) == y).sum()) for x, y in test)
        print(f"epoch {epoch + 1}: {100 * right / len(test.dataset):.2f} % of the test images")
    return right / len(test.dataset)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
