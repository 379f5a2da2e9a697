"""serve.py as people start it: real sockets, a real browser, a signal to end it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import html
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from registry import load_run

SCRIPT = Path(__file__).parents[2] / "scripts" / "serve.py"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextlib.contextmanager
def serving(*arguments: object) -> Iterator[tuple[str, subprocess.Popen]]:
    """(address, process) of a service on a free port; ended when the block is left."""
    command = [sys.executable, SCRIPT, *arguments, "--port", 0]
    process = subprocess.Popen([str(a) for a in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert line.startswith("serving on http://127.0.0.1:"), line + process.stderr.read()
        yield line.split()[-1], process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def address(make_run) -> Iterator[str]:
    paths = [make_run(task) for task in ("demo", "demo-ner", "demo-qa", "demo-mlm")]
    with serving(*paths) as (address, _):
        yield address


def test_answers_over_http_are_those_of_predict(address, make_run):
    texts = [f"the hotel number {i} was {'not ' * (i % 4)}good" for i in range(30)]
    expected = load_run(make_run()).predict(texts)
    with httpx.Client(base_url=address) as client, concurrent.futures.ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda text: client.post("/predict/demo-tiny", json={"text": text}).json(), texts))
    for answer, one in zip(answers, expected, strict=True):
        assert answer["predictions"][0]["scores"] == pytest.approx(one["scores"], abs=1e-4)


def test_a_service_becomes_ready(address):
    def status():
        time.sleep(0.1)
        return httpx.get(f"{address}/ready").status_code

    assert any(status() == 200 for _ in range(100))


def test_sigterm_finishes_what_was_taken_and_exits_with_success(make_run):
    with serving(make_run()) as (address, process), concurrent.futures.ThreadPoolExecutor(8) as pool:
        body = {"texts": ["the film was good , we all agreed"] * 200}
        taken = [pool.submit(httpx.post, f"{address}/predict", json=body, timeout=30) for _ in range(8)]
        while float(metric(address, "requests_in_flight")) == 0 and not all(f.done() for f in taken):
            time.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        finished = [f for f in taken if f.exception() is None]
        assert all(f.result().status_code == 200 for f in finished)
        assert finished
        assert process.wait(20) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{address}/health")


def test_a_run_that_cannot_be_served_is_said_in_one_line(tmp_path):
    process = subprocess.run([sys.executable, SCRIPT, tmp_path / "no"], capture_output=True, text=True)
    assert (process.returncode, process.stderr) == (2, f"error: {tmp_path / 'no'}: no such run directory\n")


def test_a_run_that_cannot_answer_ends_the_service(make_run):
    broken = "from registry.runs import Run; Run.reduce = lambda *_: 1 / 0; import serve; serve.main()"
    process = subprocess.run(
        [sys.executable, "-c", broken, make_run(), "--port", "0"],
        cwd=SCRIPT.parent, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    said = "error: demo-tiny: this run cannot answer (ZeroDivisionError: division by zero)\n"
    assert (process.returncode, process.stderr) == (2, said)


def test_a_port_that_is_taken_is_said_in_one_line(address, make_run):
    port = address.rpartition(":")[2]
    process = subprocess.run([sys.executable, SCRIPT, make_run(), "--port", port], capture_output=True, text=True)
    assert process.returncode == 2
    assert "in use" in process.stderr.splitlines()[-1]


def page(address: str, run: str, **fields: str) -> str:
    """Text of the answer that the page shows, in a headless browser, once it has asked."""
    if BROWSER is None:
        pytest.skip("no chromium here to look at the page with")
    values = "&".join(f"{name}={quote(text)}" for name, text in fields.items())
    settings = ["--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000", "--dump-dom"]
    command = [BROWSER, *settings, f"{address}/#run={run}&{values}"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    answer = re.search(r'<section id="answer".*?</main>', shown, re.DOTALL)
    assert answer, shown
    return answer.group()


def visible(markup: str) -> str:
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", markup)).split())


def test_the_page_shows_labels_with_bars(address, make_run):
    shown = page(address, "demo-tiny", text="a <b>good</b> film")
    (prediction,) = load_run(make_run()).predict(["a <b>good</b> film"])
    assert visible(shown).startswith(f"{prediction['label']} {prediction['score'] * 100:.1f} %")
    assert shown.count('class="track"') == 2


def test_the_page_marks_entities_in_place(address, make_run):
    text = "Ada Lovelace met \U0001f600 Bob <i>in</i> London"
    shown = page(address, "demo-ner-tiny", tokens=text)
    (prediction,) = load_run(make_run("demo-ner")).predict([text])
    marks = re.findall(r"<mark[^>]*>(.*?)<small>(.*?)</small>", shown)
    assert [(html.unescape(t), kind) for t, kind in marks] == [(e["text"], e["type"]) for e in prediction["entities"]]


def test_the_page_ranks_answers_and_fills_masks(address):
    assert page(address, "demo-qa-tiny", question="who are you").count('class="track"') == 5
    assert visible(page(address, "demo-mlm-tiny", text="a [MASK] film [MASK]")).count("Mask ") == 2


def metric(address: str, name: str) -> str:
    found = re.search(rf"^{name}(?:{{.*}})? (.*)$", httpx.get(f"{address}/metrics").text, re.MULTILINE)
    assert found
    return found.group(1)
