"""An evaluation as one HTML page that needs nothing else: no network, no other file."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import date
from html import escape
from pathlib import Path

import torch

from napari_pml.evaluation.charts import region_chart
from napari_pml.evaluation.davis import DavisSequence
from napari_pml.evaluation.published import PUBLISHED, PUBLISHED_ON
from napari_pml.evaluation.results import DatasetResult, Score, Unscored, mean_score
from napari_pml.evaluation.worst_frames import MISSED, RIGHT, WRONG, picture, worst_frames
from napari_pml.io.destination import written

N_PICTURES = 12
"""Worst frames that are shown: the page stays a few megabytes."""

MEASURES = ("J mean", "J recall", "J decay", "F mean", "F recall", "F decay", "J&F")
"""The columns of a score."""

STYLE = """
:root { --ink: #1d2430; --soft: #667085; --line: #e3e7ee; --ours: #eef4ff; --accent: #2563eb; --paper: #fff; }
* { box-sizing: border-box; }
body { margin: 0; background: #f5f7fa; color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 36px 24px 60px; }
h1 { margin: 0; font-size: 27px; letter-spacing: -0.01em; }
h2 { margin: 0 0 12px; font-size: 18px; }
p { margin: 6px 0 0; color: var(--soft); }
section { margin-top: 22px; padding: 20px 22px; background: var(--paper); border: 1px solid var(--line);
  border-radius: 12px; overflow-x: auto; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 14px; margin-top: 22px; }
.card { padding: 14px 18px; background: var(--paper); border: 1px solid var(--line); border-radius: 12px; }
.card b { display: block; font-size: 28px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: 13px; }
.card.main { background: var(--accent); border-color: var(--accent); color: #fff; }
.card.main span { color: #dbe7ff; }
.remark { border-left: 4px solid #d99a1c; background: #fff9ec; }
.remark p, .wrong p { margin: 0; color: inherit; }
.wrong { border-left: 4px solid #c93434; background: #fff1f0; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 10px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-size: 12.5px; font-weight: 600; vertical-align: bottom; }
th:first-child, td:first-child, th.words, td.words { text-align: left; }
.words { white-space: normal; color: var(--soft); font-size: 13px; min-width: 210px; }
tr.ours { background: var(--ours); font-weight: 600; }
tr:last-child td { border-bottom: 0; }
.bar { background: linear-gradient(90deg, #d7e5ff var(--share), transparent var(--share)) no-repeat; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(310px, 1fr)); gap: 18px 20px; }
figure { margin: 0; }
figcaption { font-size: 13.5px; display: flex; justify-content: space-between; gap: 10px; }
figcaption span { color: var(--soft); font-variant-numeric: tabular-nums; white-space: nowrap; }
img { display: block; width: 100%; border-radius: 8px; margin-bottom: 5px; background: #000; }
.legend i { display: inline-block; width: 12px; height: 12px; margin: 0 6px 0 14px; border: 1px solid #aab2c0;
  border-radius: 3px; vertical-align: -1px; }
.legend i:first-child { margin-left: 0; }
svg { display: block; width: 100%; }
svg text { font: 10.5px system-ui, sans-serif; fill: var(--soft); }
svg .level { stroke: var(--line); }
svg .threshold { stroke: #c4cad6; stroke-dasharray: 3 3; }
svg polyline { fill: none; stroke-linejoin: round; }
svg .mean { stroke: var(--accent); stroke-width: 2; }
svg circle { fill: var(--accent); }
svg .object { stroke: #6f8fcb; stroke-width: 1; }
summary { cursor: pointer; font-weight: 600; }
details[open] summary { margin-bottom: 10px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 5px 18px; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
@media print { body { background: #fff; } section, figure { break-inside: avoid; } }
"""


def write_report(found: DatasetResult, sequences: list[DavisSequence], out: Path) -> Path:
    """Write report.html.

    Args:
        found: the results.
        sequences: the videos of the dataset, at least those that have a result.
        out: folder of the evaluation, with the masks.

    Returns:
        The path of the page.

    Raises:
        ExportError: it cannot be written.
        PmlError: an image or a mask cannot be read any more.
    """
    title = escape(f"{found.setup.dataset}: segmented from the first mask")
    body = [
        f"<h1>{title}</h1>",
        f"<p>{_intro(found)}</p>",
        _cards(found),
        _notice(found.remark, "remark"),
        *(_missing(unscored) for unscored in found.unscored),
        _section("Beside published results", _beside_published(found)),
        _section("Sequences", _sequence_table(found)),
        _object_table(found),
        _section("J over time", _charts(found)),
        _section("Where it is worst", _worst(found, sequences, out)),
        _section("How this was measured", _conditions(found)),
    ]
    page = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        f"<body><main>\n{chr(10).join(body)}\n</main></body></html>\n"
    )
    with written(out / "report.html") as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    return out / "report.html"


def _intro(found: DatasetResult) -> str:
    n_objects = sum(len(result.scores) for result in found.results)
    return (
        f"{_count(len(found.results), 'sequence')}, {_count(n_objects, 'object')}, {_count(found.n_frames, 'frame')}. "
        "The true mask of the first frame is given; first and last frame are not scored."
    )


def _cards(found: DatasetResult) -> str:
    mean = found.mean
    cards = (
        (_percent(mean.j_and_f), "J&F", "main"),
        (_percent(mean.j.mean), "J, region similarity", ""),
        (_percent(mean.f.mean), "F, boundary accuracy", ""),
        (f"{1 / found.seconds_per_frame:.2f}", "frames per second", ""),
        (f"{found.seconds_per_frame:.3f} s", f"a frame on {_hardware(found)}", ""),
    )
    inner = "".join(
        f'<div class="card {kind}"><b>{figure}</b><span>{escape(name)}</span></div>' for figure, name, kind in cards
    )
    return f'<div class="cards">{inner}</div>'


def _notice(text: str, kind: str) -> str:
    return f'<section class="{kind}"><p>{escape(text)}</p></section>' if text else ""


def _missing(unscored: Unscored) -> str:
    if unscored.failed:
        return _notice(f"{unscored.sequence} failed: {unscored.reason}", "wrong")
    return _notice(f"{unscored.sequence} is left out: {unscored.reason}", "remark")


def _section(heading: str, content: str) -> str:
    return f"<section><h2>{heading}</h2>{content}</section>"


def _beside_published(found: DatasetResult) -> str:
    source = f"{found.setup.dataset}, {_count(len(found.results), 'sequence')}"
    rows = [
        _row(["this evaluation"], found.mean, found.seconds_per_frame, source=source, kind="ours"),
        *(_row([p.method], p.score, p.seconds_per_frame, source=p.source) for p in PUBLISHED),
    ]
    return (
        f"{_table(['', *MEASURES, 's / frame', 'source'], rows)}"
        f"<p>Published figures are those of the papers, for {PUBLISHED_ON}, timed on the GPUs of their day. "
        "They compare with ours only where ours are for the same videos.</p>"
    )


def _sequence_table(found: DatasetResult) -> str:
    rows = []
    for result in found.results:
        names = [result.sequence, f"{len(result.scores)}", f"{len(result.seconds)}"]
        rows.append(_row(names, mean_score(result.scores.values()), result.seconds_per_frame))
    n_objects = sum(len(result.scores) for result in found.results)
    names = ["mean over objects", f"{n_objects}", f"{found.n_frames}"]
    rows.append(_row(names, found.mean, found.seconds_per_frame, kind="ours"))
    return _table(["sequence", "objects", "frames", *MEASURES, "s / frame"], rows)


def _object_table(found: DatasetResult) -> str:
    """Fold out every object, if any video has several."""
    if all(len(result.scores) == 1 for result in found.results):
        return ""
    rows = [
        _row([result.sequence, str(object_id)], score)
        for result in found.results
        for object_id, score in result.scores.items()
    ]
    table = _table(["sequence", "object", *MEASURES], rows)
    return f"<section><details><summary>Every object</summary>{table}</details></section>"


def _charts(found: DatasetResult) -> str:
    figures = []
    for result in found.results:
        region = result.evaluation.region
        chart = region_chart(region, result.sequence)
        caption = f"<b>{escape(result.sequence)}</b><span>J {_percent(region.mean())}</span>"
        figures.append(f"<figure><figcaption>{caption}</figcaption>{chart}</figure>")
    return f'<div class="grid">{"".join(figures)}</div>'


def _worst(found: DatasetResult, sequences: list[DavisSequence], out: Path) -> str:
    by_name = {sequence.name: sequence for sequence in sequences}
    figures = []
    for result, t in worst_frames(found.results, N_PICTURES):
        j, f = result.evaluation.region[:, t - 1].mean(), result.evaluation.boundary[:, t - 1].mean()
        name = escape(result.sequence)
        caption = f"<b>{name}, frame {t}</b><span>J {_percent(j)} &nbsp; F {_percent(f)}</span>"
        source = picture(by_name[result.sequence], out, t)
        figures.append(
            f'<figure><img alt="{name}, frame {t}" src="{source}"><figcaption>{caption}</figcaption></figure>'
        )
    return f'<div class="grid">{"".join(figures)}</div><p class="legend">{_legend()}</p>'


def _legend() -> str:
    meanings = (
        (RIGHT, "found rightly"),
        (WRONG, "found wrongly"),
        (MISSED, "missed"),
        ((255, 255, 255), "true outline"),
    )
    return " ".join(f'<i style="background: rgb{colour}"></i>{meaning}' for colour, meaning in meanings)


def _conditions(found: DatasetResult) -> str:
    setup = found.setup
    settings = ", ".join(f"{name} = {value}" for name, value in setup.config.as_record().items())
    facts = {
        "settings": settings,
        "network": f"{setup.embedder} ({setup.fingerprint})",
        "learning": f"{found.seconds_before_first_frame:.1f} s for each video, before its first frame",
        "device": _hardware(found),
        "time": "decoding, embedding, retrieval and refinement of every frame; loading and learning are left out",
        "J": "intersection over union; recall: share of frames above 50; decay: first quarter minus last",
        "F": "of boundary pixels, with a tolerance of 0.8 % of the image diagonal",
        "mean": "every object of every sequence counts once",
        "software": f"napari-pml {setup.version}, PyTorch {torch.__version__}",
        "date": f"{date.today():%d %B %Y}",
    }
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{escape(fact)}</dd>" for name, fact in facts.items()) + "</dl>"


def _hardware(found: DatasetResult) -> str:
    """Return where the videos were segmented."""
    threads = sorted({result.threads for result in found.results})
    cpu = f"{' or '.join(map(str, threads))} CPU thread{'' if threads == [1] else 's'}"
    devices = sorted({cpu if result.device == "cpu" else result.device for result in found.results})
    return " and ".join(devices)


def _table(header: Iterable[str], rows: Iterable[str]) -> str:
    cells = "".join(f'<th class="{"words" if name == "source" else ""}">{escape(name)}</th>' for name in header)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _row(names: list[str], score: Score, seconds: float | None = None, source: str = "", kind: str = "") -> str:
    """Return a row: names, then `MEASURES` with a bar under J&F, then what else is given."""
    j, f = score.j, score.f
    figures = (_percent(value) for value in (j.mean, j.recall, j.decay, f.mean, f.recall, f.decay))
    cells = [f"<td>{escape(cell)}</td>" for cell in (*names, *figures)]
    cells.append(f'<td class="bar" style="--share: {100 * score.j_and_f:.1f}%">{_percent(score.j_and_f)}</td>')
    if seconds is not None:
        cells.append(f"<td>{seconds:.3f}</td>")
    if source:
        cells.append(f'<td class="words">{escape(source)}</td>')
    return f'<tr class="{kind}">{"".join(cells)}</tr>'


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f}".replace("-", "−")


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}{'' if n == 1 else 's'}"
