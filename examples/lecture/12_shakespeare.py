# %% [markdown]
# # 12. A network that writes · 셰익스피어처럼 글쓰기
#
# A recurrent network reads a text character by character and says at each place what may come
# next. Then it writes: one of the characters is drawn, becomes its next input, and so on. Nobody
# tells it about words or lines.
#
# RNN이 글을 한 글자씩 읽으며 다음 글자의 확률을 학습한다. 학습한 뒤에는 확률에 따라 글자를 하나
# 뽑아 다시 입력으로 넣으면서 글을 쓴다. 단어나 줄이 무엇인지는 아무도 가르쳐 주지 않는다.
#
# Lecture rows: L23 (Shakespeare)

# %%
import numpy as np

import pydl
from pydl import data, models, optim, plot
from pydl import functional as F
from pydl.train_text import evaluate_text, fit_text

TEXT = None  # the path of a text in UTF-8 with lines of like length, such as "plays.txt"

# %% [markdown]
# ## The text · 글
#
# Without a file the text is Python's own language reference, which every Python carries. For
# Shakespeare, fetch 1.1 million characters of his plays once, and set `TEXT = "plays.txt"` above:
#
# ```
# python -c "from pydl.data import tinyshakespeare as t; print(t(download=True))" > plays.txt
# ```
#
# The last tenth is held out. Two baselines are counted, not trained: how often each character
# occurs (unigram), and how often it follows the one before (bigram). The perplexity
# $e^{\text{loss}}$ is how many equally likely characters would be as hard to guess.
#
# 비교 기준은 글자의 빈도만 아는 유니그램과 바로 앞 글자만 아는 바이그램이다.
# 퍼플렉시티(perplexity)는 다음 글자 후보가 몇 개인 셈인지를 뜻한다.

# %%
text = data.load_text(TEXT) if TEXT else data.python_docs()
vocab = data.CharVocab(text)
tokens = vocab.encode(text)
learned, heldout = np.split(tokens, [len(tokens) * 9 // 10])
heldout = heldout[:20_000]

unigram = np.bincount(learned, minlength=len(vocab)) + 1.0
unigram /= unigram.sum()
pairs = np.zeros((len(vocab), len(vocab)))
np.add.at(pairs, (learned[:-1], learned[1:]), 1)
bigram = (pairs + unigram) / (pairs.sum(1, keepdims=True) + 1)  # rare pairs lean on the unigram
baselines = {"unigram": -np.log(unigram[heldout]).mean(),
             "bigram": -np.log(bigram[heldout[:-1], heldout[1:]]).mean()}
print(f"{len(text):,} characters, {len(vocab)} distinct")
for name, nats in baselines.items():
    print(f"{name:7}: {nats:.2f} nats per held-out character, perplexity {np.exp(nats):.1f}")

# %% [markdown]
# ## Training, piece by piece · 나누어 읽으며 학습하기
#
# The text is cut into 32 rows that are read side by side, 64 characters at a time. Gradients go
# back through these 64 only (truncated backpropagation), but the state goes on: each batch
# continues where the one before stopped.
#
# 그래디언트는 64글자까지만 거슬러 올라가지만, 은닉 상태는 다음 배치로 이어진다.

# %%
batches = data.ContiguousBatches(learned, batch_size=32, seq_length=64)
(inputs, targets), (after, _) = batches[0], batches[1]
assert (inputs[1:] == targets[:-1]).all() and (after[0] == targets[-1]).all()

pydl.manual_seed(0)
model = models.CharRNN(len(vocab), hidden_size=192, embedding_size=64, cell="gru", vocab=vocab)
begin = evaluate_text(model, heldout)
history = fit_text(model, learned, heldout, optimizer=optim.Adam(model.parameters(), lr=5e-3),
                   steps=900, batch_size=32, seq_length=64, every=75, progress=False)
steps, losses = [0, *history.step], np.array([begin, *history.heldout_loss])
print(f"{sum(p.size for p in model.parameters()):,} parameters; held-out perplexity "
      f"{np.exp(losses[0]):.0f} untrained, {np.exp(losses[-1]):.2f} after {steps[-1]} steps")
forgetful = evaluate_text(model, heldout, batch_size=len(heldout) // 64, seq_length=64)
print(f"nats per character: {losses[-1]:.3f} with the state carried on, "
      f"{forgetful:.3f} if it is cleared every 64 characters")
assert abs(begin - np.log(len(vocab))) < 0.1  # at first, every character is equally likely
assert losses[-1] < baselines["bigram"] < baselines["unigram"] and losses[-1] < forgetful

# %%
figure, ax = plot.subplots(size=(6.4, 3.8))
ax.plot(steps, np.exp(losses), "o-", markersize=4, label="GRU, held-out text")
for (name, nats), style in zip(baselines.items(), ("--", ":"), strict=True):
    ax.axhline(np.exp(nats), color=plot.COLORS[1], linestyle=style, label=name)
ax.set_yscale("log")
ax.set_yticks([3, 5, 10, 20, 50, 100], [3, 5, 10, 20, 50, 100])
ax.minorticks_off()
ax.set(xlabel="training step", ylabel="perplexity (choices)")
ax.grid(alpha=0.3)
ax.legend()
plot.show(figure, "12_perplexity")

# %% [markdown]
# ## Temperature · 온도
#
# The logits are divided by a temperature before the softmax: $p_k \propto e^{a_k/T}$. Cold: the
# likeliest character nearly always, safe and repetitive. Hot: rare characters too, inventive and
# full of slips.
#
# 온도가 낮으면 안전하지만 같은 말을 되풀이하고, 높으면 다양하지만 틀린 단어가 늘어난다.

# %%
temperatures, prompt = (0.2, 0.7, 1.2), "The "  # a prompt of characters that the text has
words, known = set(text.split()), []
for temperature in temperatures:
    written = model.generate(prompt, 1500, temperature, seed=0)
    new = written.split()[1:-1]
    known.append(np.mean([word in words for word in new]))
    shown = "\n".join(line for line in written.splitlines() if line.strip())
    print(f"--- temperature {temperature}: {known[-1]:.0%} of the words are in the text")
    print(f"{shown[:300]}\n")
assert known[0] > known[2] + 0.1

# %%
with pydl.no_grad():
    logits = model(vocab.encode(prompt)[:, None])[0].numpy()[-1, 0]
likeliest = np.argsort(-logits)[:12]
names = [{" ": "space", "\n": "line"}.get(name, name) for name in map(vocab.decode, likeliest)]
entropies = []
figure, axes = plot.subplots(1, 3, size=(10, 3), sharey=True)
for ax, temperature in zip(axes, temperatures, strict=True):
    p = F.softmax(pydl.Tensor(logits / np.float32(temperature)), -1).numpy()
    entropies.append(-(p * np.log(np.maximum(p, 1e-30))).sum())
    ax.bar(names, p[likeliest], color=plot.COLORS[2])
    ax.set_title(f"T = {temperature}, perplexity {np.exp(entropies[-1]):.1f}")
    ax.set_xlabel("next character")
axes[0].set_ylabel(f"probability after {prompt!r}")
plot.show(figure, "12_next_character")
assert entropies == sorted(entropies)

# %% [markdown]
# ## What a unit has found out · 은닉 유닛이 배운 것
#
# Nobody told the network how long a line is, but to know when a line break is due it must count.
# Of the 192 units, the one is looked up whose activity goes best with the place in the line, and
# drawn over a held-out passage (as Karpathy, Johnson, Fei-Fei 2015, arXiv:1506.02078). Below, how
# surprised the network was by each character.
#
# 줄의 길이를 가르쳐 주지 않았는데도, 줄 안의 위치를 세는 유닛이 저절로 생긴다.

# %%
count = min(8000, len(heldout) - 1)
passage = vocab.decode(heldout[:count + 1])
with pydl.no_grad():
    states = model.rnn(model.embedding(heldout[:count, None]))[0]
    logits = model.decoder(states[:, 0])
surprise = F.cross_entropy(logits, heldout[1:count + 1], reduction="none").numpy()
activity = states.numpy()[:, 0]
ends = np.flatnonzero(np.array(list(passage[:count])) == "\n")
begins = np.concatenate([[0], ends + 1])
column = np.arange(count) - begins[np.searchsorted(ends, np.arange(count))]
correlations = np.array([np.corrcoef(column, unit)[0, 1] for unit in activity.T])
unit = np.abs(correlations).argmax()
print(f"unit {unit}: correlation {correlations[unit]:+.2f} with the place in the line "
      f"(median unit {np.median(np.abs(correlations)):.2f})")

longest = (ends[8:] - ends[:-8]).argmax()  # eight lines with much on them
first, last = ends[longest] + 1, ends[longest + 8]
figure, axes = plot.subplots(2, 1, size=(10, 5.2))
rising = np.sign(correlations[unit]) * activity[:, unit]
drawn = plot.characters(axes[0], passage[first:last], rising[first:last], columns=80,
                        title=f"unit {unit}" + (", sign turned" if correlations[unit] < 0 else ""))
figure.colorbar(drawn, ax=axes[0], label="activity")
drawn = plot.characters(axes[1], passage[first:last], surprise[first - 1:last - 1], columns=80,
                        low=0, high=6, title="surprise: -log p of each character")
figure.colorbar(drawn, ax=axes[1], label="nats")
plot.show(figure, "12_unit")
assert abs(correlations[unit]) > 0.5

# %%
letter = np.array([character.isalpha() for character in passage])
firsts, others = surprise[letter[1:] & ~letter[:-1]], surprise[letter[1:] & letter[:-1]]
print(f"surprise: {firsts.mean():.2f} nats at a word's first letter, {others.mean():.2f} later")
assert firsts.mean() > 1.5 * others.mean()

# %% [markdown]
# The unit darkens along each line and is light again after the break. Surprises are at the
# beginnings of words; their ends are easy.
#
# 줄이 시작되면 옅고 끝으로 갈수록 진해진다. 예측이 크게 빗나가는 곳은 주로 단어의 첫 글자이다.
#
# ## Full size · 실제 크기
#
# The tutorial that the lecture links has an embedding of 256, a GRU of 1024 units, sequences of
# 100 and batches of 64:
#
# ```
# pydl train text plays.txt --embedding 256 --cell gru --hidden 1024 \
#     --seq-length 100 --batch-size 64 --lr 1e-3 --epochs 10
# pydl generate plays.safetensors --prompt "ROMEO:" --temperature 0.7
# ```
#
# On two cores of a Xeon with AVX-512 an epoch of this size takes 85 s, and after the first the
# loss is 1.72 nats per held-out character; `pydl train text plays.txt` with its own defaults
# reaches 1.44 after 191 s (docs/recurrent.md).
