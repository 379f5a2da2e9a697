"""Serve trained runs over HTTP, with a page to try them.

python scripts/serve.py runs/sst2-roberta-base-1                       # http://127.0.0.1:8000
curl -s localhost:8000/predict -d '{"texts": ["a moving film", "a dull one"]}'
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click

from registry.cli import friendly
from registry.run_options import open_run, run_options


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0: the network.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any free one.")
@click.option(
    "--api-key",
    envvar="REGISTRY_API_KEY",
    show_envvar=True,
    help="Key that clients must send; better set by environment.",
)
@click.option("--max-bytes", type=click.IntRange(min=1), default=1_000_000, show_default=True, help="Of a request.")
@click.option("--max-items", type=click.IntRange(min=1), default=256, show_default=True, help="Texts in a request.")
@click.option("--max-tokens", type=click.IntRange(min=1), default=65_536, show_default=True, help="Of a request.")
@click.option("--max-requests", type=click.IntRange(min=1), default=256, show_default=True, help="At the same time.")
@click.option("--queue-tokens", type=click.IntRange(min=1), default=262_144, show_default=True, help="Waiting at most.")
@click.option(
    "--timeout", type=click.FloatRange(min=0.1, max=86400), default=30, show_default=True, help="Seconds a request."
)
@click.option("--batching/--no-batching", default=True, help="Let requests share forward passes.  [default: on]")
@click.option("--log-texts", is_flag=True, help="Log what is asked; off, because texts may be private.")
@run_options
@friendly
def main(
    runs: tuple[str, ...], host: str, port: int, api_key: str | None, batching: bool, log_texts: bool, **options: Any
) -> None:
    """Answer requests with RUNS, each under its directory's name: POST /predict, GET / for a page, /docs for all."""
    from registry.serving.app import build_app
    from registry.serving.limits import ServingLimits
    from registry.serving.server import serve

    names = ("max_bytes", "max_items", "max_tokens", "max_requests", "queue_tokens", "timeout")
    limits = ServingLimits(**{name: options.pop(name) for name in names})
    if api_key == "":
        raise ValueError("--api-key is empty; leave it out to let anybody ask")
    logging.basicConfig(level=logging.INFO if log_texts else logging.WARNING)
    loaded = {name: open_run(path, options) for name, path in named(runs).items()}
    app = build_app(loaded, limits, api_key=api_key, batching=batching, log_texts=log_texts)
    serve(app, host, port, timeout=limits.timeout)


def named(paths: tuple[str, ...]) -> dict[str, str]:
    """Run directories by the names that they are served under; an export goes by its run's name."""
    found: dict[str, str] = {}
    for path in paths:
        full = Path(path).resolve()
        name = full.parent.name if full.name == "onnx" else full.name
        if name in found:
            raise ValueError(f"{path} and {found[name]} have the same name {name!r}; rename one of them")
        found[name] = path
    return found


if __name__ == "__main__":
    main()
