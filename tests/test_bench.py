"""The benchmark's table of cases, its contestants, its timing and its command."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pydl import kernels
from pydl.bench import command, main, numpy_kernels, report, torch_kernels
from pydl.bench.cases import CASES, Case, select
from pydl.bench.language import CharStep, Generation, _InNumpy
from pydl.bench.layers import CONVOLUTIONS
from pydl.bench.machine import Peaks, blas_keeps_to
from pydl.bench.networks import NETWORKS, Step, _numpy_step, small_vgg
from pydl.bench.overhead import time_overhead
from pydl.bench.table import check_case
from pydl.bench.timing import Contestant, Effort, Sample, measure
from pydl.testing import check_kernel

ONE_RELU = ["relu_forward", "--quick", "--threads", "1"]
SMALL = sorted({c.operation: c for c in CASES if c.quick}.values(), key=str)

STRANGERS = """
import numpy as np

def relu_forward(x, *, out=None):
    return np.maximum(x, 0, out=out)

def shifted(x, *, out=None):
    return np.maximum(x, 0, out=out) + 1e-3

def without_options(x):
    return x
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


# The timing


def test_contestants_take_turns():
    calls: list[str] = []
    contestants = [Contestant(n, lambda n=n: calls.append(n)) for n in "ab"]
    samples = measure(contestants, Effort(budget=0.0, least=4, most=4))
    assert [len(s.seconds) for s in samples.values()] == [4, 4]
    turns = [n for n, previous in zip(calls, [None, *calls], strict=False) if n != previous]
    assert turns == list("ab" * 5)


def test_a_slow_contestant_takes_part_less_often():
    import time

    fast = Contestant("fast", lambda: None)
    slow = Contestant("slow", lambda: time.sleep(0.005))
    samples = measure([fast, slow], Effort(budget=0.02, least=5, most=12))
    assert len(samples["fast"].seconds) == 12
    assert 3 <= len(samples["slow"].seconds) < 12
    assert samples["slow"].minimum >= 0.005


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
    """A result with the fields that the summary reads."""
    base = {"group": "g", "threads": 1, "case": case, "times": {"pydl": {}}, "share": 0.5}
    return {**base, "ratios": {"pytorch": ratio}, "errors": {}, **more}


def test_the_summary_has_losses_and_wrong_results():
    wrong = result("c", 1.0, times={}, ratios={}, errors={"pydl": "no"})
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
    assert main([*arguments, "--json", str(path)]) == 0
    results = json.loads(path.read_text())["results"]
    assert {r["operation"] for r in results} == {"relu_forward"}
    assert set(results[0]["times"]) == {"pydl", "yours", "numpy"}


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


def test_overhead_covers_every_kernel():
    results = time_overhead(0.0)
    assert {r["name"] for r in results if r["kind"] == "kernel"} == set(kernels.kernels())
    assert all(0 < r["microseconds"] < 1e5 for r in results)


def test_the_benchmarks_use_the_same_table():
    sys.path.insert(0, str(Path(__file__).parents[1]))
    try:
        from benchmarks import cases
    finally:
        sys.path.pop(0)
    assert cases.CASES is CASES
    assert isinstance(cases.CASES[0], Case)
