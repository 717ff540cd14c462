"""The benchmark's table of cases, its contestants, its timing and its command."""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pydl import kernels, runtime
from pydl.bench import command, main, numpy_kernels, onnx_models, report, torch_kernels
from pydl.bench.cases import CASES, Case, select
from pydl.bench.compare import compare_lines, compare_runs
from pydl.bench.contestants import ALL_PEERS, Entry, Library, Pydl, choose
from pydl.bench.contestants import names as contestant_names
from pydl.bench.language import CharStep, Generation, _InNumpy
from pydl.bench.layers import CONVOLUTIONS
from pydl.bench.machine import Peaks, blas_keeps_to, describe, others_seconds
from pydl.bench.networks import NETWORKS, Step, _numpy_step, small_vgg
from pydl.bench.overhead import time_overhead
from pydl.bench.page import write_page
from pydl.bench.table import Table, check_case, time_cases
from pydl.bench.timing import Contestant, Effort, Sample, measure
from pydl.testing import check_kernel

ONE_RELU = ["relu_forward", "--quick", "--threads", "1"]
SMALL = sorted({c.operation: c for c in CASES if c.quick}.values(), key=str)

STRANGERS = """
import time

import numpy as np

def relu_forward(x, *, out=None):
    return np.maximum(x, 0, out=out)

def shifted(x, *, out=None):
    return np.maximum(x, 0, out=out) + 1e-3

def without_options(x):
    return x

def slow(x, *, out=None):
    time.sleep(0.002)
    return np.maximum(x, 0, out=out)
"""


@pytest.fixture
def strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with kernels of somebody else, in the working directory."""
    (tmp_path / "strange_kernels.py").write_text(STRANGERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "strange_kernels", raising=False)
    return "strange_kernels"


# The table of cases


def test_every_kernel_has_a_case_also_in_the_short_table():
    for cases in (CASES, select(quick=True)):
        timed = {name for case in cases for name in case.kernels}
        assert set(kernels.kernels()) == timed


def test_cases_are_told_apart_by_group_and_name():
    labels = [(case.group, str(case)) for case in CASES]
    assert len(labels) == len(set(labels))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_case_has_work_and_a_unit(dtype):
    for case in CASES:
        assert case.work(dtype) > 0, case
        assert case.unit == ("GFLOP/s" if case.flops else "GB/s")
        assert case.terms and min(case.terms) >= 0


def test_work_counts_the_direct_algorithm_or_the_bytes():
    def work(operation: str, name: str) -> int:
        (case,) = (c for c in CASES if c.group == operation and c.name == name)
        return case.work("float32")

    forward = 2 * 8 * 56 * 56 * 64 * 64 * 9
    assert work("conv2d_forward", "resnet50 64-64 3x3@56 n8") == forward
    assert work("conv2d_backward", "resnet50 64-64 3x3@56 n8") == 2 * forward
    assert work("matmul square", "512") == 2 * 512**3
    assert work("relu_backward", "65536") == 3 * 4 * 65536
    assert work("adam_step", "adam 1048576") == 7 * 4 * 2**20
    pooled = 8 * 64 * (112 * 112 * 4 + 56 * 56 * (4 + 4))
    assert work("max_pool2d_backward", "resnet50 3x3s2 64@112 n8") == pooled


def test_the_layers_are_those_of_the_networks():
    networks = {"alexnet", "vgg16", "googlenet", "resnet50", "densenet121", "lenet5", "lenet"}
    assert {layer.network for layer in CONVOLUTIONS} == networks
    shapes = [layer[1:] for layer in CONVOLUTIONS]
    assert len(shapes) == len(set(shapes))
    sizes = {str(layer): layer.out_size for layer in CONVOLUTIONS}
    assert sizes["alexnet 3-96 11x11s4@227"] == 55
    assert sizes["resnet50 3-64 7x7s2@224"] == 112
    assert sizes["lenet5 6-16 5x5@14"] == 10


def test_inputs_are_the_same_at_every_call():
    case = select(["max_pool2d_backward"], quick=True)[0]
    a, b = case.inputs("float32"), case.inputs("float32")
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert value is not b[name]
        np.testing.assert_array_equal(value, b[name])


def test_select_by_kernel_and_shape():
    assert {c.operation for c in select(["conv2d_backward_weight"])} == {"conv2d_backward"}
    assert {c.name.split()[0] for c in select(["conv2d"], "vgg16")} == {"vgg16"}
    with pytest.raises(ValueError, match="a part of one of conv2d_forward.*got 'attention'"):
        select(["attention"])
    with pytest.raises(ValueError, match="shape: .*got 'vgg19'"):
        select(["conv2d"], "vgg19")


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_native_is_right_where_it_is_timed(case):
    check_case(case, case.inputs("float32"), "float32")


# The contestants


@pytest.mark.parametrize("name", [n for n in numpy_kernels.OWN if n != "dropout_forward"])
def test_numpy_kernels_equal_the_reference(name):
    check_kernel(name, numpy_kernels.OWN[name], dtypes=["float64"], gradients=False)


def test_numpy_dropout_drops_the_right_share():
    x = np.ones(10**5, np.float32)
    y, mask = numpy_kernels.OWN["dropout_forward"](x, 0.25, np.random.default_rng(0))
    assert mask.mean() == pytest.approx(0.75, abs=0.01)
    np.testing.assert_array_equal(y, np.where(mask, np.float32(1 / 0.75), 0))


def test_pytorch_knows_every_operation():
    assert set(torch_kernels._BUILDERS) == {case.operation for case in CASES}


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
def test_the_numpy_step_has_the_gradients_of_pydl(build):
    step = Step(build, (3, 1, 28, 28))
    yardstick = _numpy_step(step)
    with kernels.use("reference"):
        step()
    yardstick()
    for got, expected in zip(yardstick.numbers(), step.numbers(), strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * scale)


def test_a_step_trains():
    step = Step(small_vgg, (2, 3, 32, 32))
    before = [p.numpy().copy() for p in step.model.parameters()]
    step()
    for p, old, g in zip(step.model.parameters(), before, step.numbers(), strict=True):
        np.testing.assert_allclose(p.numpy(), old - 1e-3 * g, rtol=1e-5, atol=1e-7)


def test_the_language_model_in_numpy_has_the_numbers_of_pydl():
    for build, sizes in ((CharStep, (3, 2, 8)), (Generation, (2, 8))):
        made, twin = build(*sizes), _InNumpy(build(*sizes))
        made()
        twin()
        for got, expected in zip(twin.numbers(), made.numbers(), strict=True):
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


class Fake(Library):
    """A library with relu alone, which takes its time and may be wrong."""

    def __init__(self, name: str, seconds: float, off: float = 0.0, is_peer: bool = True) -> None:
        self.name, self.seconds, self.off, self.is_peer = name, seconds, off, is_peer

    def prepare(self, case: Case, inputs: dict[str, Any], threads: int) -> Entry | None:
        if self.name == "unable":
            raise RuntimeError("no  such\noperator")
        if self.name == "lacking":
            return None

        def run() -> np.ndarray:
            time.sleep(self.seconds)
            return np.maximum(inputs["x"], 0) + np.float32(self.off)

        return Entry(Contestant(self.name, run), lambda y: (y,))


def test_the_best_peer_is_the_fastest_that_is_right():
    libraries = [
        Pydl(),
        Fake("slow", 0.02),
        Fake("quick", 0.005),
        Fake("wrong", 0.0, off=1e-3),
        Fake("no peer", 0.0, is_peer=False),
        Fake("unable", 0.0),
        Fake("lacking", 0.0),
    ]
    table = Table("float32", 1, Effort(budget=1e-3, least=2, most=2), libraries)
    (found,) = time_cases(table, select(["relu_forward"], quick=True))
    assert set(found["errors"]) == {"wrong"}
    assert found["unable"] == {"unable": "RuntimeError: no such operator"}
    assert set(found["ratios"]) == {"slow", "quick", "no peer"}
    assert found["best"] == {"peer": "quick", "ratio": found["ratios"]["quick"]}
    assert found["bytes"] == 2 * 4 * 65536


def test_contestants_are_chosen_by_name():
    libraries, absent = choose(["numpy", "reference", "numpy"])
    assert [x.name for x in libraries] == ["pydl", "numpy", "reference"]
    assert absent == {}
    assert set(ALL_PEERS) < set(contestant_names())
    with pytest.raises(ValueError, match="contestants: expected some of numpy, .*got 'jax'"):
        choose(["jax"])


@pytest.mark.parametrize(
    "name, module", [("pytorch", "torch"), ("compile", "torch"), ("onnxruntime", "onnx"),
                     ("openvino", "openvino")],
)  # fmt: skip
def test_a_contestant_that_is_not_there_says_so(name, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    libraries, absent = choose([name])
    assert [x.name for x in libraries] == ["pydl"]
    assert "not installed" in absent[name]


def test_native_kernels_at_other_instruction_sets():
    others = [isa for isa in runtime.available_isas() if isa != runtime.isa()]
    libraries, _ = choose(others)
    table = Table("float32", 1, Effort(budget=1e-3, least=1, most=1), libraries)
    (found,) = time_cases(table, select(["relu_forward"], quick=True))
    assert list(found["ratios"]) == others and not found["errors"]
    assert "best" not in found
    for library in libraries[1:]:
        with library.prepare(CASES[0], {}, 1).contestant.scope():
            assert kernels.which("relu_forward") == f"native {library.name}"


OTHERS = {"pytorch": "torch", "channels_last": "torch", "onnxruntime": "onnxruntime",
          "openvino": "openvino"}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_libraries_give_pydl_s_numbers(name):
    """One small case of every operation; none wrong, and all that a library claims to have run."""
    pytest.importorskip(OTHERS[name])
    libraries, absent = choose([name])
    if absent:
        pytest.skip(absent[name])
    table = Table("float32", 1, Effort(budget=1e-3, least=1, most=1), libraries)
    found = list(time_cases(table, SMALL))
    assert {r["operation"]: r["errors"] for r in found if r["errors"]} == {}
    able = {r["operation"] for r in found if name in r["ratios"]}
    unable = {r["operation"] for r in found if r["unable"]}
    if name == "pytorch":
        assert able == set(torch_kernels._BUILDERS)
    elif name == "channels_last":
        assert {"conv2d_forward", "conv2d_backward", "max_pool2d_backward"} <= able
    else:
        assert able | unable == set(onnx_models.OPERATIONS)
        assert {"conv2d_forward", "lstm_forward", "gru_forward", "matmul"} <= able


# The timing


def test_contestants_take_turns():
    calls: list[str] = []
    contestants = [Contestant(n, lambda n=n: calls.append(n)) for n in "ab"]
    samples = measure(contestants, Effort(budget=0.0, least=4, most=4))
    assert [len(s.seconds) for s in samples.values()] == [4, 4]
    turns = [n for n, previous in zip(calls, [None, *calls], strict=False) if n != previous]
    assert turns == list("ab" * 5)


def test_a_slow_contestant_takes_part_less_often():
    fast = Contestant("fast", lambda: None)
    slow = Contestant("slow", lambda: time.sleep(0.005))
    samples = measure([fast, slow], Effort(budget=0.02, least=5, most=12))
    assert len(samples["fast"].seconds) == 12
    assert 3 <= len(samples["slow"].seconds) < 12
    assert samples["slow"].minimum >= 0.005


def test_after_a_pause_threads_are_awake_before_the_time_begins(monkeypatch):
    class Clock:
        now = 0.0

        def perf_counter(self) -> float:
            return self.now

        def sleep(self, seconds: float) -> None:
            self.now += seconds

    clock, begins = Clock(), list[float]()
    monkeypatch.setattr("pydl.bench.timing.time", clock)

    def run() -> None:
        begins.append(clock.now)
        clock.sleep(0.001)

    (sample,) = measure([Contestant("a", run)], Effort(0.0, least=3, most=3, pause=0.03)).values()
    starts = [a for a, b in zip(begins[1:], begins, strict=False) if a - b > 0.02]
    assert len(starts) == 3 and sample.calls == 1
    for start in starts:  # 5 ms of calls, then the one that is timed
        assert sum(start <= t < start + 0.02 for t in begins) in (6, 7)
    assert sample.seconds == pytest.approx([0.001] * 3)


def test_a_contestant_runs_in_its_scope_only():
    import contextlib

    state = {"inside": False}

    @contextlib.contextmanager
    def scope():
        state["inside"] = True
        yield
        state["inside"] = False

    seen: dict[str, set[bool]] = {"in": set(), "out": set()}
    contestants = [
        Contestant("in", lambda: seen["in"].add(state["inside"]), scope),
        Contestant("out", lambda: seen["out"].add(state["inside"])),
    ]
    measure(contestants, Effort(budget=0.0, least=2, most=2))
    assert seen == {"in": {True}, "out": {False}}


def test_median_and_minimum():
    sample = Sample(1, [3.0, 1.0, 2.0, 9.0])
    assert (sample.median, sample.minimum) == (2.5, 1.0)


def test_the_spread_leaves_out_a_tenth_at_either_end():
    assert Sample(1, [float(i) for i in range(11)]).spread == (1.0, 9.0)
    assert Sample(1, [3.0, 1.0, 2.0]).spread == (1.0, 3.0)
    found = Sample(7, [0.001, 0.002, 0.003, 0.004, 0.005]).as_dict()
    assert (found["low_ms"], found["median_ms"], found["high_ms"]) == (1.0, 3.0, 5.0)
    assert (found["rounds"], found["calls_per_round"]) == (5, 7)


def test_peaks_keep_the_best_and_compare_with_copies_of_like_size(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "pydl.bench.machine.copy_rate", lambda size, threads, s: asked.append(size) or 20.0
    )
    peaks = Peaks(1, "float32", 0.001)
    assert peaks.share(5.0, "GB/s", 400_000) == 0.25
    assert peaks.share(10.0, "GB/s", 400_000) == 0.5
    assert asked == [2**19]
    assert peaks.share(1.0, "GFLOP/s", 1) == 1 / peaks.fma
    assert 1 < peaks.fma < 1000
    assert peaks.as_dict()["copy_gb_per_s"] == {str(2**19): 20.0}


def test_what_this_process_does_is_not_counted_as_others():
    before, began = others_seconds(), time.process_time()
    if before is None:
        pytest.skip("this system does not say")
    begin = time.perf_counter()
    while time.process_time() - began < 0.3:
        pass
    busy = others_seconds() - before
    all_but_this = (time.perf_counter() - begin) * os.cpu_count() - 0.3
    assert -0.05 <= busy <= all_but_this + 0.05


def test_blas_is_trusted_with_all_cores(monkeypatch):
    monkeypatch.setattr("pydl.bench.machine.find_spec", lambda name: None)
    monkeypatch.setattr("pydl.bench.machine.usable_cores", lambda: 4)
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYDL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert blas_keeps_to(4)
    assert not blas_keeps_to(2)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    assert blas_keeps_to(2)


# The report


def result(case: str, ratio: float, **more: Any) -> dict[str, Any]:
    """A result with the fields that the summary and the page read."""

    def times(median: float) -> dict[str, float]:
        return {"median_ms": median, "low_ms": 0.9 * median, "high_ms": 1.1 * median}

    base = {
        "operation": "relu_forward",
        "group": "g",
        "threads": 1,
        "case": case,
        "dtype": "float32",
        "unit": "GB/s",
        "work": 2**20,
        "bytes": 2**20,
        "rate": 20.0,
        "share": 0.5,
        "times": {"pydl": times(1.0), "pytorch": times(ratio)},
        "best": {"peer": "pytorch", "ratio": ratio},
    }
    return {**base, "ratios": {"pytorch": ratio}, "errors": {}, "unable": {}, **more}


def run_of(*results: dict[str, Any]) -> dict[str, Any]:
    """What `--json` would hold."""
    return {
        "machine": {**describe({"torch": "2.0"}), "load_average_after": 0.0},
        "contestants": [],
        "absent": {"openvino": "openvino is not installed"},
        "peaks": [
            {
                "threads": 1,
                "dtype": "float32",
                "fma_gflops": 100.0,
                "copy_gb_per_s": {str(2**17): 90.0, str(2**23): 20.0},
            }
        ],
        "results": list(results),
        "summary": report.summary(results, ["pytorch"]),
        "networks": [],
        "overhead": [],
    }


def test_the_summary_has_losses_and_wrong_results():
    wrong = result("c", 1.0, times={}, ratios={}, errors={"pydl": "no"})
    del wrong["best"]
    (entry,) = report.summary([result("a", 4.0), result("b", 0.25), wrong], ["pytorch"])
    assert entry["cases"] == 3 and entry["wrong"] == 1
    assert entry["peers"]["pytorch"] == {
        "geometric_mean": pytest.approx(1.0),
        "minimum": 0.25,
        "minimum_at": "b",
        "slower_on": ["b"],
        "cases": 2,
    }
    text = "\n".join(report.summary_lines([entry]))
    assert "1 of 2, most on b" in text
    assert "WRONG on 1 of 3" in text
    assert entry["best"]["geometric_mean"] == pytest.approx(1.0)
    assert entry["best"]["short"] == [{"case": "b", "peer": "pytorch", "ratio": 0.25}]
    assert " 0.25  g, b, 1 thread: pytorch" in text


def test_only_what_is_beyond_the_spread_is_called_slower():
    assert report.is_slower([result("a", 2.0)], "pytorch")
    assert not report.is_slower([result("a", 1.1)], "pytorch")
    assert not report.is_slower([result("a", 0.5)], "pytorch")
    (line,) = report.verdict_lines([result("a", 2.0), result("b", 1.1)], "pytorch")
    assert "slower: 0.67x the speed" in line
    assert "faster on 0, slower on 1, within the noise on 1 of 2" in line


def test_two_runs_are_compared_within_the_noise():
    before = run_of(result("a", 1.0), result("b", 1.0), result("c", 1.0), result("d", 1.0))
    after = run_of(*(result(case, 1.0) for case in "abce"))
    for r, factor in zip(after["results"], (0.5, 1.5, 1.05, 1.0), strict=True):
        r["times"]["pydl"] = {k: v * factor for k, v in r["times"]["pydl"].items()}
    after["machine"]["cpu"] = "another"
    found = compare_runs(before, after)
    assert [row["verdict"] for row in found["rows"]] == ["faster", "slower", "same"]
    assert found["rows"][0]["ratio"] == pytest.approx(2.0)
    assert (len(found["only_a"]), len(found["only_b"])) == (1, 1)
    text = "\n".join(compare_lines(found))
    assert "in A, another in B" in text
    assert "only in A: 1, g, d, float32, 1 thread" in text
    after["results"][0]["times"]["pytorch"]["median_ms"] = 0.4  # the machine changed, not pydl
    assert compare_runs(before, after)["rows"][0]["verdict"] == "same"
    after["results"][0]["times"] = {}
    assert compare_runs(before, after)["rows"][0]["verdict"] == "wrong"
    with pytest.raises(ValueError, match="a case in common"):
        compare_runs(before, run_of(result("z", 1.0)))
    del after["results"][1]["times"]["pydl"]["low_ms"]
    with pytest.raises(ValueError, match="low_ms"):
        compare_runs(before, after)


def test_a_page_lists_every_loss_and_has_its_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    lost = [result(f"lost {i}", 0.5 + i / 10) for i in range(4)]
    wrong = result("c", 1.0, times={}, ratios={}, errors={"pydl": "pydl: <off> by 1"})
    del wrong["best"]
    found = run_of(*lost, result("won", 3.0), wrong)
    found["results"][0]["unable"] = {"onnxruntime": "no such operator"}
    found["networks"] = [
        {
            "network": "lenet",
            "title": "Training step: one",
            "threads": 1,
            "errors": {},
            "ratios": {"numpy": 2.0},
            "times": {who: {"median_ms": 1.0, "min_ms": 0.9} for who in ("pydl", "numpy")},
        }
    ]
    found["overhead"] = [{"name": "relu_forward", "kind": "kernel", "microseconds": 1.5}]
    written = write_page(found, tmp_path / "page")
    assert [path.name for path in written] == ["index.html", "report.md"]
    html, markdown = (path.read_text() for path in written)
    assert "Cases where a peer is faster: 4 of 5; below 0.9x: 4. Wrong results: 1." in markdown
    for text in (html, markdown):
        losses = text.partition("Losses")[2].partition("Every case")[0]
        assert all(f"lost {i}" in losses for i in range(4)) and "won" not in losses
        assert found["machine"]["cpu"] in text and "openvino is not installed" in text
        assert "no such operator" in text
    assert "&lt;off&gt; by 1" in html
    pictures = set(re.findall(r'src="([^"]+)"', html))
    assert pictures == set(re.findall(r"\]\(([^)]+)\)", markdown))
    assert pictures == {"classes-1.png", "roofline-1.png", "g-1.png", "networks.png"}
    for name in pictures:
        assert (tmp_path / "page" / name).read_bytes().startswith(b"\x89PNG")


def test_a_report_of_an_earlier_run(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    assert main([*ONE_RELU, "--json", "a.json"]) == 0
    assert main(["--from", "a.json", "--report", "page"]) == 0
    assert "wrote page/index.html" in capsys.readouterr().out
    assert "65536" in Path("page/report.md").read_text()
    assert main(["--compare", "a.json", "a.json"]) == 0
    assert "nothing" in capsys.readouterr().out
    assert main([*ONE_RELU, "--json", "c.json", "--report", "a.json"]) == 2  # a.json is no folder
    assert json.loads(Path("c.json").read_text())["results"], "what was measured is not lost"
    capsys.readouterr()
    Path("b.json").write_text("{}")
    assert main(["--from", "b.json"]) == 2
    assert main(["--compare", "a.json", "missing.json"]) == 2
    errors = capsys.readouterr().err
    assert "b.json: expected JSON of `pydl bench --json`" in errors and "missing.json" in errors


# The command


def test_a_table_and_its_json(tmp_path, capsys):
    path = tmp_path / "bench.json"
    assert main([*ONE_RELU, "--json", str(path)]) == 0
    out = capsys.readouterr().out
    found = json.loads(path.read_text())
    (only,) = found["results"]
    assert (only["operation"], only["case"]) == ("relu_forward", "65536")
    assert only["kernels"] == {"relu_forward": kernels.which("relu_forward")}
    own, other = only["times"]["pydl"], only["times"]["numpy"]
    assert 0 < own["min_ms"] <= own["median_ms"]
    assert only["ratios"]["numpy"] == pytest.approx(other["median_ms"] / own["median_ms"])
    assert only["rate"] == pytest.approx(only["work"] / own["median_ms"] / 1e6)
    assert found["machine"]["isa"] == only["isa"]
    assert {"cpu", "cores", "numpy", "python", "pydl", "blas"} <= set(found["machine"])
    assert found["settings"]["threads"] == [1]
    assert found["summary"][0]["peers"]["numpy"]["minimum"] == only["ratios"]["numpy"]
    assert report.line(only, ["numpy"], len("65536")) in out


def test_json_on_standard_output_is_nothing_but_json(capsys):
    assert main([*ONE_RELU, "--json"]) == 0
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)["results"]) == 1
    assert "GB/s" in captured.err


def test_a_wrong_kernel_is_refused(strangers, capsys):
    status = main([*ONE_RELU, "--kernel", f"relu_forward={strangers}:shifted"])
    captured = capsys.readouterr()
    assert status == 1
    assert "refused: relu_forward: relu_forward[" in captured.err
    assert "expected an error of at most" in captured.err
    assert "GB/s" not in captured.out


def test_a_kernel_with_another_signature_is_refused(strangers, capsys):
    assert main([*ONE_RELU, "--kernel", f"relu_forward={strangers}:without_options"]) == 1
    assert "expected a function that takes (x, *, out)" in capsys.readouterr().err


def test_a_right_kernel_is_timed_beside_pydl_s(strangers, tmp_path):
    path = tmp_path / "bench.json"
    arguments = ["--quick", "--threads", "1", "--kernel", f"{strangers}:relu_forward"]
    assert main([*arguments, "--json", str(path)]) in (0, 3)  # NumPy's may be the slower one
    results = json.loads(path.read_text())["results"]
    assert {r["operation"] for r in results} == {"relu_forward"}
    assert set(results[0]["times"]) == {"pydl", "yours", "numpy"}


def test_a_planted_slow_kernel_is_caught(strangers, tmp_path, capsys):
    path = tmp_path / "bench.json"
    status = main([*ONE_RELU, "--kernel", f"relu_forward={strangers}:slow", "--json", str(path)])
    assert status == 3
    assert "yours: slower: 0.0" in capsys.readouterr().out
    (only,) = json.loads(path.read_text())["results"]
    assert only["ratios"]["yours"] > 10


def test_a_planted_wrong_kernel_is_caught_by_check_kernel(strangers, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module(strangers)
    check_kernel("relu_forward", module.slow, dtypes=["float32"], gradients=False)
    with pytest.raises(AssertionError, match=r"relu_forward\[.*expected an error of at most"):
        check_kernel("relu_forward", module.shifted)


def test_the_kernel_s_name_can_follow_from_the_family(strangers):
    args = command._parser().parse_args(["relu", "--kernel", f"{strangers}:shifted"])
    assert command._stranger(args, ["relu"])[0] == "relu_forward"
    with pytest.raises(ValueError, match="expected NAME=MODULE:FUNCTION"):
        command._stranger(args, ["conv"])


def test_a_wrong_result_is_not_timed(tmp_path, capsys):
    path = tmp_path / "bench.json"
    with kernels.swap(relu_forward=lambda x, *, out=None: x):
        assert main([*ONE_RELU, "--json", str(path)]) == 1
    (only,) = json.loads(path.read_text())["results"]
    assert only["times"] == {}
    assert "WRONG" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["attention"], "got 'attention'"),
        (["relu", "--threads", "0"], "threads: expected at least 1, got 0"),
        (["relu", "--kernel", "nothing"], "expected [NAME=]MODULE:FUNCTION"),
        (["relu", "--kernel", "no_such_module:f"], "no_such_module"),
        (["relu", "--kernel", "json:no_such_function"], "no_such_function"),
    ],
)
def test_arguments_that_make_no_sense(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_peers_without_pytorch(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main([*ONE_RELU, "--peers"]) == 0
    assert "PyTorch is not installed" in capsys.readouterr().out


def test_what_follows_peers_may_be_a_kernel():
    for arguments, peers in (
        (["--peers", "relu"], ["numpy", "pytorch"]),
        (["relu", "--peers"], ["numpy", "pytorch"]),
        (["relu", "--peers", "all"], list(ALL_PEERS)),
        (["relu", "--contestants", "openvino, numpy"], ["openvino", "numpy"]),
    ):
        args = command._parser().parse_args(arguments)
        assert command._contestants(args) == peers or set(command._contestants(args)) == set(peers)
        assert args.kernels == ["relu"]


def test_overhead_covers_every_kernel():
    results = time_overhead(0.0)
    assert {r["name"] for r in results if r["kind"] == "kernel"} == set(kernels.kernels())
    networks = [r["name"] for r in results if r["kind"] == "network"]
    assert networks == ["evaluation", "fused", "compiled"]
    assert all(0 < r["microseconds"] < 1e5 for r in results)


def test_the_benchmarks_use_the_same_table():
    sys.path.insert(0, str(Path(__file__).parents[1]))
    try:
        from benchmarks import cases
    finally:
        sys.path.pop(0)
    assert cases.CASES is CASES
    assert isinstance(cases.CASES[0], Case)
