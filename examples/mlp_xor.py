"""A multilayer perceptron learns XOR, which no single layer can."""

import numpy as np

import pydl
from pydl import functional as F
from pydl import nn, optim

pydl.manual_seed(0)
x = pydl.Tensor(np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32))
y = np.array([[0], [1], [1], [0]], np.float32)

model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = optim.Adam(model.parameters(), lr=0.05)
for step in range(301):
    optimizer.zero_grad()
    loss = F.binary_cross_entropy_with_logits(model(x), y)
    loss.backward()
    optimizer.step()
    if step % 100 == 0:
        print(f"step {step}: loss {loss.item():.4f}")

with pydl.no_grad():
    probability = F.sigmoid(model(x)).numpy()
for (a, b), p in zip(x.numpy(), probability[:, 0], strict=True):
    print(f"{a:.0f} xor {b:.0f}: {p:.3f}")
assert ((probability > 0.5) == y).all()
