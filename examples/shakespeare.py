"""Learn to write like Shakespeare, character by character: embedding of 256, GRU of 1024 units.

Without a file it learns from Python's documentation, which every Python carries. The sizes are
those of TensorFlow's text generation tutorial: sequences of 100 characters, batches of 64.
"""

import argparse

import pydl
from pydl import data, models, optim
from pydl.train_text import evaluate_text, fit_text

parser = argparse.ArgumentParser()
parser.add_argument("file", nargs="?", help="any text; --download fetches tinyshakespeare")
parser.add_argument("--download", action="store_true")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--steps", type=int, help="instead of epochs")
parser.add_argument("--hidden", type=int, default=1024)
parser.add_argument("--temperature", type=float, default=0.8)
options = parser.parse_args()

if options.file:
    text = data.load_text(options.file)
elif options.download:
    text = data.tinyshakespeare(download=True)
else:
    text = data.python_docs()
vocab = data.CharVocab(text)
tokens = vocab.encode(text)
cut = len(tokens) * 9 // 10

pydl.manual_seed(0)
model = models.CharRNN(
    len(vocab), options.hidden, embedding_size=256, cell="gru", vocab=vocab)
print(f"{len(text):,} characters, {len(vocab)} distinct; "
      f"{sum(p.size for p in model.parameters()):,} parameters")


def report(history):
    print(f"step {history.step[-1]}, {history.seconds[-1]:.0f} s: nats per character: training "
          f"{history.train_loss[-1]:.3f}, held out {history.heldout_loss[-1]:.3f}")
    print(model.generate("\n", 200, options.temperature, seed=0), "\n", flush=True)


fit_text(
    model, tokens[:cut], tokens[cut:], optimizer=optim.Adam(model.parameters(), lr=1e-3),
    epochs=None if options.steps else options.epochs, steps=options.steps,
    batch_size=64, seq_length=100, report=report)
print(f"held out: {evaluate_text(model, tokens[cut:]):.3f} nats per character")
