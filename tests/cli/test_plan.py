from worldgen.cli.main import main


def test_help_says_what_it_takes_and_needs_nothing_heavy(capsys):
    main(["plan", "--help"])
    told = capsys.readouterr().out
    assert "--measure N" in told and "plan [fit | pretrain PART]" in told
