"""Every way over the whole set, scored, counted and held against the goals."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from PIL import Image

from scripts.bench.cost import in_child
from scripts.bench.cutout import ways
from scripts.bench.cutout.scenes import CLASSES, Case, Picture, cases
from scripts.bench.cutout.scores import Score, score
from scripts.bench.measure import Row, at_least, at_most, megapixels, scaled

TITLE: Final = "Cut-outs, against mattes that are known"
_TWELVE: Final = (4000, 3000)
_PRODUCT: Final = list(ways.WAYS)[-1]
"""The way that the goals are for: what the product does by default."""
_PLAIN: Final = ("white", "grey")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one way made of one case. score: None where the picture was refused."""

    kind: str
    case: str
    way: str
    method: str
    confidence: float | None
    warned: bool
    score: Score | None

    @property
    def acceptable(self) -> bool:
        return self.score is not None and self.score.acceptable

    @property
    def silently_wrong(self) -> bool:
        return self.score is not None and self.score.wrong and not self.warned


def run(
    every: int = 1,
    seen: Callable[[Case, Picture, dict[str, ways.Cutout]], None] | None = None,
    scale: float = 1,
) -> tuple[list[Row], list[Outcome]]:
    """every: only each n-th case of the set. seen: told of every case with what the ways made of it. scale: sides of
    the picture whose time and memory are measured, as a part of those of 12 MP."""
    ways.load_models()
    outcomes = []
    for case in islice(cases(), 0, None, every):
        picture = case.make()
        made = ways.every_way(picture.image)
        outcomes += [_outcome(case, picture, name, cut) for name, cut in made.items()]
        if seen is not None:
            seen(case, picture, made)
    return [*_summary(outcomes), *_goals(outcomes), *_costs(scale)], outcomes


def figures(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    """Each outcome as a plain mapping, for a file."""
    return [
        {
            "class": one.kind,
            "case": one.case,
            "way": one.way,
            "method": one.method,
            "confidence": one.confidence,
            "warned": one.warned,
            "refused": one.score is None,
            **({name: getattr(one.score, name) for name in Score.__slots__} if one.score else {}),
        }
        for one in outcomes
    ]


def _outcome(case: Case, picture: Picture, way: str, cut: ways.Cutout) -> Outcome:
    found = None if cut.image is None else score(cut.image, picture)
    return Outcome(case.kind, case.name, way, cut.method, cut.confidence, cut.warned, found)


def _summary(outcomes: list[Outcome]) -> list[Row]:
    """A line for each class and way: means over the results, counts over all pictures, and the three worst."""
    rows = []
    for kind in CLASSES:
        for way in dict.fromkeys(one.way for one in outcomes):
            mine = [one for one in outcomes if (one.kind, one.way) == (kind, way)]
            if mine:
                rows.append(_line(f"{kind}, {way}", mine))
    return rows


def _line(name: str, mine: list[Outcome]) -> Row:
    made = [one for one in mine if one.score is not None]
    scores = [one.score for one in made if one.score is not None]
    counts = (
        f"{sum(one.acceptable for one in mine)}/{len(mine)} good, {len(mine) - len(made)} refused, "
        f"{sum(one.silently_wrong for one in mine)} wrong"
    )
    if not scores:
        return Row(name, "no result", note=counts)
    iou = statistics.fmean(one.iou for one in scores)
    sharp = sum(one.iou >= 0.98 for one in scores)
    value = (
        f"IoU {iou:.3f} ({sharp} >= 0.98) alpha {statistics.fmean(one.alpha_error for one in scores):.4f} "
        f"gradient {statistics.fmean(one.gradient_error for one in scores):.2f} "
        f"F {statistics.fmean(one.boundary for one in scores):.3f} "
        f"halo {statistics.fmean(one.halo for one in scores if one.halo is not None):.1f}"
    )
    worst = sorted(made, key=lambda one: one.score.iou if one.score else 0)[:3]
    named = ", ".join(
        f"{one.case} {one.score.iou:.2f}" for one in worst if one.score and one.score.iou < 0.95
    )
    return Row(name, value, note=f"{counts}; {named}" if named else counts, figure=iou)


def _goals(outcomes: list[Outcome]) -> list[Row]:
    product = [one for one in outcomes if one.way == _PRODUCT]
    natural = [one for one in product if one.kind == "natural"]
    plain = [one for one in product if one.kind in _PLAIN]
    rows = []
    if natural:
        wrong = sum(one.silently_wrong for one in natural)
        rows += [
            _share("natural, acceptable", natural, lambda one: one.acceptable),
            Row("natural, wrong without a warning", str(wrong), "0", wrong == 0, figure=float(wrong)),
            at_most("natural, mean alpha error", _mean(natural, "alpha_error"), 0.02, unit=""),
            at_least("natural, boundary F", _mean(natural, "boundary"), 0.9, unit=""),
        ]
    if plain:
        rows += [
            _share(
                "products on paper, IoU >= 0.98", plain, lambda one: bool(one.score and one.score.iou >= 0.98)
            ),
            at_most("products on paper, mean alpha error", _mean(plain, "alpha_error"), 0.005, unit=""),
        ]
    return rows


def _share(name: str, of: list[Outcome], holds: Callable[[Outcome], bool]) -> Row:
    return at_least(name, 100 * sum(map(holds, of)) / len(of), 95, unit="%")


def _mean(of: list[Outcome], measure: str) -> float:
    return statistics.fmean(
        [getattr(one.score, measure) for one in of if one.score is not None] or [float("nan")]
    )


def _costs(scale: float) -> list[Row]:
    """A large picture of the set, in a process of its own for every way that the product runs."""
    case = next(case for case in cases() if case.kind == "natural")
    size = scaled(_TWELVE, scale)
    label = megapixels(size)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        case.make().image.resize(size, Image.Resampling.BICUBIC).save(path, compress_level=1)
        for name in ways.WAYS:
            cost = in_child(_ready, name, path)
            note = f"{cost.whole:.0f} MB in all"
            if name == _PRODUCT:
                rows.append(at_most(f"{label}, {name}, processor time", cost.seconds, 1.5, "s"))
                rows.append(at_most(f"{label}, {name}, peak memory", cost.grown, 500, "MB", note))
            else:
                rows.append(Row(f"{label}, {name}", f"{cost.seconds:.2f} s, {cost.grown:.0f} MB", note=note))
    return rows


def _ready(name: str, path: Path) -> Callable[[], object]:
    """A way with its model opened and warm, and a picture decoded."""
    ways.load_models()
    way = ways.WAYS[name]
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    way(picture.resize((160, 120)))
    return lambda: way(picture)
