import json

from tools.benchmark import accelerator


def test_what_fails_is_a_line_and_the_rest_goes_on(tmp_path, monkeypatch, capsys):
    def broken(sizes):
        yield {"rows": sizes.rows[0]}
        raise RuntimeError("out of memory")

    monkeypatch.setitem(accelerator.ITEMS, "broken", broken)
    sizes, out = accelerator.Sizes("tiny", (1,), (64,), (20,), steps=1), tmp_path / "lines"
    accelerator.measure(sizes, ["broken", "ctc"], out)
    first, second, ctc = map(json.loads, out.read_text().splitlines())
    assert first["rows"] == 1 and "out of memory" in second["error"]
    assert ctc["patches"] == 20 and ctc["ours_ms"] > 0 and ctc["optax_ms"] > 0
    assert capsys.readouterr().out == out.read_text()


def test_a_mistake_is_one_line(command):
    status, printed = command("benchmark/accelerator.py", "--only=ctc,stepp")
    assert status == 2 and "--only: 'stepp' is not one of compile, step," in printed
