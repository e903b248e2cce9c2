"""One static page of all experiments in a folder: each claim, its equation, what was measured, and the picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from ntk_fast.disk import refuse_unwritable, whole_file
from ntk_fast.theory.experiment import Experiment

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #22262b; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; } h2 { margin-top: 3rem; border-top: 1px solid #ddd; padding-top: 1.5rem; }
table { border-collapse: collapse; width: 100%; font-size: 0.92rem; }
th, td { text-align: left; vertical-align: top; padding: 0.5rem 0.7rem; border-bottom: 1px solid #e6e8eb; }
th { color: #5b626b; font-weight: 600; } td.source { white-space: nowrap; }
td.source { min-width: 7rem; white-space: normal; color: #5b626b; }
.correction { margin-top: 0.4rem; padding-left: 0.7rem; border-left: 3px solid #c2410c; }
.equation { margin-top: 0.4rem; font-family: ui-monospace, monospace; font-size: 0.85rem; color: #2563a8; }
.holds { color: #2f855a; font-weight: 600; } .fails { color: #c2410c; font-weight: 600; }
figure { margin: 1.2rem 0; } img { max-width: 100%; height: auto; }
figcaption { color: #5b626b; font-size: 0.9rem; } nav li { margin: 0.15rem 0; }
"""
#: What the page says of its origin: only such a page is replaced.
GENERATOR = '<meta name="generator" content="ntk-fast theory">'
VERDICTS = {
    (True, False): ("holds", "holds"),
    (True, True): ("holds", "holds as corrected"),
    (False, False): ("fails", "not seen"),
    (False, True): ("fails", "correction not seen"),
}


def write_page(folder: Path, experiments: Sequence[Experiment]) -> Path:
    """Write index.html for those of the experiments that have left their results in the folder."""
    found = [
        (experiment, result)
        for experiment in experiments
        if (result := read_result(folder, experiment.name)) and _is_complete(folder, experiment.name)
    ]
    contents = "\n".join(
        f'<li><a href="#{experiment.name}">{escape(experiment.title)}</a>: {escape(experiment.question)}</li>'
        for experiment, _ in found
    )
    sections = "\n".join(_section(experiment, result) for experiment, result in found)
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{GENERATOR}
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>The Neural Tangent Kernel approximation, measured</title>
<style>{STYLE}</style>
</head>
<body>
<h1>The Neural Tangent Kernel approximation, measured</h1>
<p>The claims of G. Pleiss's Lecture 08, <em>The Neural Tangent Kernel Approximation</em>, each with what
<code>ntk_fast</code> measures. Where the lecture slips, the table has its statement and, marked, the one that holds.
"As width to the power" is a fitted slope in logarithms, with its standard error.</p>
<nav><ul>
{contents}
</ul></nav>
{sections}
</body>
</html>
"""
    target = folder / "index.html"
    with whole_file(target) as path:
        path.write_text(page, encoding="utf-8")
    return target


def read_result(folder: Path, name: str) -> dict[str, Any] | None:
    """Return what an experiment has left in a folder, or None; raise if there is something else of its name."""
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        rendered = [_claim(claim) for claim in result["claims"]]
        assert rendered
        assert {"quick", "seconds", "caption"} <= set(result)
    except (OSError, ValueError, KeyError, TypeError, AssertionError):
        raise ValueError(f"{path} is no result of ntk-fast theory, or is damaged; remove it.") from None
    return result


def _is_complete(folder: Path, name: str) -> bool:
    """Whether the picture and the table are there, too; a process that is killed may leave less."""
    return all((folder / f"{name}.{suffix}").exists() for suffix in ("png", "csv"))


def check_folder(folder: Path, names: Sequence[str], every: Sequence[str]) -> None:
    """Raise, before any work, if results cannot be written to a folder or would take the place of other files."""
    refuse_unwritable(folder)
    for name in every:
        read_result(folder, name)
    page = folder / "index.html"
    if page.exists() and GENERATOR not in page.read_text(encoding="utf-8", errors="replace"):
        raise FileExistsError(f"{page} exists and is no page of ntk-fast theory; choose another folder.")
    for name in names:
        for suffix in ("png", "csv"):
            path = folder / f"{name}.{suffix}"
            if path.exists() and not (folder / f"{name}.json").exists():
                raise FileExistsError(f"{path} exists and is no result of ntk-fast theory; choose another folder.")


def _section(experiment: Experiment, result: dict[str, Any]) -> str:
    rows = "\n".join(_claim(claim) for claim in result["claims"])
    name = experiment.name
    command = f"ntk-fast theory {name}{' --quick' if result['quick'] else ''}"
    return f"""<h2 id="{name}">{escape(experiment.title)}</h2>
<p>{escape(experiment.question)}</p>
<table>
<tr><th>Where</th><th>Claim, and its equation</th><th>Measured</th><th>Verdict</th></tr>
{rows}
</table>
<figure><img src="{name}.png" alt="{escape(experiment.title)}">
<figcaption>{escape(result["caption"])}</figcaption></figure>
<p>Numbers: <a href="{name}.csv">{name}.csv</a>. Again: <code>{command}</code> ({result["seconds"]:.0f} s; seeds are
fixed).</p>"""


def _claim(claim: dict[str, Any]) -> str:
    corrected = claim["correction"] is not None
    correction = f'<div class="correction">Corrected: {escape(claim["correction"])}</div>' if corrected else ""
    style, verdict = VERDICTS[claim["holds"], corrected]
    return (
        f'<tr><td class="source">{escape(claim["source"])}</td>'
        f'<td>{escape(claim["statement"])}<div class="equation">{escape(claim["equation"])}</div>{correction}</td>'
        f'<td>{escape(claim["measured"])}</td><td class="{style}">{verdict}</td></tr>'
    )
