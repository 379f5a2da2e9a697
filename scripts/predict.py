"""Predict with a trained run: texts, a file of any size, or lines of standard input; JSON lines come out.

python scripts/predict.py runs/sst2-roberta-base-1 --text "a moving film" --text "a dull one"
python scripts/predict.py runs/mnli-roberta-base-1 --text "It rains." --text-pair "It is dry."
python scripts/predict.py runs/sst2-roberta-base-1 --file reviews.csv --output predictions.jsonl
python scripts/predict.py runs/sst2-roberta-base-1                 # type texts, one a line
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.cli import friendly
from registry.run_options import file_options, file_source, open_run, run_options

if TYPE_CHECKING:
    from registry.prediction import Row
    from registry.runs import Run


@click.command()
@click.argument("run")
@click.option("--text", "texts", multiple=True, help="A text to predict; repeatable.")
@click.option("--text-pair", "pairs", multiple=True, help="Second text of each --text, in order (qa: its context).")
@click.option("--file", help="Rows to predict: a file or quoted glob, of any size and format.")
@click.option("--output", type=click.Path(dir_okay=False), help="Write here instead of to standard output.")
@file_options
@run_options
@friendly
def main(
    run: str, texts: tuple[str, ...], pairs: tuple[str, ...], file: str | None, output: str | None, **options: Any
) -> None:
    """Print one JSON object for each text: labels with scores, entities, ranked answers or filled masks.

    RUN is a run directory, or what scripts/export.py made of one (with --engine onnx).
    """
    from registry.prediction import predict_rows, to_line, write_lines
    from registry.reports.terminal import counting

    if (texts or pairs) and file:
        raise ValueError("--text and --file exclude each other; give one of them")
    if output and not Path(output).absolute().parent.is_dir():
        raise ValueError(f"--output {output}: its directory does not exist")
    loaded = open_run(run, options)
    if file is None and not texts and not pairs and not output and sys.stdin.isatty():
        converse(loaded)
        return
    with counting(shown=bool(output) and sys.stderr.isatty()) as on_rows:
        lines = predict_rows(loaded, rows_of(loaded, texts, pairs, file, options), on_rows)
        if output:
            write_lines(Path(output), lines)
        else:
            for line in lines:
                click.echo(to_line(line))


def rows_of(
    run: Run, texts: tuple[str, ...], pairs: tuple[str, ...], file: str | None, options: dict[str, Any]
) -> Iterator[Row]:
    """The rows to predict: of the file, else the texts, else the lines of standard input."""
    from registry.prediction import file_rows, pair_rows, text_rows

    if file is not None:
        return file_rows(run, file, file_source(run, options))
    if pairs:
        return pair_rows(run, texts, pairs)
    return text_rows(texts or (line.rstrip("\r\n") for line in sys.stdin))


def converse(run: Run) -> None:
    """Answer the lines that somebody types, one by one."""
    from registry.prediction import readable, to_line

    click.echo("Type a text and Enter; Ctrl-D ends.", err=True)
    for line in sys.stdin:
        if line.strip():
            click.echo(to_line(run.predict([readable(line.rstrip("\r\n"))])[0]))


if __name__ == "__main__":
    main()
