"""Export a run as ONNX, checked against PyTorch on real rows; serve.py and predict.py take it by --engine onnx.

python scripts/export.py runs/sst2-roberta-base-1
python scripts/export.py runs/sst2-roberta-base-1 --int8 --max-loss 0.005
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from registry.cli import friendly, some_options
from registry.run_options import file_options, options_for

if TYPE_CHECKING:
    from registry.export import Exported


@click.command()
@click.argument("run")
@click.option("--output", type=click.Path(file_okay=False), help="Folder to write.  [default: RUN/onnx]")
@click.option("--int8", is_flag=True, help="8-bit matrix products for CPUs; the loss of accuracy is measured.")
@click.option(
    "--max-loss", type=click.FloatRange(min=0), default=0.01, show_default=True,
    help="How much worse the primary metric may be on the checked rows.",
)  # fmt: skip
@click.option("--split", help="The run's split to check and measure on.  [default: validation]")
@click.option("--file", help="Labelled rows of your own to check and measure on instead.")
@click.option("--plugin-file", type=click.Path(dir_okay=False), help="File that registers the run's own task or model.")
@some_options("data_dir", "data_revision")
@file_options
@friendly
def main(
    run: str, output: str | None, int8: bool, max_loss: float, split: str | None, file: str | None,
    plugin_file: str | None, **options: Any,
) -> None:  # fmt: skip
    """Write a folder with model.onnx (any batch size and length), the tokenizer and the run's record."""
    from registry.export import export_run
    from registry.runs import load_run
    from registry.scoring import file_rows, split_rows
    from registry.training.assembly import Encoding

    if split and file:
        raise ValueError("--split and --file exclude each other; give one of them")
    loaded = load_run(run, plugin_file, device="cpu")
    target = Path(output) if output else loaded.directory.onnx
    if target.exists() and not (target / "export.json").exists():
        raise ValueError(f"--output {target}: exists and is no export; choose another folder")
    wanted = options_for(loaded, options)
    if file:
        rows = file_rows(loaded, file, wanted)
    else:
        _, rows = split_rows(loaded, split, wanted)
    encode = Encoding(loaded.task, loaded.record.head, loaded.tokenizer, loaded.record.limits, 0)
    show(export_run(loaded, encode(rows), target, int8=int8, max_loss=max_loss), len(rows), target)


def show(exported: Exported, rows: int, target: Path) -> None:
    """What was checked and measured, and what to do next."""
    from registry.reports.terminal import Screen

    screen = Screen(shown=True)
    screen.summary(
        f"{target}: {exported.precision}, {exported.megabytes:.1f} MiB",
        [
            ("checked", f"{exported.checked_rows} rows alone and together; logits differ by {exported.difference:.1e}"),
            (exported.metric, f"{exported.onnx:.4f} (PyTorch {exported.torch:.4f}) on {rows:,} rows"),
        ],
    )
    screen.line(f"next  python scripts/predict.py {target} --engine onnx --text '…'")


if __name__ == "__main__":
    main()
