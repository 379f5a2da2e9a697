"""Started by test_engines: the first of two processes finds something wrong while the other one waits."""

from registry.cli import friendly
from registry.options import Optimization
from registry.training.engine_start import build_accelerator
from registry.training.engines import first_process_first


@friendly
def main() -> None:
    accelerator, _ = build_accelerator(Optimization())
    with first_process_first(accelerator):
        if accelerator.is_main_process:
            raise ValueError("row 7 has no label")
    print("went on")


if __name__ == "__main__":
    main()
