"""Nodes of a graph classified by a graph convolution: the adjacency as a dense matrix and as a list
of edges whose messages are added up."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parameter import Parameter
from torch.optim import Adam


class GraphConvolution(nn.Module):
    def __init__(self, in_features, out_features, bias=True):
        super().__init__()
        self.weight = Parameter(torch.FloatTensor(in_features, out_features))
        if bias:
            self.bias = Parameter(torch.Tensor(out_features))
        else:
            self.register_parameter("bias", None)
        stdv = 1.0 / math.sqrt(self.weight.size(1))
        self.weight.data.uniform_(-stdv, stdv)
        if self.bias is not None:
            self.bias.data.uniform_(-stdv, stdv)

    def forward(self, input, graph):
        support = torch.mm(input, self.weight)
        if isinstance(graph, tuple):  # edges from source to target, each with its weight
            (source, target), weight = graph
            messages = support.index_select(0, source) * weight.unsqueeze(-1)
            output = torch.zeros_like(support).index_add_(0, target, messages)
        else:
            output = torch.mm(graph, support)
        return output if self.bias is None else output + self.bias


class GCN(nn.Module):
    def __init__(self, nfeat, nhid, nclass, dropout=0.0):
        super().__init__()
        self.gc1, self.gc2 = GraphConvolution(nfeat, nhid), GraphConvolution(nhid, nclass, False)
        self.dropout = dropout

    def forward(self, x, graph):
        x = F.relu(self.gc1(x, graph))
        x = F.dropout(x, self.dropout, training=self.training)
        return F.log_softmax(self.gc2(x, graph), dim=1)


def load(seed, nodes=60, classes=3):
    """Features, labels, the weights of the graph with loops as a matrix, and by edge."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, classes, nodes)
    alike = kinds[:, None] == kinds[None, :]
    links = np.triu(rng.random((nodes, nodes)) < np.where(alike, 0.2, 0.02), 1)
    features = torch.FloatTensor(np.eye(classes)[kinds] + rng.normal(0, 1.0, (nodes, classes)))
    adj = torch.from_numpy((links | links.T).astype(np.float32)) + torch.eye(nodes)
    degree = torch.sum(adj, dim=1)
    scale = torch.pow(degree, -0.5)
    scale[scale == float("inf")] = 0.0
    normal = torch.diag(scale) @ adj @ torch.diag(scale)
    edges = torch.nonzero(adj, as_tuple=False).t().contiguous()
    assert torch.equal(edges, torch.stack(torch.where(adj > 0)))
    target, source = edges
    weight = scale[source] * scale[target]
    return features, torch.LongTensor(kinds), normal, ((source, target), weight)


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
    features, labels, matrix, edges = load(0)
    index = torch.from_numpy(np.random.default_rng(1).permutation(len(labels)))[:20]
    results = {}
    for name, graph in (("matrix", matrix), ("edges", edges)):
        net = seeded(GCN(3, 8, labels.max().item() + 1), 2).to(device)
        losses, right = train(net, features, labels, graph, index, steps, 0.02)
        results[name] = {"losses": losses, "right": right}
    return {"losses": losses, **results}
