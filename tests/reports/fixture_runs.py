"""Run directories as training leaves them, made of seeded random predictions: one for each kind of head."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

WORDS = [
    "a",
    "film",
    "of",
    "rare",
    "charm",
    "and",
    "quiet",
    "wit",
    "that",
    "never",
    "finds",
    "its",
    "feet",
    "but",
    "you",
]
DEPARTMENTS = ("交通局", "衛生局", "教育局", "社會局", "環保局", "都發局")
QUESTIONS = (
    "請問公車路線如何查詢",
    "流感疫苗哪裡可以施打",
    "國小新生入學怎麼辦理",
    "老人津貼申請資格為何",
    "大型廢棄物如何清運",
)


def write_run(
    directory: Path,
    kind: str = "single",
    *,
    rows: int = 400,
    skill: float = 1.8,
    seed: int = 0,
    model: str = "tiny",
    task: str = "demo",
    options: dict[str, Any] | None = None,
    parameters: int = 22_713_986,
    finished: bool = True,
) -> Path:
    """A run directory of the given kind; `skill` is how well its predictions agree with the labels."""
    make = {
        "single": _single,
        "many": _many,
        "multi": _multi,
        "regression": _regression,
        "entities": _entities,
        "mlm": _mlm,
    }
    rng = np.random.default_rng(seed)
    data = np.random.default_rng(99)
    head, primary, splits = make[kind](rng, data, rows, skill)
    (directory / "predictions").mkdir(parents=True)
    for split, (_, items) in splits.items():
        lines = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
        if items:
            (directory / "predictions" / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    validation = splits["validation"][0]
    _write(directory / "run.json", _record(head, primary, seed, model, task, options or {}))
    history = "".join(json.dumps(line) + "\n" for line in _history(rng, validation, primary))
    (directory / "metrics.jsonl").write_text(history, encoding="utf-8")
    if finished:
        train = {
            "samples_per_second": 311.4 + seed,
            "tokens_per_second": 4021.0,
            "peak_memory_mb": 1312.0,
            "peak_memory_mb_by_rank": [1312.0, 850.0],
            "seconds": 214.9 + 10 * seed,
            "parameters": parameters,
            "trainable_parameters": parameters,
        }
        summary = {"task": task, "model": model, "updates": 300, "epochs": 3.0, "best_update": 200, "train": train}
        _write(directory / "metrics.json", summary | {split: found for split, (found, _) in splits.items()})
    return directory


def _record(
    head: dict[str, Any], primary: str, seed: int, model: str, task: str, options: dict[str, Any]
) -> dict[str, Any]:
    return {
        "schema": 1,
        "status": "finished",
        "task": {"name": task, "options": {}, "origin": {}},
        "model": {"name": model, "options": {}, "origin": {}, "source": {"path": ""}},
        "head": {"labels": [], "problem": "single_label", "label_weights": [], **head},
        "options": {"task": task, "model": model, "learning_rate": 5e-5, "epochs": 3.0, "seed": seed, **options},
        "seed": seed,
        "primary_metric": primary,
        "minimize": primary == "perplexity",
        "engine": "1 process on cpu",
        "precision": "bf16",
        "device": "cpu",
        "checks": {
            "rows": {"train": 3000, "validation": 400, "test": 400},
            "labels": {"train": {"negative": 1800, "positive": 1200}, "validation": {"negative": 240, "positive": 160}},
            "unlabelled": {"train": 0, "validation": 0, "test": 0},
            "invalid": {},
            "duplicates": 12,
            "conflicts": {"texts": 2, "examples": ["train.tsv, line 12 and train.tsv, line 80"]},
            "leaks": {"validation": 3, "test": 0},
            "dropped_leaks": 0,
        },
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
    }


def _history(rng: np.random.Generator, final: dict[str, float], primary: str) -> list[dict[str, Any]]:
    target = final[primary]
    chance = target * 4 if primary == "perplexity" else target * 0.5
    lines = [{"update": 0, "epoch": 0.0, "split": "validation", "loss": 0.71, primary: chance}]
    for update in range(10, 301, 10):
        share = 1 - np.exp(-update / 80)
        loss = 0.7 - 0.5 * share + rng.normal(0, 0.02)
        place = {"update": update, "epoch": update / 100}
        rate = {"learning_rate": 5e-5 * (1 - update / 300), "grad_norm": float(rng.gamma(3, 0.4))}
        lines.append({**place, "split": "train", "loss": float(loss), **rate})
        if update % 50 == 0:
            trained = float(chance + (target - chance) * share)
            lines.append({**place, "split": "train", primary: trained})
            value = float(chance + (target - chance) * (share - 0.02))
            lines.append({**place, "split": "validation", "loss": float(loss + 0.05), primary: value})
    return lines


def _text(rng: np.random.Generator, length: int = 14) -> str:
    return " ".join(rng.choice(WORDS, length))


def _softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(odds / odds.sum(-1, keepdims=True))


def _classified(
    rng: np.random.Generator,
    data: np.random.Generator,
    names: Sequence[str],
    rows: int,
    skill: float,
    texts: dict[str, Sequence[str]],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    from registry.tasks import measures

    truth = data.integers(len(names), size=rows)
    hard = data.normal(0, 1, size=(rows, len(names)))
    logits = hard + rng.normal(0, 0.7, size=(rows, len(names)))
    logits[np.arange(rows), truth] += skill
    scores = _softmax(1.5 * logits)
    items = [
        {
            "row": i,
            **{name: values[i % len(values)] for name, values in texts.items()},
            "label": names[truth[i]],
            "prediction": names[int(scores[i].argmax())],
            "scores": {name: float(s) for name, s in zip(names, scores[i], strict=True)},
        }
        for i in range(rows)
    ]
    return {"loss": 0.31, **measures.single_label(truth, scores, list(names))}, items


def _single(rng: np.random.Generator, data: np.random.Generator, rows: int, skill: float) -> Any:
    names = ("negative", "positive")
    texts = {"text": [_text(data, int(data.integers(5, 150))) for _ in range(97)]}
    splits = {name: _classified(rng, data, names, rows, skill, texts) for name in ("validation", "test")}
    return {"kind": "sequence-classification", "labels": names}, "accuracy", splits


def _many(rng: np.random.Generator, data: np.random.Generator, rows: int, skill: float) -> Any:
    names = tuple(f"{name}{group}科" for name in DEPARTMENTS for group in "一二三四")
    texts = {"question": [f"{question}？" for question in QUESTIONS]}
    found, items = _classified(rng, data, names, rows, skill + 1, texts)
    found["mrr"] = 0.5
    return {"kind": "sequence-classification", "labels": names}, "accuracy", {"validation": (found, items)}


def _multi(rng: np.random.Generator, data: np.random.Generator, rows: int, skill: float) -> Any:
    from registry.tasks import measures

    names = ("joy", "anger", "surprise", "悲傷")
    truth = (data.random((rows, 4)) < 0.35).astype(int)
    scores = 1 / (1 + np.exp(-(2 * skill * (truth - 0.5) + rng.normal(0, 1.0, truth.shape))))
    items = [
        {
            "row": i, "text": _text(data), "label": [n for n, t in zip(names, truth[i], strict=True) if t],
            "prediction": [n for n, s in zip(names, scores[i], strict=True) if s >= 0.5],
            "scores": {n: float(s) for n, s in zip(names, scores[i], strict=True)},
        }
        for i in range(rows)
    ]  # fmt: skip
    found = {"loss": 0.4, **measures.multi_label(truth, scores, names, 0.5)}
    return (
        {"kind": "sequence-classification", "labels": names, "problem": "multi_label"},
        "f1",
        {"validation": (found, items)},
    )


def _regression(rng: np.random.Generator, data: np.random.Generator, rows: int, skill: float) -> Any:
    from registry.tasks import measures

    truth = data.uniform(0, 5, rows)
    guess = truth + rng.normal(0, 1.5 / skill, rows)
    items = [
        {
            "row": i,
            "text": _text(data, 8),
            "text_pair": _text(data, 8),
            "label": float(truth[i]),
            "prediction": float(guess[i]),
        }
        for i in range(rows)
    ]
    found = {"loss": 0.6, **measures.regression(truth, guess)}
    return {"kind": "sequence-classification", "problem": "regression"}, "spearman", {"validation": (found, items)}


def _entities(rng: np.random.Generator, data: np.random.Generator, rows: int, skill: float) -> Any:
    names = [("Angela Merkel", "PER"), ("Berlin", "LOC"), ("歐盟", "ORG"), ("World Cup", "MISC"), ("臺北市政府", "ORG")]
    items = []
    counts = np.zeros(3)
    for i in range(rows):
        text, truth, guess = "", [], []
        for _ in range(3):
            text += " ".join(data.choice(WORDS, 4)) + " "
            name, kind = names[data.integers(len(names))]
            span = {"type": kind, "start": len(text), "end": len(text) + len(name), "text": name}
            truth.append(span)
            drawn = rng.random()
            if drawn < 0.1 * skill + 0.7:
                guess.append({**span, "score": 0.98})
            elif drawn < 0.95:
                guess.append({**span, "type": names[rng.integers(5)][1], "end": span["end"] - 1, "score": 0.6})
            text += name + " "
        found = len(
            {tuple(s[k] for k in ("type", "start", "end")) for s in truth}
            & {tuple(s[k] for k in ("type", "start", "end")) for s in guess}
        )
        counts += [found, len(guess), len(truth)]
        items.append({"row": i, "text": text, "label": truth, "prediction": guess})
    precision, recall = counts[0] / counts[1], counts[0] / counts[2]
    metrics = {
        "loss": 0.1,
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall),
    }
    labels = ["O", *[f"{prefix}-{kind}" for kind in ("LOC", "MISC", "ORG", "PER") for prefix in "BI"]]
    return {"kind": "token-classification", "labels": labels}, "f1", {"validation": (metrics, items)}


def _triples(entities: list[dict[str, Any]]) -> set[tuple[str, int, int]]:
    return {(entity["type"], entity["start"], entity["end"]) for entity in entities}


def _mlm(rng: np.random.Generator, data: np.random.Generator, rows: int, skill: float) -> Any:
    return (
        {"kind": "masked-lm"},
        "perplexity",
        {"validation": ({"loss": 2.1, "perplexity": 8.2, "masked_accuracy": 0.58}, [])},
    )


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, ensure_ascii=False, indent=2), encoding="utf-8")
