"""Drawings: the graph of a computation with values and gradients, and of a network."""

from __future__ import annotations

import shutil
import stat
import sys

import numpy as np
import pytest

import pydl
from pydl import functional as F
from pydl import graph, models, nn, random
from pydl.graph import Drawing, Edge, Vertex
from pydl.graph.layout import Arrow, Layout


def edges(drawing: Drawing) -> list[tuple[str, str, str, str]]:
    """(tail, head, value, gradient) with the boxes' first lines."""
    names = [v.label.split("\n")[0] for v in drawing.vertices]
    return [(names[e.tail], names[e.head], e.value, e.gradient) for e in drawing.edges]


def scalars():
    return (pydl.Tensor(3.0, requires_grad=True), pydl.Tensor(-4.0, requires_grad=True))


def test_values_and_gradients_stand_on_every_edge():
    """z = (x y + y) 2 at x = 3, y = -4: dz/dx = 2 y = -8, dz/dy = 2 x + 2 = 8."""
    x, y = scalars()
    with graph.record() as tape:
        z = (x * y + y) * 2
    names = {"x": x, "y": y, "z": z}
    forward = [("x", "*", "3", ""), ("y", "*", "-4", ""), ("*", "+", "-12", ""),
               ("y", "+", "-4", ""), ("+", "*", "-16", ""), ("2", "*", "2", ""),
               ("*", "z", "-32", "")]
    assert len(tape) == 3
    assert edges(graph.draw(z, tape=tape, names=names)) == forward
    z.backward()
    drawing = graph.draw(z, tape=tape, names=names)
    gradients = ["-8", "6", "2", "2", "2", "", "1"]
    assert edges(drawing) == [(*e[:3], g) for e, g in zip(forward, gradients, strict=True)]
    labels = [v.label for v in drawing.vertices]
    assert "x\ngradient -8" in labels and "y\ngradient 8" in labels
    assert (x.grad, y.grad) == (-8, 8)
    assert drawing.direction == "LR"


def test_recording_changes_no_bits():
    def run(recorded: bool):
        pydl.manual_seed(1)
        model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                              nn.Linear(12, 4))
        x = np.random.default_rng(0).standard_normal((3, 2, 6, 6)).astype(np.float32)
        labels = np.array([0, 3, 1])
        if recorded:
            with graph.record() as tape:
                loss = F.cross_entropy(model(pydl.Tensor(x)), labels)
        else:
            loss = F.cross_entropy(model(pydl.Tensor(x)), labels)
        loss.backward()
        return loss.item(), [p.grad for p in model.parameters()], (
            graph.draw(loss, tape=tape, names=dict(model.named_parameters())) if recorded else None)

    plain, recorded = run(False), run(True)
    assert plain[0] == recorded[0]
    for a, b in zip(plain[1], recorded[1], strict=True):
        np.testing.assert_array_equal(a, b)
    found = {(tail, head): (value, gradient) for tail, head, value, gradient in edges(recorded[2])}
    norm = np.linalg.norm(recorded[1][0].ravel())
    assert found["0.weight", "conv2d"] == ("3x2x3x3", f"norm {norm:.4g}")
    assert found["constant", "conv2d"] == ("3x2x6x6", "")
    assert {v.kind for v in recorded[2].vertices} == {"input", "parameter", "op", "output"}


def test_a_gradient_on_an_edge_is_what_flowed_along_it():
    """Backward adds to gradients in place, so what is drawn must be copies."""
    x = pydl.Tensor([1.0, 2.0], requires_grad=True)
    with graph.record() as tape:
        a = x * 1.0
        z = (a * 3.0 + a * 4.0 + a).sum()
    z.backward()
    found = edges(graph.draw(z, tape=tape, names={"x": x}))
    assert sorted(e[3] for e in found if e[2] == "[1, 2]" and e[:2] == ("*", "*")) == [
        "[3, 3]", "[4, 4]"]
    assert ("x", "*", "[1, 2]", "[8, 8]") in found


def test_ops_without_gradients_and_with_several_results_are_recorded():
    x = pydl.Tensor(np.arange(24, dtype=np.float32).reshape(1, 1, 4, 6))
    with graph.record() as tape, pydl.no_grad():
        y, argmax = F.max_pool2d(x, 2, return_indices=True)
        z = y.sum()
    found = edges(graph.draw(z, tape=tape))
    assert [e[:2] for e in found] == [("constant", "max_pool2d"), ("max_pool2d", "sum"),
                                      ("sum", "output")]
    x, y = scalars()
    with graph.record() as outer:
        x * y
        with graph.record() as inner:
            z = x + y
    assert (len(outer), len(inner)) == (1, 1)
    x * y
    assert len(outer) == 1
    with pytest.raises(ValueError, match="tape: expected the record of the block that computed"):
        graph.draw(z, tape=outer)


def test_two_backward_passes_add_up():
    x, y = scalars()
    with graph.record() as tape:
        a = x * y
        for _ in range(2):
            z = a + y
    assert len(tape) == 3
    z.backward()
    assert [e[3] for e in edges(graph.draw(z, tape=tape))] == ["-4", "3", "1", "1", "1"]


def test_the_bare_tape():
    x, y = scalars()
    z = F.sigmoid(x * y) + x
    found = edges(graph.draw(z, names={"x": x}))
    assert found == [("x", "*", "", ""), ("leaf", "*", "", ""), ("*", "sigmoid", "", ""),
                     ("sigmoid", "+", "", ""), ("x", "+", "", ""), ("+", "output", "scalar", "")]
    with graph.record():
        z = F.sigmoid(x * y) + x
    assert edges(graph.draw(z, names={"x": x})) == found
    z.backward()
    with pytest.raises(ValueError, match="target: its tape was freed by backward"):
        graph.draw(z)


class Residual(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.conv2(self.relu(self.conv1(x))) + x)


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(4, 2, 1)
        self.b = nn.Sequential(nn.Conv2d(4, 2, 1), nn.Conv2d(2, 3, 3, padding=1))
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(F.cat([self.a(x), self.b(x)], 1)), x


def test_a_power_shows_its_exponent():
    """d(x^2)^y at x = 3, y = 1: 2 y x^(2 y - 1) = 6, and x^2 ln x^2 = 19.78."""
    x, y = pydl.Tensor(3.0, requires_grad=True), pydl.Tensor(1.0, requires_grad=True)
    with graph.record() as tape:
        z = (x**2) ** y
    bare = edges(graph.draw(z, names={"x": x, "y": y}))
    assert [e[:2] for e in bare] == [("x", "**"), ("**", "**"), ("y", "**"), ("**", "output")]
    z.backward()
    assert edges(graph.draw(z, tape=tape, names={"x": x, "y": y})) == [
        ("x", "** 2", "3", "6"), ("** 2", "**", "9", "1"), ("y", "**", "1", "19.78"),
        ("**", "output", "9", "1")]


def test_a_network_shows_what_flows_between_its_layers():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), Residual(4), Branches())
    pydl.manual_seed(0)
    state = random.get_state()
    drawing = graph.draw(model, (2, 3, 7, 9))
    assert random.get_state() == state and model.training
    assert drawing.direction == "TB"
    names = [v.label.replace("\n", " ") for v in drawing.vertices]
    assert names == ["input 2x3x7x9", "0 Conv2d 2x4x5x7", "1.conv1 Conv2d 2x4x5x7",
                     "1.relu ReLU 2x4x5x7", "1.conv2 Conv2d 2x4x5x7", "+ 2x4x5x7",
                     "1.relu ReLU 2x4x5x7", "2.a Conv2d 2x2x5x7", "2.b.0 Conv2d 2x2x5x7",
                     "2.b.1 Conv2d 2x3x5x7", "cat 2x5x5x7", "output 0", "output 1"]
    assert [e[:2] for e in drawing.edges] == [
        (0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (1, 5), (5, 6), (6, 7), (6, 8), (8, 9), (7, 10),
        (9, 10), (10, 11), (6, 12)]
    folded = graph.draw(model, (2, 3, 7, 9), depth=1)
    assert [v.label.replace("\n", " ") for v in folded.vertices] == [
        "input 2x3x7x9", "0 Conv2d 2x4x5x7", "1 Residual 2x4x5x7",
        "2 Branches 2x5x5x7 2x4x5x7", "output 0", "output 1"]
    assert [e[:2] for e in folded.edges] == [(0, 1), (1, 2), (2, 3), (3, 4), (2, 5)]


def test_a_norm_inside_a_convolution_is_a_box_of_its_own():
    drawing = graph.draw(models.resnet_small(8), (1, 3, 32, 32))
    found = {e[:2] for e in edges(drawing)}
    assert {("conv1", "bn1"), ("bn1", "layer1.0.conv1"), ("layer1.0.conv2", "layer1.0.bn2"),
            ("bn1", "layer1.0.bn2"), ("layer2.0.downsample.1", "layer2.0.bn2"),
            ("fc", "output")} <= found
    dense = {e[:2] for e in edges(graph.draw(models.densenet_small(10), (1, 3, 32, 32), depth=2))}
    assert ("features.denseblock1", "features.transition1") in dense


def test_networks_of_several_inputs_and_of_indices():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.rnn = nn.Embedding(5, 3), nn.LSTM(3, 4)

        def forward(self, i, x):
            return self.rnn(self.table(i) + x)[0]

    drawing = graph.draw(Two(), [(7, 2), (7, 2, 3)], [int, np.float32])
    assert [e[:2] for e in edges(drawing)] == [
        ("input 0", "table"), ("table", "+"), ("input 1", "+"), ("+", "rnn"), ("rnn", "output")]


def test_the_tree_of_modules():
    drawing = graph.draw(nn.Sequential(Residual(4), nn.ReLU()))
    assert [v.label.replace("\n", " ") for v in drawing.vertices] == [
        "Sequential", "0 Residual", "conv1 Conv2d", "conv2 Conv2d", "relu ReLU", "1 ReLU"]
    assert drawing.edges == [Edge(0, 1), Edge(1, 2), Edge(1, 3), Edge(1, 4), Edge(0, 5)]
    assert len(graph.draw(nn.Sequential(Residual(4)), depth=1).vertices) == 2


def test_dot_escapes_texts():
    drawing = Drawing([Vertex('a "b" \\\n<c>', "input"), Vertex("d", "output")],
                      [Edge(0, 1, "1 < 2", "&")])
    text = str(drawing)
    assert r'n0 [label="a \"b\" \\\n<c>", fillcolor=' in text
    assert ('n0 -> n1 [label=<<font color="#1b7837">1 &lt; 2</font><br/>'
            '<font color="#c0392b"><i>&amp;</i></font>>]') in text
    assert text == drawing.to_dot() and repr(drawing) == "Drawing(2 vertices, 1 edges)"


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
@pytest.mark.parametrize("what", ["network", "tree", "tape", "one"])
def test_save_with_matplotlib(tmp_path, suffix, what):
    model = nn.Sequential(Residual(4), Branches())
    if what == "tape":
        x, y = scalars()
        with graph.record() as tape:
            z = x * y + x
        z.backward()
        drawing = graph.draw(z, tape=tape)
    elif what == "one":
        drawing = graph.draw(nn.ReLU())
    else:
        drawing = graph.draw(model, (1, 4, 5, 5) if what == "network" else None)
    path = tmp_path / f"a.{suffix}"
    drawing.save(path, engine="matplotlib")
    start = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}[suffix]
    assert path.read_bytes().startswith(start) and path.stat().st_size > 1000


def test_boxes_do_not_overlap_and_arrows_go_forward():
    rng = np.random.default_rng(0)
    for count, level in ((2, True), (12, False), (40, True)):
        pairs = {(a, int(rng.integers(a))) for a in range(1, count) for _ in range(2)}
        arrows = [Arrow(b, a) for a, b in sorted(pairs)]
        layout = Layout(["v" * int(rng.integers(1, 9)) for _ in range(count)], arrows, level)
        for tail, head, _ in arrows:
            assert layout.along[tail] + layout.sizes[tail][1] / 2 < (
                layout.along[head] - layout.sizes[head][1] / 2)
        for row in layout.rows:
            for a, b in zip(row[:-1], row[1:], strict=True):
                apart = layout.across[b] - layout.across[a]
                assert apart >= (layout.sizes[a][0] + layout.sizes[b][0]) / 2


def test_save_as_dot_and_with_graphviz(tmp_path, monkeypatch):
    drawing = graph.draw(nn.Sequential(nn.ReLU()))
    for suffix in ("dot", "gv"):
        drawing.save(tmp_path / f"a.{suffix}")
        assert (tmp_path / f"a.{suffix}").read_text() == str(drawing)
    # A stand-in for dot, which says how it was called and copies what it was given.
    program = tmp_path / "bin" / "dot"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nimport sys\ntext = sys.stdin.read()\n"
                       "if 'bad' in text:\n    sys.exit('syntax error')\n"
                       "open(sys.argv[3], 'w').write(' '.join(sys.argv[1:3]) + text)\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent))
    for engine in (None, "graphviz"):
        drawing.save(tmp_path / "a.svg", engine)
        assert (tmp_path / "a.svg").read_text() == "-Tsvg -o" + str(drawing)
    with pytest.raises(ValueError, match="dot cannot draw the graph: syntax error"):
        Drawing([Vertex("bad", "op")]).save(tmp_path / "a.svg")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FileNotFoundError, match="Graphviz's program dot is not installed"):
        drawing.save(tmp_path / "a.svg", "graphviz")
    drawing.save(tmp_path / "a.svg")
    assert "<svg" in (tmp_path / "a.svg").read_text()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="plots need matplotlib: .*; or install Graphviz"):
        drawing.save(tmp_path / "a.svg")


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz's dot")
def test_graphviz_understands_the_dot(tmp_path):
    x, y = scalars()
    with graph.record() as tape:
        z = x * y + x
    z.backward()
    graph.draw(z, tape=tape).save(tmp_path / "a.svg", "graphviz")
    assert "<svg" in (tmp_path / "a.svg").read_text()


def test_save_rejects(tmp_path):
    drawing = graph.draw(nn.ReLU())
    with pytest.raises(ValueError, match=r"path: expected a name that ends in \.dot"):
        drawing.save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="engine: expected graphviz, matplotlib or None, got 'x'"):
        drawing.save(tmp_path / "a.svg", "x")
    with pytest.raises(FileNotFoundError, match="path: no such folder"):
        drawing.save(tmp_path / "missing" / "a.svg")


@pytest.mark.parametrize(("arguments", "options", "error", "message"), [
    ((3,), {}, TypeError, "target: expected a Module or a Tensor, got int"),
    ((nn.ReLU(),), {"depth": 0}, ValueError, "depth: expected at least 1 or None, got 0"),
    ((pydl.Tensor(1.0),), {}, ValueError, "target: expected a tensor on the tape"),
    ((pydl.Tensor(1.0),), {"tape": 3}, TypeError, "tape: expected a Record, got int"),
    ((pydl.Tensor(1.0),), {"names": {"x": 3}}, TypeError, "names: expected a dict from names to T"),
    ((pydl.Tensor(1.0),), {"names": ["x"]}, TypeError, r"names: .* got \['x'\]"),
    ((pydl.Tensor(1.0),), {"digits": 0}, ValueError, "digits: expected at least 1, got 0"),
    ((nn.Linear(2, 3), (1, 2.5)), {}, TypeError, "input_shape: expected ints"),
])
def test_draw_rejects(arguments, options, error, message):
    with pytest.raises(error, match=message):
        graph.draw(*arguments, **options)


@pytest.mark.parametrize(("name", "depth", "paths"), [
    ("resnet_small", 20, 2**9), ("plain_small", 20, 1), ("densenet_small", 40, 2**18),
    ("googlenet_small", 22, 4**9), ("alexnet_small", 8, 1),
])  # fmt: skip
def test_depth_and_paths(name, depth, paths):
    """Every skip and every concatenation doubles the paths; a shortcut's convolution adds none."""
    with nn.init.skipped():
        drawing = graph.draw(models.get_model(name), (1, 3, 32, 32))
    assert drawing.depth("Conv2d", "Linear") == depth
    assert drawing.depth("Linear") == (3 if name == "alexnet_small" else 1)
    assert drawing.depth("Embedding") == drawing.depth() == 0
    assert drawing.paths() == paths


def test_depth_and_paths_of_small_drawings():
    assert (Drawing().depth("Linear"), Drawing().paths()) == (0, 0)
    with pytest.raises(TypeError, match="kinds: expected names of classes, got <class"):
        Drawing().depth("Linear", nn.Linear)
    boxes = [Vertex("x", "input"), Vertex("a\nLinear\n1x2", "module"), Vertex("Linear", "op"),
             Vertex("b\nLinear\n1x2", "module"), Vertex("z", "output")]
    drawing = Drawing(boxes, [Edge(0, 1), Edge(0, 2), Edge(1, 3), Edge(2, 3), Edge(0, 4)])
    assert drawing.depth("Linear") == 2  # a box of an op is no layer
    assert drawing.paths() == 3


def test_a_negative_zero_is_written_as_zero():
    x = pydl.Tensor([0.0, 2.0], requires_grad=True)
    with graph.record() as tape:
        y = -x
    y.backward(np.array([-0.0, 1.0], np.float32))
    assert "-0" not in str(graph.draw(y, tape=tape))
