"""The smallest language model: after "h" comes "e", after "e" "l", after "l" "l", then "o".

The two l must be told apart by what came before: that is what the hidden state is for.
h_t = tanh(W_xh x_t + W_hh h_{t-1} + b), y_t = W_hy h_t, with characters as one-hot vectors of
four and three hidden units.
"""

import argparse

import numpy as np

import pydl
from pydl import data, models, optim
from pydl import functional as F

parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
seed = parser.parse_args().seed

word = "hello"
vocab = data.CharVocab(word)
tokens = vocab.encode(word)[:, None]  # (5,1): time, batch
rng = np.random.default_rng(seed)
pydl.manual_seed(seed)
model = models.CharRNN(len(vocab), hidden_size=3, cell="rnn", vocab=vocab)
optimizer = optim.Adam(model.parameters(), lr=0.1)

for step in range(151):
    h0 = pydl.Tensor(rng.normal(0, 0.1, (1, 1, 3)).astype(np.float32))  # a new one each time
    optimizer.zero_grad()
    logits, _ = model(tokens[:-1], h0)
    loss = F.cross_entropy(logits[:, 0], tokens[1:, 0])
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step}: loss {loss.item():.4f}")

with pydl.no_grad():
    probability = F.softmax(model(tokens[:-1])[0][:, 0], 1).numpy()
for given, wanted, p in zip(word, word[1:], probability, strict=False):
    print(f"{given} -> {vocab.decode(p.argmax())} ({p.max():.1%})")
    assert vocab.decode(p.argmax()) == wanted
written = model.generate("h", 4, temperature=0)
print("from h it writes", written)
assert written == word
