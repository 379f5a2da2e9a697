"""The HTTP interface: answers, limits, and what clients send that they should not."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from starlette.testclient import TestClient

from registry import load_run
from registry.serving.app import build_app
from registry.serving.limits import Gate, ServingLimits
from registry.serving.metrics import ServingMetrics

TEXTS = ["a good film", "the soup was not bad at all , we all agreed", "hardly great", "", "中文 \u0000 \U0001f600"]


@pytest.fixture(scope="module")
def run(make_run):
    return load_run(make_run())


@pytest.fixture(scope="module")
def client(run):
    with TestClient(build_app({"mood": run}), raise_server_exceptions=False) as client:
        yield client


def scores(predictions) -> list[dict]:
    return [p["scores"] for p in predictions]


def test_the_start_measures_what_a_pass_costs(client):
    service = client.app.state.serving.services["mood"]
    batcher, service.batcher.pass_cost = service.batcher, -1
    asyncio.run(service.warm_up())
    assert 0 <= batcher.pass_cost <= batcher.batch_tokens


def test_a_start_fits_the_limits_of_clients(run):
    app = build_app({"mood": run}, ServingLimits(max_tokens=20))
    with TestClient(app) as client:
        client.portal.call(asyncio.wait_for, app.state.serving.warming, 20)
        assert client.get("/ready").json() == {"ready": True}
        assert client.post("/predict", json={"text": "a " * 64}).status_code == 413


def test_a_run_that_cannot_answer_is_named(run, monkeypatch):
    monkeypatch.setattr(run, "reduce", lambda *arguments: 1 / 0)
    app = build_app({"mood": run})
    with TestClient(app) as client:
        with pytest.raises(ValueError, match=r"^mood: this run cannot answer \(ZeroDivisionError: "):
            client.portal.call(asyncio.wait_for, app.state.serving.warming, 20)
        assert client.get("/ready").status_code == 503


@pytest.mark.parametrize("act", ["encode", "reduce", "decode"])
def test_whatever_fails_on_a_text_is_the_requests_fault(run, monkeypatch, act):
    with TestClient(build_app({"mood": run}), raise_server_exceptions=False) as client:
        monkeypatch.setattr(run, act, lambda *arguments: {}["missing"])
        response = client.post("/predict", json={"text": "a good film"})
    assert (response.status_code, response.json()) == (
        422,
        {"error": "the model cannot process this input (KeyError)"},
    )


def test_outputs_that_are_no_numbers_are_an_error_and_the_service_goes_on(run, monkeypatch):
    with TestClient(build_app({"mood": run}), raise_server_exceptions=False) as client:
        client.portal.call(asyncio.wait_for, client.app.state.serving.warming, 20)
        with monkeypatch.context() as patch:
            patch.setattr(run.model.classifier.bias, "data", torch.full((2,), float("nan")))
            response = client.post("/predict", json={"text": "a good film"})
        assert response.status_code == 422
        assert response.json()["error"].startswith("the model's outputs are not finite (NaN or infinity)")
        assert client.post("/predict", json={"text": "a good film"}).status_code == 200


def test_many_texts_are_answered_in_order(client, run):
    answer = client.post("/predict", json={"texts": TEXTS}).json()
    assert answer["run"] == "mood"
    for found, expected in zip(scores(answer["predictions"]), scores(run.predict(TEXTS)), strict=True):
        assert found == pytest.approx(expected, abs=1e-5)


def test_one_text_by_its_column(client, run):
    (prediction,) = client.post("/predict", json={"text": TEXTS[0]}).json()["predictions"]
    assert prediction["scores"] == pytest.approx(run.predict(TEXTS[:1])[0]["scores"], abs=1e-5)


def test_query_answers_sentences_with_results(client):
    answer = client.post("/query", json={"sentences": TEXTS}).json()
    assert len(answer["results"]) == len(TEXTS)


def test_alone_and_among_many_clients_the_answers_are_the_same(client, run):
    texts = [f"the film number {i} was {'not ' * (i % 5)}good" for i in range(40)]
    alone = scores(run.predict(texts))
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda text: client.post("/predict", json={"text": text}).json(), texts))
    for answer, expected in zip(answers, alone, strict=True):
        assert answer["predictions"][0]["scores"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "not valid JSON"),
        (b"{", 400, "not valid JSON"),
        (b"\xff\xfe", 400, "not valid JSON"),
        (b'{"texts": ["\\ud800"]}', 400, "not valid JSON"),
        (b"[" * 100_000, 400, "not valid JSON"),
        (b"null", 422, "found null"),
        (b"3", 422, "found a number"),
        (b'["a"]', 422, "found a list"),
        (b"{}", 422, "empty object"),
        (b'{"texts": null}', 422, "found null"),
        (b'{"texts": "a"}', 422, "found text"),
        (b'{"texts": []}', 422, "texts is empty"),
        (b'{"texts": ["a", 3]}', 422, "texts[1]"),
        (b'{"texts": ["a", null]}', 422, "texts[1]"),
        (b'{"texts": [["a"]]}', 422, "texts[0]"),
        (b'{"texts": [{"text": 1e400}]}', 422, "found a number"),
        (b'{"texts": [{"txt": "a"}]}', 422, "'text' is missing"),
        (b'{"texts": ["a"], "more": 1}', 422, "unknown key 'more'"),
        (b'{"text": true}', 422, "found true or false"),
        (b'{"text": "so good", "text_pair": "ignored"}', 422, "column 'text_pair' is not read here; this takes text"),
        (json.dumps({"texts": ["a"] * 300}).encode(), 413, "300 items"),
        (json.dumps({"texts": ["a" * 1_100_000]}).encode(), 413, "longer than 1,000,000 bytes"),
    ],
)
def test_a_bad_body_gets_a_clear_4xx(client, body, status, message):
    response = client.post("/predict", content=body)
    assert response.status_code == status
    assert message in response.json()["error"]
    assert client.get("/health").status_code == 200


def test_a_body_without_length_is_cut_off(client):
    response = client.post("/predict", content=(b"a" * 100_000 for _ in range(50)))
    assert response.status_code == 413


def test_a_client_that_hangs_up_while_it_sends_is_no_fault_of_ours(run):
    app = build_app({"mood": run})
    sent: list[dict] = []

    async def receive() -> dict:
        return {"type": "http.disconnect"}

    async def send(message: dict) -> None:
        sent.append(message)

    head = {"type": "http", "method": "POST", "path": "/predict", "raw_path": b"/predict", "query_string": b""}
    scope = {**head, "http_version": "1.1", "headers": [(b"content-length", b"1000")], "scheme": "http"}
    with TestClient(app) as client:
        asyncio.run(app({**scope, "server": ("test", 80), "client": ("test", 1), "root_path": ""}, receive, send))
        assert sent[0]["status"] == 499
        counted = [line for line in client.get("/metrics").text.splitlines() if line.startswith("requests_total{")]
    assert any('status="499"' in line for line in counted)
    assert not any('status="500"' in line for line in counted)


@pytest.mark.parametrize(
    "text", ["\u0000\u0001\u001b[31m", "ꙮ ⵣ 𐎠 አማርኛ", "\u202e\u200b\ufeff", "a" * 900_000, " \n\t "]
)
def test_odd_texts_are_answered(client, text):
    response = client.post("/predict", json={"texts": [text]})
    assert response.status_code == 200, response.text


def test_the_key_is_asked_for(run):
    with TestClient(build_app({"mood": run}, api_key="sesame-Ω")) as client:
        body = {"text": "a"}
        assert client.post("/predict", json=body).status_code == 401
        assert client.get("/info").status_code == 401
        assert client.get("/metrics", headers={"x-api-key": "wrong"}).status_code == 401
        open_to_all = [client.get(path) for path in ("/", "/health", "/docs", "/openapi.json", "/ready")]
        assert [response.status_code for response in open_to_all[:4]] == [200] * 4
        assert not any("mood" in response.text for response in open_to_all)  # the names of runs are data, too
        for name, value in (("authorization", "Bearer sesame-Ω"), ("x-api-key", "sesame-Ω")):
            assert client.post("/predict", json=body, headers={name: value.encode()}).status_code == 200


def test_too_many_tokens_are_refused(run):
    with TestClient(build_app({"mood": run}, ServingLimits(max_tokens=20))) as client:
        response = client.post("/predict", json={"texts": ["a good film"] * 10})
        assert response.status_code == 413
        assert "tokens" in response.json()["error"]


def test_too_many_requests_at_once_get_429_and_the_rest_their_answers(run):
    with TestClient(build_app({"mood": run}, ServingLimits(max_requests=2))) as client:
        with ThreadPoolExecutor(24) as pool:
            responses = list(pool.map(lambda _: client.post("/predict", json={"texts": TEXTS * 20}), range(48)))
        statuses = {r.status_code for r in responses}
        assert statuses <= {200, 429}
        assert 200 in statuses
        assert all(r.headers["retry-after"] for r in responses if r.status_code == 429)


def test_a_request_that_takes_too_long_is_given_up(run, monkeypatch):
    app = build_app({"mood": run}, ServingLimits(timeout=0.05))
    with TestClient(app) as client:
        service = app.state.serving.services["mood"]

        async def never(items):
            await asyncio.sleep(60)

        monkeypatch.setattr(service, "predict", never)
        response = client.post("/predict", json={"text": "a"})
        assert response.status_code == 504
        assert app.state.serving.services["mood"].batcher.waiting_tokens == 0


def test_several_runs_are_served_by_name(run, make_run):
    with TestClient(build_app({"mood": run, "names": load_run(make_run("demo-ner"))})) as client:
        text = "Ada Lovelace met Bob in London"
        found = client.post("/predict/names", json={"texts": [text]}).json()["predictions"][0]
        assert all(text[e["start"] : e["end"]] == e["text"] for e in found["entities"])
        assert "label" in client.post("/predict/mood", json={"text": text}).json()["predictions"][0]
        unknown = client.post("/predict/nothing", json={"text": text})
        assert unknown.status_code == 404
        assert "/predict/mood, /predict/names" in unknown.json()["error"]
        assert client.post("/predict", json={"text": text}).status_code == 404


def test_info_says_what_is_served(client):
    info = client.get("/info").json()
    (run,) = info["runs"]
    assert (run["task"], run["model"], run["labels"]) == ("demo", "tiny", ["negative", "positive"])
    assert run["provenance"]["versions"]["torch"]
    assert info["limits"]["max_items"] == 256


def test_metrics_count_requests_batches_and_tokens(run):
    with TestClient(build_app({"mood": run})) as client:
        for _ in range(3):
            client.post("/predict", json={"texts": TEXTS})
        client.post("/predict", content=b"{")
        lines = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line[0] != "#")
        assert float(lines['requests_total{run="mood",status="200"}']) == 3
        assert float(lines['requests_total{run="mood",status="400"}']) == 1
        assert float(lines['batch_examples_sum{run="mood"}']) >= 15
        assert float(lines['padded_tokens_total{run="mood"}']) > 30
        assert float(lines['queue_tokens{run="mood"}']) == 0


def test_texts_are_logged_only_when_asked(run, caplog):
    caplog.set_level("DEBUG")
    with TestClient(build_app({"mood": run})) as client:
        client.post("/predict", json={"text": "a secret diary"})
    assert "secret" not in caplog.text
    with TestClient(build_app({"mood": run}, log_texts=True)) as client:
        client.post("/predict", json={"text": "a secret diary"})
    assert "secret" in caplog.text


def test_what_fails_is_logged_without_the_text_that_the_error_quotes(run, caplog, monkeypatch):
    def fail(examples, reduced):
        raise KeyError("a secret diary")

    with TestClient(build_app({"mood": run})) as client:
        monkeypatch.setattr(run, "decode", fail)
        assert client.post("/predict", json={"text": "a secret diary"}).status_code == 422
    assert "a request of 1 items failed: KeyError" in caplog.text
    assert "in fail" in caplog.text
    assert "secret diary" not in caplog.text.replace('raise KeyError("a secret diary")', "")


def test_refusals_come_at_a_pace_and_no_later_than_they_say():
    gate = Gate(unreached, ServingLimits(max_requests=0), ServingMetrics())
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}

    async def refused() -> list[float]:
        started = time.monotonic()

        async def ask() -> float:
            sent = []

            async def send(message: dict) -> None:
                sent.append(message)

            await gate(scope, unreached, send)
            assert (sent[0]["status"], dict(sent[0]["headers"])[b"retry-after"]) == (429, b"1")
            return time.monotonic() - started

        return sorted(await asyncio.gather(*(ask() for _ in range(200))))

    seconds = asyncio.run(refused())
    assert seconds[0] < 0.2
    assert seconds[50] > 0.4  # a hundred a second
    assert 0.9 < seconds[-1] < 2  # and none later than its Retry-After, but for a busy machine


async def unreached(*arguments: object) -> None:
    raise AssertionError


def test_the_interface_is_described(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/predict", "/query", "/health", "/ready", "/info", "/metrics"} <= set(paths)
    assert "texts" in json.dumps(paths["/predict"])
    assert "parameters" not in paths["/predict"]["post"]
    assert [parameter["name"] for parameter in paths["/query/{run}"]["post"]["parameters"]] == ["run"]
    assert "static-offline-docs" in client.get("/docs").text


@pytest.mark.parametrize(
    "cleaning", [{"unicode": "NFKC"}, {"lowercase": True}, {"strip_html": True}, {"collapse_whitespace": True}]
)
def test_masks_outlive_cleaning(make_run, cleaning):
    run = load_run(make_run("demo-mlm", **cleaning))
    texts = ["The film was ［MASK］ .", "The <mask> was [MASK]", "&lt;mask&gt; ［ＭＡＳＫ］"]
    with TestClient(build_app({"words": run})) as client:
        answer = client.post("/predict", json={"texts": texts})
    assert answer.status_code == 200
    found = answer.json()["predictions"]
    assert [len(one["masks"]) for one in found] == [1, 2, 0]
    first, second = ([mask[0]["token"].removeprefix("##") for mask in one["masks"]] for one in found[:2])
    assert [one["text"] for one in found] == [
        f"The film was {first[0]} .",
        f"The {second[0]} was {second[1]}",
        texts[2],
    ]


def test_masks_and_questions(make_run):
    runs = {"words": load_run(make_run("demo-mlm")), "questions": load_run(make_run("demo-qa"))}
    with TestClient(build_app(runs)) as client:
        words = client.post("/predict/words", json={"texts": ["a [MASK]", "no mask"]}).json()["predictions"]
        assert [len(w["masks"]) for w in words] == [1, 0]
        found = client.post("/predict/questions", json={"question": "who?"}).json()["predictions"][0]
        assert found["answers"][0]["score"] >= found["answers"][1]["score"]
