"""LoRA (Hu et al. 2021): small trained matrices beside frozen, perhaps quantised, weights, and a trained head.

`adapted` puts an `AdaptedSpec` around a model's spec; whoever builds, saves and loads through it needs
to know nothing of adapters. What it saves is PEFT's format, so that ``PeftModel.from_pretrained(base,
"runs/x/model")`` works; a base that is not on the Hub is saved beside it in ``model/base``.

The matrices are put into the module itself, not around it: its forward, hooks and configuration stay
what they were.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.heads import Head
from registry.models.base import ModelSource, ModelSpec, Texts
from registry.plugins import not_an_option

if TYPE_CHECKING:
    from peft import LoraConfig
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from registry.options import Adapters

PEFT_PREFIX = "base_model.model."
ADAPTER_CONFIG, ADAPTER_WEIGHTS, BASE = "adapter_config.json", "adapter_model.safetensors", "base"
CONFIGURED = ("r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "target_modules", "modules_to_save")
_INSERTED = re.compile(r"\.base_layer|\.lora_\w+\.default")
"""What LoRA inserts into the names of parameters."""


def adapted(spec: ModelSpec, source: ModelSource, options: Adapters) -> ModelSpec:
    """The spec with the adapters that the options ask for; itself where they ask for none.

    Raises:
        ValueError: options that need each other, or packages that are not installed.
    """
    if options.lora_rank is None:
        for item in dataclasses.fields(options):
            if getattr(options, item.name) != item.default:
                flag = f"--{item.name.replace('_', '-')}"
                raise ValueError(f"{flag} needs --lora-rank: without it there are no adapters")
        return spec
    for flag, package in (("--lora-rank", "peft"), (f"--quantize {options.quantize}", "bitsandbytes")):
        needed = package == "peft" or options.quantize is not None
        if needed and importlib.util.find_spec(package) is None:
            raise ValueError(f"{flag} needs {package}: pip install {package}")
    if spec.redrawn_layers:
        raise ValueError(
            "--lora-rank leaves the layers as they are: random ones (--model-option reinit_layers) would stay so"
        )
    shared = {item.name: getattr(spec, item.name) for item in dataclasses.fields(ModelSpec)}
    return AdaptedSpec(**shared, spec=spec, source=source, options=options)


def unadapted(spec: ModelSpec) -> ModelSpec:
    """The spec that `adapted` was given: what a run's record names."""
    return spec.spec if isinstance(spec, AdaptedSpec) else spec


def merged(spec: ModelSpec, directory: Path, head: Head) -> nn.Module:
    """The plain model that computes what base and adapter in `directory` compute together."""
    if not isinstance(spec, AdaptedSpec):
        return spec.load(directory, head)
    module = spec.load(directory, head, quantized=False)
    merge(module)
    return module


@dataclass(frozen=True, kw_only=True)
class AdaptedSpec(ModelSpec):
    """A model with LoRA.

    Args:
        spec: of the model that is adapted.
        source: its weights.
        options: rank, targets, quantisation.
    """

    spec: ModelSpec = not_an_option()
    source: ModelSource = not_an_option()
    options: Adapters = not_an_option()

    def tokenizer(self, source: ModelSource, texts: Texts) -> PreTrainedTokenizerBase:
        """The adapted model's."""
        return self.spec.tokenizer(source, texts)

    def load_tokenizer(self, directory: Path) -> PreTrainedTokenizerBase:
        """The adapted model's."""
        return self.spec.load_tokenizer(directory)

    def unused(self, head: Head, source: ModelSource) -> Mapping[str, str]:
        """As the adapted model."""
        return self.spec.unused(head, source)

    def redrawn_head(self, head: Head, source: ModelSource) -> str:
        """As the adapted model."""
        return self.spec.redrawn_head(head, source)

    def ignores_padding(self, tokenizer: PreTrainedTokenizerBase) -> bool:
        """As the adapted model."""
        return self.spec.ignores_padding(tokenizer)

    def fit(self, module: nn.Module, examples: Iterable[Mapping[str, Any]], head: Head, seed: int) -> None:
        """As the adapted model."""
        self.spec.fit(module, examples, head, seed)

    def build(self, head: Head, tokenizer: PreTrainedTokenizerBase, source: ModelSource) -> nn.Module:
        """The model, all frozen but the adapters and the head."""
        from registry.models.quantized import quantize

        module = self.spec.build(head, tokenizer, source)
        depths = self.spec.layer_map(module)
        heads = head_modules(module, depths)
        config = lora_config(module, heads, self.options, self.lora_targets)
        quantize(module, self.options.quantize)
        inject(module, config)
        return module

    def allow_packing(self, module: nn.Module) -> None:
        """As the adapted model."""
        self.spec.allow_packing(module)

    def spare_last_layer(self, module: nn.Module) -> bool:
        """As the adapted model."""
        return self.spec.spare_last_layer(module)

    def save(self, module: nn.Module, state_dict: Mapping[str, Tensor], directory: Path) -> None:
        """Write adapter and head in PEFT's format, and the base where it is not published."""
        save_adapter(module, state_dict, directory, base=self.source)
        if not is_published(self.source):
            self.spec.save(module, base_state(module, state_dict), directory / BASE)

    def load(self, directory: Path, head: Head, *, quantized: bool = True) -> nn.Module:
        """The model that `save` wrote (or the plain one that was merged).

        Args:
            quantized: whether the base is quantised as it was in training.
        """
        from registry.models.quantized import quantize

        if not (directory / ADAPTER_CONFIG).is_file():
            return self.spec.load(directory, head)
        if (directory / BASE).is_dir():
            module = self.spec.load(directory / BASE, head)
        else:
            module = self.spec.build(head, self.load_tokenizer(directory), self.source)
        if quantized:
            quantize(module, self.options.quantize)
        load_adapter(module, directory)
        return module

    def layer_map(self, module: nn.Module) -> dict[str, int]:
        """Depth of every parameter by name: an adapter's is that of the weight beside it."""
        depths = self.spec.layer_map(module)
        head = max(depths.values())
        plain = {_INSERTED.sub("", name): depth for name, depth in depths.items() if ".lora_" not in name}
        return {name: plain.get(_INSERTED.sub("", name), head) for name, _ in module.named_parameters()}


def lora_config(module: nn.Module, heads: list[str], options: Adapters, recommended: tuple[str, ...]) -> LoraConfig:
    """PEFT's configuration for the options.

    Raises:
        ValueError: --lora-targets match nothing; lists what there is.
    """
    from peft import LoraConfig

    return LoraConfig(  # CONFIGURED names what is set here
        r=options.lora_rank or 0,
        lora_alpha=options.lora_alpha,
        lora_dropout=options.lora_dropout,
        use_rslora=options.rslora,
        use_dora=options.dora,
        target_modules=find_targets(module, heads, options.lora_targets, recommended),
        modules_to_save=heads,
    )


def find_targets(module: nn.Module, heads: list[str], asked: str, recommended: tuple[str, ...]) -> list[str]:
    """Names of modules that get an adapter.

    Args:
        heads: names of the head's modules, which are trained whole.
        asked: "auto" (the model's recommendation, else every linear map of its layers), "all-linear", or
            ends of module names, separated by commas.
    """
    from registry.models.layers import is_linear, lora_targets

    linear = [
        name
        for name, part in module.named_modules()
        if is_linear(part) and not any(f"{name}.".startswith(f"{head}.") for head in heads)
    ]
    if asked == "all-linear":
        output = getattr(module, "get_output_embeddings", lambda: None)()
        return [name for name in linear if module.get_submodule(name) is not output]
    if asked == "auto":
        return list(recommended or lora_targets(module))
    targets = [target.strip() for target in asked.split(",") if target.strip()] or [asked]
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in linear):
            known = sorted({name.rpartition(".")[2] for name in linear})
            raise ValueError(f"--lora-targets {target!r} matches no linear map; there are {', '.join(known) or 'none'}")
    return targets


def head_modules(module: nn.Module, depths: Mapping[str, int]) -> list[str]:
    """Names of the outermost modules that belong to the head alone; weights tied to embeddings do not."""
    top = max(depths.values())
    head = {id(p) for name, p in module.named_parameters() if depths[name] == top}

    def outermost(part: nn.Module, name: str) -> list[str]:
        parameters = list(part.parameters())
        if name and parameters and all(id(p) in head for p in parameters):
            return [name]
        return [found for key, child in part.named_children() for found in outermost(child, f"{name}.{key}".strip("."))]

    return outermost(module, "")


def inject(module: nn.Module, config: LoraConfig) -> None:
    """Put adapters into `module`, in place, and freeze the rest but the head."""
    from peft import inject_adapter_in_model

    heads = config.modules_to_save or []
    # PEFT would train a copy of the head beside the frozen original; the original itself is enough.
    inject_adapter_in_model(dataclasses.replace(config, modules_to_save=None), module)
    module.lora_config = config  # type: ignore[assignment]
    for name in heads:
        module.get_submodule(name).requires_grad_(True)


def save_adapter(module: nn.Module, state_dict: Mapping[str, Tensor], directory: Path, *, base: ModelSource) -> None:
    """Write adapter_config.json and adapter_model.safetensors (the head among them)."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    config: Any = module.lora_config
    kept = get_peft_model_state_dict(module, dict(state_dict), save_embedding_layers=False)
    for name in config.modules_to_save:
        kept |= {key: value for key, value in state_dict.items() if key.startswith(f"{name}.")}
    directory.mkdir(parents=True, exist_ok=True)
    published = {"base_model_name_or_path": base.path, "revision": base.revision} if is_published(base) else {}
    dataclasses.replace(config, **published).save_pretrained(str(directory))
    tensors = {f"{PEFT_PREFIX}{key}": value.detach().cpu().contiguous().clone() for key, value in kept.items()}
    save_file(tensors, directory / ADAPTER_WEIGHTS, metadata={"format": "pt"})


def load_adapter(module: nn.Module, directory: Path) -> None:
    """Put the adapter and the head that `save_adapter` wrote into `module`, in place."""
    from peft import LoraConfig, set_peft_model_state_dict
    from safetensors.torch import load_file

    saved = json.loads((directory / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    # Not LoraConfig.from_pretrained: other keys name modules that PEFT imports.
    inject(module, LoraConfig(**{name: saved[name] for name in CONFIGURED}))
    state = {key.removeprefix(PEFT_PREFIX): value for key, value in load_file(directory / ADAPTER_WEIGHTS).items()}
    head = {key: value for key, value in state.items() if ".lora_" not in key}
    result: Any = set_peft_model_state_dict(module, {key: value for key, value in state.items() if key not in head})
    unexpected = [*module.load_state_dict(head, strict=False).unexpected_keys, *result.unexpected_keys]
    if unexpected:
        raise ValueError(f"{directory / ADAPTER_WEIGHTS}: {unexpected[0]} has no place in the model")


def merge(module: nn.Module) -> None:
    """Add every adapter to the weight beside it and take it out, in place."""
    from peft.tuners.lora import LoraLayer

    for name, part in list(module.named_modules()):
        if isinstance(part, LoraLayer):
            part.merge()
            parent, _, key = name.rpartition(".")
            setattr(module.get_submodule(parent), key, part.get_base_layer())


def base_state(module: nn.Module, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of the model without adapters, under its own names; quantised weights as float32."""
    from registry.models.quantized import dequantized_weights

    weights = dequantized_weights(module)
    quantized = tuple(f"{name}." for name in weights)
    plain = {
        key: value
        for key, value in state_dict.items()
        if ".lora_" not in key and not (key.startswith(quantized) and not key.endswith(".bias"))
    }
    plain |= {f"{name}.weight": value for name, value in weights.items()}
    return {_INSERTED.sub("", key): value for key, value in plain.items()}


def is_published(source: ModelSource) -> bool:
    """Whether anyone can get the weights by name: they are on the Hub."""
    return "/" in source.path and not source.from_scratch and not Path(source.path).exists()
