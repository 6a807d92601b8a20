"""Nodes of a graph classified by graph attention: a softmax over a masked matrix of all pairs, and
a softmax over the edges of each node."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import Adam


class GraphAttentionLayer(nn.Module):
    def __init__(self, in_features, n_hidden, n_heads, concat=False, dropout=0.0, slope=0.2):
        super().__init__()
        self.n_heads, self.n_hidden, self.concat, self.dropout = n_heads, n_hidden, concat, dropout
        self.W = nn.Parameter(torch.empty(size=(in_features, n_hidden * n_heads)))
        self.a = nn.Parameter(torch.empty(size=(n_heads, 2 * n_hidden, 1)))
        self.leakyrelu = nn.LeakyReLU(slope)
        nn.init.xavier_uniform_(self.W.data, gain=1.414)
        nn.init.xavier_normal_(self.a)

    def forward(self, h, graph):
        n = h.shape[0]
        h = F.dropout(torch.mm(h, self.W), self.dropout, training=self.training)
        h = h.view(n, self.n_heads, self.n_hidden).permute(1, 0, 2)
        to = torch.matmul(h, self.a[:, : self.n_hidden, :])
        of = torch.matmul(h, self.a[:, self.n_hidden :, :])
        if isinstance(graph, tuple):
            source, target = graph
            e = self.leakyrelu(to[:, target, 0] + of[:, source, 0])
            index = target.expand_as(e)
            top = torch.full((self.n_heads, n), float("-inf"))
            top = top.scatter_reduce(1, index, e.detach(), reduce="amax", include_self=True)
            e = torch.exp(e - top.gather(1, index))
            total = torch.zeros(self.n_heads, n).scatter_add_(1, index, e)
            attention = (e / (total.gather(1, index) + 1e-16)).unsqueeze(-1)
            where = index.unsqueeze(-1).expand(-1, -1, self.n_hidden)
            h = torch.zeros_like(h).scatter_add(1, where, attention * h[:, source])
        else:
            e = self.leakyrelu(to + of.mT)
            e = torch.where(graph > 0, e, -9e15 * torch.ones_like(e))
            attention = F.dropout(F.softmax(e, dim=-1), self.dropout, training=self.training)
            h = torch.matmul(attention, h)
        return h.permute(1, 0, 2).contiguous().view(n, -1) if self.concat else h.mean(dim=0)


class GAT(nn.Module):
    def __init__(self, in_features, n_hidden, n_heads, num_classes):
        super().__init__()
        self.gat1 = GraphAttentionLayer(in_features, n_hidden, n_heads, concat=True)
        self.gat2 = GraphAttentionLayer(n_hidden * n_heads, num_classes, 1)

    def forward(self, x, graph):
        return F.log_softmax(self.gat2(F.elu(self.gat1(x, graph)), graph), dim=1)


def load(seed, nodes=60, classes=3):
    """Features, labels, the adjacency with loops, and the same as edges."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, classes, nodes)
    alike = kinds[:, None] == kinds[None, :]
    links = np.triu(rng.random((nodes, nodes)) < np.where(alike, 0.2, 0.02), 1)
    features = torch.FloatTensor(np.eye(classes)[kinds] + rng.normal(0, 1.0, (nodes, classes)))
    adj = torch.from_numpy((links | links.T).astype(np.float32)) + torch.eye(nodes)
    target, source = torch.where(adj > 0)
    return features, torch.LongTensor(kinds), adj, (source, target)


def seeded(model, seed):
    """The model with weights that NumPy draws, the same for every library."""
    rng, state = np.random.default_rng(seed), model.state_dict()
    for name, p in model.named_parameters():
        state[name] = torch.from_numpy(rng.normal(0, 0.4, tuple(p.shape)).astype(np.float32))
    model.load_state_dict(state)
    return model


def train(model, features, labels, graph, chosen, steps, lr):
    optimizer, criterion = Adam(model.parameters(), lr=lr, weight_decay=5e-4), nn.NLLLoss()
    losses = []
    for _ in range(steps):
        model.train()
        optimizer.zero_grad()
        loss = criterion(model(features, graph)[chosen], labels[chosen])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        preds = model(features, graph).max(1)[1].type_as(labels)
    return losses, preds.eq(labels).double().sum().item() / len(labels)


def main(device="cpu", steps=40):
    features, labels, adj, edges = load(0)
    index = torch.from_numpy(np.random.default_rng(1).permutation(len(labels)))[:20]
    results = {}
    for name, graph in (("matrix", adj), ("edges", edges)):
        net = seeded(GAT(3, 4, 2, labels.max().item() + 1), 2).to(device)
        losses, right = train(net, features, labels, graph, index, steps, 0.02)
        results[name] = {"losses": losses, "right": right}
    return {"losses": losses, **results}
