import pathlib

import pytest

from wsign_jax.common.command_line import Parser
from wsign_jax.common.errors import WSignError


def parse(*argv):
    parser = Parser("python tools/try.py --checkpoint=RUN --out=FILE\n\nTries.")
    parser.add_checkpoint()
    parser.add_out("a new file", required=True)
    parser.add_argument("--count", type=int, default=3)
    return parser.parse_args(argv)


def test_shared_flags_are_paths_and_help_begins_with_the_docstring(capsys):
    flags = vars(parse("--checkpoint=run", "--out", "a.txt"))
    assert flags == {"checkpoint": pathlib.Path("run"), "out": pathlib.Path("a.txt"), "count": 3}
    with pytest.raises(SystemExit, match="0"):
        parse("--help")
    printed = capsys.readouterr().out
    assert printed.startswith("python tools/try.py --checkpoint=RUN --out=FILE\n\nTries.\n")
    assert "(its best), or a checkpoint's" in printed


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--count=x", "argument --count: invalid int value: 'x'; see --help"),
        ("--cou=2", "unrecognized arguments: --cou=2; see --help"),
        ("extra", "unrecognized arguments: extra; see --help"),
    ],
)
def test_a_mistake_is_one_line(flag, message):
    with pytest.raises(WSignError, match=f"^in the command line: {message}$"):
        parse("--checkpoint=run", "--out=a.txt", flag)
    with pytest.raises(WSignError, match="are required: --checkpoint, --out; see --help"):
        parse()
