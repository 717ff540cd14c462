"""Train a small convolutional network on handwritten digits; stop early, keep a checkpoint.

Run it again and it continues from the checkpoint. Needs pip install "pydl-kernels[demo]".
"""

import argparse

import pydl
from pydl import data, nn, optim, schedules, train

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=20)
epochs = parser.parse_args().epochs

pydl.manual_seed(0)
rest, test = data.digits_split(0.2, rng=0)
training, validation = data.random_split(rest, [0.9, 0.1], rng=0)
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
    nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Dropout(0.25), nn.Linear(512, 10),
)
print(model)

optimizer = optim.Adam(model.parameters(), lr=2e-3)
history = train.fit(
    model, training, validation, epochs=epochs, batch_size=32, optimizer=optimizer,
    schedule=schedules.CosineAnnealingLR(optimizer, epochs),
    early_stopping=train.EarlyStopping(patience=5),
    checkpoint="digits.safetensors", resume=True,
)
history.plot("digits.png")
loss, accuracy = train.evaluate(model, test)
print(f"{len(history)} epochs, test loss {loss:.3f}, test accuracy {accuracy:.2%}")
print("digits.png shows the curves; digits.safetensors holds the run")
