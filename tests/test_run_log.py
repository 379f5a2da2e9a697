"""metrics.jsonl: lines without gaps or doubles, also after a torn one."""

from registry.run_log import RunLog, flat_numbers, read_log


def test_lines_are_cut_back_to_where_a_run_continues(tmp_path):
    log = RunLog(tmp_path)
    for update in (1, 2, 3):
        log.write(update, update / 10, "train", {"loss": 1 / update})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"update": 4, "spl')
    again = RunLog(tmp_path, start_update=2, lines=2)
    assert again.lines == 2
    again.write(3, 0.3, "train", {"loss": 0.5})
    again.close()
    lines = read_log(tmp_path)
    assert [line["update"] for line in lines] == [1, 2, 3]
    assert lines[-1] == {"update": 3, "epoch": 0.3, "split": "train", "loss": 0.5}
    assert {p.name for p in (tmp_path / "tensorboard").iterdir()} == {"train"}


def test_flat_numbers_walks_tables_and_leaves_out_what_is_not_a_number():
    values = {"accuracy": 0.5, "per_class": {"a": {"f1": 1}}, "name": "x", "flag": True, "nan": float("nan")}
    assert dict(flat_numbers(values)) == {"accuracy": 0.5, "per_class/a/f1": 1.0}
