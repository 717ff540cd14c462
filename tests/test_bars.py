"""The scripts that judge: benchmarks/bars.py and benchmarks/winograd_accuracy.py."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import pydl
from pydl import kernels, nn
from pydl.bench.cases import CASES
from pydl.bench.machine import describe

ALONE = ["--quick", "--threads", "1", "--contestants", "numpy"]


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, which finds others beside it."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    for name in ("bars", "neighbour", "zoo", "memory"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("bars")


def run_of(**ratios: float) -> dict[str, Any]:
    """What a run of the cross-entropies would have written: peers' ratios by case."""
    def result(case: str, ratio: float) -> dict[str, Any]:
        times = {"pydl": {"median_ms": 1.0}, "pytorch": {"median_ms": ratio}}
        return {"operation": "softmax_cross_entropy", "case": case, "threads": 1, "errors": {},
                "times": times, "ratios": {"numpy": 9.0, "pytorch": ratio}}  # fmt: skip

    results = [result(case, ratio) for case, ratio in ratios.items()]
    part = {"failed": "", "seconds": 6.0, "others": 0.02, "results": results}
    return {"settings": {"quick": False, "budget": 0.05}, "contestants": ["pydl", "pytorch"],
            "absent": {"openvino": "openvino is not installed"}, "machine": describe(),
            "parts": {"cross-entropy, 1 thread": part}}  # fmt: skip


def printed(bars: ModuleType, tmp_path: Path, capsys: Any, found: Any) -> tuple[int, str]:
    (tmp_path / "run.json").write_text(json.dumps(found))
    status = bars.main(["--from", str(tmp_path / "run.json"), "--classes", "cross-entropy"])
    return status, capsys.readouterr().out


def test_every_class_has_its_bar_and_its_cases(bars):
    wanted = {bar.key: bar.wanted for bar in bars.BARS}
    assert len(wanted) == len(bars.BARS) == 20
    assert wanted["conv2d-backward-3x3"] == wanted["conv2d-forward-3x3"] == 1.6
    assert [bar.key for bar in bars.BARS if bar.at_most] == ["neighbour", "memory"]
    names = {f"{case.operation} {case.name}" for case in CASES}
    wide = next(bar.only for bar in bars.BARS if bar.key == "conv2d-backward-3x3")
    assert wide < names and len(wide) == 28
    assert "conv2d_backward vgg16 512-512 3x3@14 n8" in wide
    assert not any("@13" in name or "@7 " in name or " 3-64 " in name or "s2@" in name
                   for name in wide)  # fmt: skip
    small = [case.name for case in CASES if case.operation == "linear_backward"
             and int(case.name.rpartition(" n")[2]) <= bars.SMALL_BATCH]  # fmt: skip
    assert "vgg16 25088-4096 n8" in small and "lenet 3136-512 n64" not in small


def test_classes_are_chosen_by_parts_of_their_keys(bars, capsys):
    assert [bar.key for bar in bars.chosen(["cross", "3x3"])] == [
        "conv2d-forward-3x3", "conv2d-backward-3x3", "cross-entropy"]  # fmt: skip
    assert bars.main(["--classes", "attention"]) == 2
    assert "classes: expected a part of one of conv2d-forward, " in capsys.readouterr().err


def test_a_bar_is_reached_or_missed_and_losses_are_listed(bars, tmp_path, capsys):
    status, out = printed(bars, tmp_path, capsys, run_of(a=9.5, b=1.2))
    assert status == 0
    assert "| 3x | 3.286 (2) | 1.20 softmax_cross_entropy b | reached |" in out  # numpy's 9 in a
    assert "No case is below 0.9x." in out
    assert "openvino is not installed" in out and "0.1 minutes" in out
    status, out = printed(bars, tmp_path, capsys, run_of(a=4.0, b=0.5, c=0.8))
    assert status == 0, "a bar that is missed is no error"
    assert "| 1.170 (3) | 0.50 softmax_cross_entropy b | **MISSED** |" in out
    below = out.partition("Below 0.9x of the case's best peer, 2:")[2]
    assert below.index("| 0.50 | softmax_cross_entropy b | 1 | pytorch |") < below.index("| 0.80 |")


def test_other_processes_at_work_are_named(bars, tmp_path, capsys, monkeypatch):
    run = run_of(a=9.0)
    assert "isturbed" not in printed(bars, tmp_path, capsys, run)[1]
    run["parts"]["cross-entropy, 1 thread"]["others"] = 0.5
    out = printed(bars, tmp_path, capsys, run)[1]
    assert "reached, disturbed |" in out and "* cross-entropy, 1 thread: 50%" in out
    seconds = iter([10.0, 1e6])
    monkeypatch.setattr(bars, "others_seconds", lambda: next(seconds))
    assert bars.main([*ALONE, "--classes", "cross"]) == 0
    assert "disturbed |" in capsys.readouterr().out
    monkeypatch.setattr(bars, "others_seconds", lambda: None)  # where the system does not say
    assert bars.main([*ALONE, "--classes", "cross"]) == 0
    assert "isturbed" not in capsys.readouterr().out


def test_at_most_is_judged_by_the_worst(bars):
    neighbour = next(bar for bar in bars.BARS if bar.key == "neighbour")
    part = {"failed": "", "seconds": 1.0, "others": 0.0, "results": [
        {"network": name, "batch": 0, "threads": 2, "errors": {}, "ratios": {"undisturbed": ratio},
         "times": {"pydl": {"median_ms": ratio}, "undisturbed": {"median_ms": 1.0}}}
        for name, ratio in (("steps", 1.1), ("more", 1.7))]}  # fmt: skip
    found = {**run_of(), "parts": {"busy neighbour, 2 threads": part}}
    text = "\n".join(bars.lines(found, [neighbour], [2]))
    assert "at most 1.6x | 1.367 (2) | 1.70 more | **MISSED** |" in text
    assert "* more, 2 threads: busy 1.7 ms, undisturbed 1.0 ms" in text


def test_compiled_inference_counts_two_peers_alone(bars):
    inference = next(bar for bar in bars.BARS if bar.key == "inference")
    ratios = {"pytorch": 0.5, "onnxruntime": 1.3, "openvino": 1.2}
    step = {"network": "resnet18", "batch": 8, "ratios": ratios}
    assert inference.cases([step]) == {"resnet18, batch 8": (1.2, "openvino")}
    assert inference.cases([{**step, "ratios": {"pytorch": 0.5}}]) == {}


def test_a_run_is_kept_and_continued(bars, tmp_path, capsys, monkeypatch):
    path = str(tmp_path / "bars.json")
    assert bars.main([*ALONE, "--classes", "cross", "depthwise", "--json", path]) == 0
    out = capsys.readouterr().out
    assert "QUICK" in out and "| softmax cross-entropy, forward and backward | 3x |" in out
    parts = json.loads(Path(path).read_text())["parts"]
    assert list(parts) == [f"{name}, 1 thread" for name in (
        "depthwise forward", "depthwise backward", "cross-entropy")]  # fmt: skip
    (result,) = parts["cross-entropy, 1 thread"]["results"]
    assert set(result["times"]) == {"pydl", "numpy"} and result["dtype"] == "float32"
    seen = []

    def spy(table: Any, cases: Any) -> Iterator[dict[str, Any]]:
        seen.extend(case.operation for case in cases)
        yield from ()

    monkeypatch.setattr(bars, "time_cases", spy)
    assert bars.main([*ALONE, "--classes", "cross", "linear", "--json", path]) == 0
    assert seen == ["linear_backward"], "the cross-entropy is in the file"
    assert "no peer ran it" in capsys.readouterr().out
    assert bars.main([*ALONE, "--classes", "cross", "--json", path, "--again"]) == 0
    assert seen[1:] == ["softmax_cross_entropy"]
    assert "depthwise forward, 1 thread" in json.loads(Path(path).read_text())["parts"]
    assert bars.main([*ALONE[:-1], "", "--json", path, "--classes", "cross"]) == 2
    assert "expected a run with contestants ['pydl'], got" in capsys.readouterr().err


def test_what_fails_loses_nothing_else(bars, tmp_path, capsys, monkeypatch):
    measured = bars.time_cases

    def half(table: Any, cases: Any) -> Iterator[dict[str, Any]]:
        yield from measured(table, cases[:1])
        if len(cases) > 1:
            raise MemoryError("no room")

    monkeypatch.setattr(bars, "time_cases", half)
    path = str(tmp_path / "bars.json")
    given = [*ALONE, "--json", path, "--classes", "cross", "pooling-forward"]
    assert bars.main([*given, "memory"]) == 0
    captured = capsys.readouterr()
    assert "pooling forward, 1 thread: MemoryError: no room" in captured.out
    assert "peak memory, 1 thread: RuntimeError: PyTorch does not take part" in captured.out
    assert ", incomplete" in captured.out and "(1) |" in captured.out
    monkeypatch.setattr(bars, "time_cases", measured)
    assert bars.main(given) == 0
    out = capsys.readouterr().out
    assert "no room" not in out and "incomplete" not in out, "what failed is measured again"


def test_the_networks_say_what_they_need(bars, capsys):
    assert bars.main([*ALONE, "--classes", "inference"]) == 0
    out = capsys.readouterr().out
    assert "resnet18, inference, 1 thread: RuntimeError: needs PyTorch and torchvision" in out


def test_a_wrong_result_is_the_only_error(bars, capsys):
    with kernels.swap(softmax_cross_entropy_backward=lambda dloss, probs, labels, **_: probs):
        assert bars.main([*ALONE, "--classes", "cross"]) == 1
    out = capsys.readouterr().out
    assert "Wrong results:" in out and "* softmax_cross_entropy 32x1000, 1 thread, pydl: " in out


@pytest.mark.parametrize("arguments, message", [
    (["--threads", "0"], "threads: expected at least 1, got 0"),
    (["--budget", "0"], "budget: expected seconds above 0, got 0"),
    (["--contestants", "jax"], "got 'jax'"),
    (["--from", "nothing.json"], "nothing.json"),
    (["--json", "other.json"], "other.json: expected JSON of bars.py, without settings"),
])  # fmt: skip
def test_arguments_that_make_no_sense(bars, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("other.json").write_text("{}")
    assert bars.main(["--quick", "--classes", "cross", *arguments]) == 2
    assert message in capsys.readouterr().err


# What Winograd's algorithm costs in accuracy, benchmarks/winograd_accuracy.py


@pytest.fixture
def accuracy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module("winograd_accuracy")


def test_errors_are_shares_of_the_bound(accuracy, monkeypatch):
    lines, right = accuracy.error_lines(8)
    assert right and sum(int(line.split("|")[3]) for line in lines[4:]) == 3 * 8
    found = list(accuracy.winograd_errors(2, np.random.default_rng(0)))
    wrong = [found[0]._replace(error=2.5 * found[0].limit)]
    monkeypatch.setattr(accuracy, "winograd_errors", lambda count, rng: wrong)
    lines, right = accuracy.error_lines(1)
    assert not right and "| 2.500 | 2.500 |" in lines[-1]


def test_what_auto_chooses_is_told_by_the_bits(accuracy, monkeypatch):
    wide = (2, 64, 28, 28), (64, 64, 3, 3), (1, 1)
    narrow = (1, 8, 7, 7), (8, 8, 3, 3), (1, 1)
    with accuracy.winograd(True):
        assert accuracy.chosen_by_auto(wide) == ["y", "dx", "dw"]
        assert accuracy.chosen_by_auto(narrow) == []
    with accuracy.winograd(False):
        assert accuracy.chosen_by_auto(wide) == []
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                          nn.Conv2d(8, 4, 5, padding=2))  # fmt: skip
    layers = list(accuracy.convolutions(model, np.zeros((3, 1, 8, 8), np.float32)))
    assert layers == [((3, 1, 8, 8), (8, 1, 3, 3), (1, 1)), ((3, 8, 4, 4), (4, 8, 5, 5), (2, 2))]
    monkeypatch.setattr(accuracy, "BATCH", 1)
    small = accuracy.Training("small", lambda: model, (1, 8, 8), 1, None, 0)
    with accuracy.winograd(True), pytest.raises(AssertionError, match="small: expected a layer"):
        accuracy.layer_lines(small)


@pytest.mark.parametrize("with_it, same", [(0.97, True), (0.90, False)])
def test_accuracies_with_and_without_are_compared(accuracy, with_it, same):
    seen = []

    def run(seed: int, epochs: int) -> Any:
        on = pydl.get_winograd()
        seen.append((seed, on, epochs))
        return SimpleNamespace(
            validation_accuracy=[0.0, with_it if on else 0.98], validation_loss=[1.0, 0.1])

    before = pydl.get_winograd()
    training = accuracy.Training("fake", None, (1, 8, 8), 9, run, 100)
    lines, equal = accuracy.training_lines(training, 3, 9)
    assert equal is same and pydl.get_winograd() is before
    assert seen == [(seed, on, 9) for seed in range(3) for on in (False, True)]
    assert f"| mean | 98.00% | {with_it:.2%} | | |" in lines
    assert lines[2].startswith("| 0 | 98.00% (98 of 100) | ")
