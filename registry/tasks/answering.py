"""Named tasks of question answering as classification, and the generic one for a person's own files."""

from __future__ import annotations

from registry.data.source import FileFormat, LocalFile
from registry.tasks.qa import QuestionAnswering

qa = QuestionAnswering(
    description="Your own questions, each with one of a closed set of answers",
    question=("question", "query", "text", "sentence"),
    context=(),
    answer=("answer", "label", "category", "department", "class"),
)
boolq = QuestionAnswering(
    description="Is it true, by the passage? (BoolQ)",
    hub="google/boolq",
    context="passage",
    answers=("false", "true"),
    local={"train": "train.jsonl", "validation": "dev.jsonl", "test": "test.jsonl"},
    max_length=256,
)
taipei_qa = QuestionAnswering(
    description="Which department of Taipei answers the question, of 149 (traditional Chinese)",
    local={"train": LocalFile("Taipei_QA_new.txt", FileFormat("first-blank", columns=("answer", "question")))},
    max_length=64,
)
