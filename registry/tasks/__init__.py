"""What is learned: the Task contract, the four families and the named tasks. Importing this imports no torch."""

from __future__ import annotations

from registry.plugins import Registry

GLUE = ("cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli")
TEXTS = (
    *("classification", "mlm", "imdb", "imdb-mlm", "ag_news", "trec", "sarcasm", "chnsenticorp"),
    *("banking77", "clinc150"),
)
TAGGING = ("ner", "conll2003", "wnut17", "msra-ner")
ANSWERING = ("qa", "boolq", "taipei-qa")

REGISTRY: Registry = Registry(  # type: ignore[type-arg]
    kind="task",
    group="registry.tasks",
    builtins={
        **{name: f"registry.tasks.glue:{name}" for name in GLUE},
        **{name: f"registry.tasks.texts:{name.replace('-', '_')}" for name in TEXTS},
        **{name: f"registry.tasks.tagging:{name.replace('-', '_')}" for name in TAGGING},
        **{name: f"registry.tasks.answering:{name.replace('-', '_')}" for name in ANSWERING},
        "demo": "registry.tasks.demo:demo",
        "demo-ner": "registry.tasks.demos:demo_ner",
        "demo-qa": "registry.tasks.demos:demo_qa",
        "demo-mlm": "registry.tasks.demos:demo_mlm",
    },
    contract="registry.tasks.base:Task",
)

register, get, names = REGISTRY.register, REGISTRY.get, REGISTRY.names
origin, entries, get_recorded = REGISTRY.origin, REGISTRY.entries, REGISTRY.get_recorded
